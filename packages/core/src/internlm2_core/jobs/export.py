"""From a training checkpoint to a model folder."""

from pathlib import Path

from internlm2_core.cards import About


def export(checkpoint: str, to: str, card: About | None = None) -> None:
    """Write the model that a training checkpoint holds: a language model, a reward model, or the actor of PPO.

    Args:
        checkpoint: A checkpoint, as one file or sharded, or the folder of a run, whose newest is taken.
        to: The model folder.
        card: What its card says beside what the checkpoint and its run say.

    Raises:
        FileNotFoundError: If there is no whole checkpoint, or an evaluation is missing.
        ValueError: If it was not written by a module of these packages, or an evaluation is of another model.
    """
    from internlm2_core.cards import measured, write_model_card
    from internlm2_core.training.hyperparameters import named
    from internlm2_core.training.reading import checkpoint_at, read_checkpoint
    from internlm2_core.training.steps import StepModule

    card = card or About()
    measured(card.evaluations, [Path(to)])
    path = checkpoint_at(checkpoint)
    content = read_checkpoint(path)
    if "module" not in content:
        raise ValueError(f"{path} does not name the module that wrote it, which is not one of internlm2's.")
    try:
        kind = named(content["module"])
    except ValueError as error:
        own = content["module"].rpartition(".")[2]
        raise ValueError(
            f"{error} In Python, {own}.load_from_checkpoint({str(path)!r}).save({to!r}) writes it."
        ) from error
    assert issubclass(kind, StepModule)
    kind.from_content(content).save(to)
    write_model_card(to, card, path, content["global_step"])
    print(f"{to}: {kind.__name__} of {path}, after {content['global_step']} steps")
