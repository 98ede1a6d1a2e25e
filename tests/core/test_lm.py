"""The loss is that of the global batch, however it is cut."""

from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.optim import WSD, Constant, Cosine, decay_groups
from internlm2_core.text import ByteTokenizer
from torch.utils.data import DataLoader
from transformers import get_wsd_schedule


def test_micro_batches_change_nothing(train: Any) -> None:
    whole, one = train()
    for rows in (1, 2, 3):
        losses, module = train(micro_batch_rows=rows)
        assert losses == pytest.approx(whole, abs=1e-5)
        torch.testing.assert_close(module.net.state_dict(), one.net.state_dict(), atol=1e-5, rtol=1e-4)


def test_first_loss_is_the_mean_over_loss_tokens(train: Any, batches: Any, tiny: ModelSize) -> None:
    losses, _ = train(steps=1)
    net = LanguageModel(tiny)
    net.init_weights(torch.Generator().manual_seed(0))
    batch = batches(1)[0]
    logits = net(batch["input_ids"])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)
    assert losses[0] == pytest.approx(expected.item(), abs=1e-5)


def silent(batch: Any, rows: slice = slice(None)) -> Any:
    labels = batch["labels"].clone()
    labels[rows] = -100
    return batch | {"labels": labels}


@pytest.mark.parametrize("settings", [{}, {"z_loss": 1e-3}, {"micro_batch_rows": 1}])
def test_a_batch_without_labels_moves_nothing(train: Any, batches: Any, tiny: ModelSize, settings: Any) -> None:
    empty = silent(batches(1)[0])
    losses, module = train(steps=1, data=[empty], weight_decay=0.0, **settings)
    start = LanguageModel(tiny)
    start.init_weights(torch.Generator().manual_seed(0))
    assert losses == [0.0]
    torch.testing.assert_close(module.net.state_dict(), start.state_dict(), atol=0, rtol=0)


def test_micro_batches_without_labels_change_nothing(train: Any, batches: Any) -> None:
    data = [silent(batch, slice(1, 3)) for batch in batches(4)]
    whole, one = train(data=data)
    losses, module = train(data=data, micro_batch_rows=1)
    assert losses == pytest.approx(whole, abs=1e-5)
    torch.testing.assert_close(module.net.state_dict(), one.net.state_dict(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("micro_batch_rows", [0, 1])
def test_the_validation_loss_is_the_mean_over_loss_tokens(batches: Any, tiny: ModelSize, micro_batch_rows: int) -> None:
    net = LanguageModel(tiny)
    net.init_weights(torch.Generator().manual_seed(0))
    module = LM(lambda: net, partial(torch.optim.AdamW, lr=1e-3), Constant(), micro_batch_rows=micro_batch_rows)
    module.validation_names = ["some", "all"]
    first, second = batches(2)
    sets = {"some": [silent(first), silent(second, slice(2))], "all": [first, second]}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.validate(module, [DataLoader(made, batch_size=None) for made in sets.values()], verbose=False)
    for name, made in sets.items():
        logits = torch.cat([net(batch["input_ids"]) for batch in made]).flatten(0, 1)
        labels = torch.cat([batch["labels"] for batch in made]).flatten()
        expected = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100).item()
        assert float(trainer.callback_metrics[f"valid/{name}"]) == pytest.approx(expected, abs=1e-5)


def test_training_learns(train: Any, batches: Any) -> None:
    losses, _ = train(steps=40, data=batches(1) * 40)
    assert losses[-1] < losses[0] - 1


def test_mixed_precision_clips_the_fused_optimizer(train: Any) -> None:
    whole, _ = train(max_grad_norm=0.1)
    mixed, module = train(max_grad_norm=0.1, precision="bf16-mixed")
    assert mixed == pytest.approx(whole, abs=0.02) and mixed != whole
    assert {weight.dtype for weight in module.parameters()} == {torch.float32}


def test_clipping_reaches_the_weights(train: Any) -> None:
    _, clipped = train(steps=1, max_grad_norm=1e-9)
    _, free = train(steps=1, max_grad_norm=0.0)
    assert not torch.allclose(clipped.net.output.weight, free.net.output.weight)


def test_z_loss_reaches_the_gradient(train: Any) -> None:
    _, plain = train(steps=1)
    _, with_z = train(steps=1, z_loss=1.0)
    assert not torch.allclose(plain.net.output.weight, with_z.net.output.weight)


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(tiny: ModelSize) -> None:
    class Tokenizer(ByteTokenizer):
        vocab_size = 61

        def __init__(self) -> None:
            self.path = None

    module = LM(lambda: LanguageModel(tiny), tokenizer=Tokenizer())
    with pytest.raises(ValueError, match=r"vocab_size=60 of the model must be at least the 61 ids"):
        module.configure_model()
    with pytest.raises(ValueError, match="61 ids"):
        module.configure_model()  # the network is there by now


def test_norms_do_not_decay(tiny: ModelSize) -> None:
    decayed, kept = decay_groups(LanguageModel(tiny), 0.1)
    assert all(weight.ndim > 1 for weight in decayed["params"])
    assert [weight.shape for weight in kept["params"]] == [(16,)] * 3
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_cosine_by_hand() -> None:
    schedule = Cosine(total_steps=12, warmup_steps=2, floor=0.1)
    assert [schedule(0), schedule(1), schedule(2)] == [0.5, 1.0, 1.0]
    assert schedule(7) == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule(12) == schedule(100) == pytest.approx(0.1)


def test_a_schedule_may_learn_of_its_steps_late() -> None:
    late = Cosine(total_steps=-1, warmup_steps=2, floor=0.1)
    assert late.over(20) == Cosine(total_steps=20, warmup_steps=2, floor=0.1)
    assert late.over(15).warmup_steps == 1  # a tenth
    assert Cosine(total_steps=12, warmup_steps=2).over(20).total_steps == 12


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup_steps=20 must be at most total_steps=10\."):
        Cosine(total_steps=10, warmup_steps=20)


@pytest.mark.parametrize("shape", ["linear", "1-sqrt", "cosine"])
def test_wsd_equals_that_of_transformers(shape: str) -> None:
    """Theirs begins its warm-up at 0, so it is compared after it."""
    theirs = get_wsd_schedule(
        torch.optim.SGD([torch.zeros(1)], lr=1.0), 5, 8, num_training_steps=40, decay_type=shape, min_lr_ratio=0.1
    )
    schedule = WSD(total_steps=40, warmup_steps=5, decay_fraction=0.2, shape=shape, floor=0.1)
    for step in range(5, 45):
        assert schedule(step) == pytest.approx(theirs.lr_lambdas[0](step))
    assert [schedule(step) for step in (0, 4, 5, 32)] == [0.2, 1, 1, 1] and schedule(33) < 1


def test_the_stable_part_of_wsd_does_not_depend_on_the_length() -> None:
    short, long = WSD(100, 10), WSD(-1, 10).over(1000)
    assert [short(step) for step in range(80)] == [long(step) for step in range(80)]
    with pytest.raises(
        ValueError, match=r"warmup_steps=90 must be at most 80, which decay_fraction=0.2 leaves of total_"
    ):
        WSD(100, 90)
    with pytest.raises(ValueError, match="shape='step' must be one of linear, 1-sqrt, cosine"):
        WSD(100, shape="step")
    with pytest.raises(ValueError, match=r"decay_fraction=1\.5 must be between 0 and 1"):
        WSD(100, decay_fraction=1.5)
