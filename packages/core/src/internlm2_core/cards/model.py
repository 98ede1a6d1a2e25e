"""The card of a model folder."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_records.cards import section_of, table, write_card

from internlm2_core.cards.about import About, inherited
from internlm2_core.cards.measured import Measured, measured
from internlm2_core.cards.trained import settings_of, training_rows
from internlm2_core.checkpoint.any_layout import layout_of
from internlm2_core.checkpoint.configs import CONDITIONS_FILE
from internlm2_core.checkpoint.folder import dtype_of, read_json
from internlm2_core.checkpoint.released import read_size
from internlm2_core.text import load_tokenizer
from internlm2_core.text.tokenizer import special_ids

LAYOUTS = {
    "released": "InternLM2's released layout",
    "llama": "Llama's layout, which Transformers loads without remote code",
    "reward": "InternLM2's released layout of a reward model",
    "llama-reward": "Llama's layout of a sequence classifier, which Transformers loads without remote code",
}
TRAINING = "## Training"
TASK, REWARD_TASK = "text-generation", "text-classification"


def write_model_card(folder: str | Path, about: About, source: str | Path, steps: int | None = None) -> Path | None:
    """Write ``FOLDER/README.md``.

    Args:
        folder: A model folder.
        about: What people say of it.
        source: The checkpoint or model folder that it was made from. The run that it lies in says how it was trained.
        steps: Optimizer steps of the checkpoint, where it is one.

    Returns:
        The card, or None if somebody's own is there.

    Raises:
        FileNotFoundError: If an evaluation is missing.
        ValueError: If an evaluation is of another model.
    """
    folder, source = Path(folder), Path(source)
    about = inherited(about, source)
    figures = measured(about.evaluations, [folder, source])
    rows = training_rows(settings_of(source), steps)
    facts = model_rows(folder)
    training = table(["", ""], rows) if rows else section_of(source, TRAINING)
    unknown = list(not_said(about, figures, training))
    is_reward = layout_of(folder).endswith("reward")
    parts = [f"# {folder.absolute().name}", opening(is_reward), *about.notes, "## Model", table(["", ""], facts)]
    if training:
        parts += [TRAINING, training]
    if figures:
        parts += ["## Evaluation", MEASURED_BY, evaluation_table(figures)]
    if not is_reward and layout_of(folder) == "llama":
        parts += ["## Use", USE]
    parts += ["## Not said here", "Not measured, or not known to the job that wrote this card:", bullets(unknown)]
    return write_card(folder, head(folder, about, figures, is_reward), "\n\n".join(parts))


MEASURED_BY = "Measured by `internlm2 evaluate` with the prompts of its tasks. Figures of other prompts do not compare."
USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
```"""


def opening(is_reward: bool) -> str:
    """What the model is, in a sentence."""
    kind = "reward model" if is_reward else "language model"
    return f"A {kind} of InternLM2's architecture, made by an unofficial reproduction of its recipe."


def model_rows(folder: Path) -> list[tuple[str, str]]:
    """What the folder itself says.

    Args:
        folder: The model folder.
    """
    size, config = read_size(folder), read_json(folder / "config.json")
    tokenizer = load_tokenizer(folder)
    rows = [
        ("Layout", LAYOUTS.get(layout_of(folder), layout_of(folder))),
        ("Parameters", f"{size.num_params():,}"),
        ("Layers, width, width of the FFN", f"{size.layers}, {size.dim:,}, {size.ffn_dim:,}"),
        ("Heads: query, key and value", f"{size.num_kv_heads * size.q_per_kv}, {size.num_kv_heads}"),
        ("Trained context", f"{size.max_positions:,} tokens"),
        ("RoPE base", f"{size.rope_base:,.0f}"),
        ("Weights", str(dtype_of(folder, config)).removeprefix("torch.")),
        ("Vocabulary", f"{tokenizer.vocab_size:,} tokens"),
        ("Chat format", "ChatML" if "<|im_start|>" in special_ids(tokenizer) else "none"),
    ]
    if (folder / CONDITIONS_FILE).is_file():
        rows.append(("Condition prompts", f"`{CONDITIONS_FILE}`"))
    return rows


def evaluation_table(figures: Sequence[Measured]) -> str:
    """Figures as a Markdown table."""
    rows = [(one.task, one.kind, one.version, one.metric, one.value) for one in figures]
    return table(["task", "kind", "version", "metric", "value"], rows)


def not_said(about: About, figures: Sequence[Measured], training: str) -> Iterator[str]:
    """What the card leaves out.

    Args:
        about: What people said.
        figures: What was measured.
        training: What is known of the training.
    """
    if about.license is None:
        yield "The licence."
    if not about.languages:
        yield "The languages it is for."
    if not about.datasets:
        yield "The names of the data it was trained on."
    if not training:
        yield "How it was trained."
    if not figures:
        yield "How good it is: no evaluation was given."
    yield "Bias, toxicity, and misuse: no job measures them."


def bullets(sentences: Sequence[str]) -> str:
    """Sentences as a list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def head(folder: Path, about: About, figures: Sequence[Measured], is_reward: bool) -> str:
    """The YAML head.

    Args:
        folder: The model folder.
        about: What people said.
        figures: What was measured.
        is_reward: Whether it is a reward model.
    """
    from huggingface_hub import EvalResult, ModelCardData

    task = REWARD_TASK if is_reward else TASK
    known: Mapping[str, Any] = {
        "license": about.license,
        "language": list(about.languages) or None,
        "datasets": list(about.datasets) or None,
        "base_model": about.base_model,
        "library_name": "transformers" if layout_of(folder).startswith("llama") else None,
        "pipeline_tag": task,
        "tags": ["internlm2", *(["reward-model"] if is_reward else [])],
    }
    results = [EvalResult(task, one.task, one.task, one.metric, one.value) for one in figures]
    named: dict[str, Any] = {"model_name": folder.absolute().name, "eval_results": results} if results else {}
    given = {name: value for name, value in known.items() if value is not None}
    return str(ModelCardData(**given, **named).to_yaml())
