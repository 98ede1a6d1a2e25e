"""The card of a model folder, read back by the library of the hub."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from internlm2_core import LanguageModel
from internlm2_core.cards import About
from internlm2_core.cards.measured import headlines
from internlm2_core.cards.trained import settings_of, training_rows
from internlm2_core.checkpoint import save_released
from internlm2_core.jobs import convert
from internlm2_records.cards import MARK

SETTINGS = {
    "phase.context": 256, "phase.peak_lr": 0.003, "schedule.total_steps": "${phase.steps}", "seed": 1234,
    "tokenizer.path": str(Path("somebody/tokenizer.json").absolute()),
    "batches.weights.en-web": 0.1, "batches.weights.zh-news": 0.3,
}  # fmt: skip


def metrics(checkpoint: Path | str, **tasks: Any) -> dict[str, Any]:
    return {"schema": "internlm2/metrics/1", "model": {"checkpoint": str(checkpoint)}, "tasks": tasks}


@pytest.fixture
def run(net: LanguageModel, tmp_path: Path, tokenizer_file: Path) -> Path:
    save_released(tmp_path / "run/model", net.size, net.state_dict().items(), tokenizer_file)
    (tmp_path / "run/settings.json").write_text(json.dumps({"settings": SETTINGS}))
    return tmp_path / "run"


def test_a_card_says_what_is_known_and_names_the_rest(run: Path, tmp_path: Path, net: LanguageModel) -> None:
    tasks = {
        "mmlu": {"kind": "harness", "version": 2, "seconds": 1.0, "acc": 0.2531, "samples": "x"},
        "held_out_loss": {"kind": "held_out_loss", "version": 1, "overall": {"bits_per_byte": 1.5, "tokens": 3}},
        "held_out_loss_long": {"kind": "held_out_loss", "version": 1, "overall": {"bits_per_byte": 1.25, "tokens": 3}},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics(run / "model", **tasks)))
    about = About(languages=["en", "zh"], evaluations=[str(tmp_path / "metrics.json")], notes=["Nobody has judged."])
    convert(str(run / "model"), str(tmp_path / "llama"), "llama", card=about)
    card = ModelCard.load(tmp_path / "llama/README.md")
    assert (card.data.language, card.data.library_name, card.data.license) == (["en", "zh"], "transformers", None)
    results = {(one.dataset_name, one.metric_type): one.metric_value for one in card.data.eval_results}
    assert results == {
        ("mmlu", "acc"): 0.2531,
        ("held_out_loss", "bits_per_byte"): 1.5,
        ("held_out_loss_long", "bits_per_byte"): 1.25,
    }
    for expected in (
        "Nobody has judged.", f"| Parameters | {net.size.num_params():,} |", "| Peak learning rate | 0.003 |",
        "| Mixture | zh-news 75.0 %, en-web 25.0 % |", "| Seed | 1234 |", "| mmlu | harness | 2 | acc | 0.2531 |",
        "- The licence.",
    ):  # fmt: skip
        assert expected in card.text, expected
    for absent in ("somebody", "${", "no evaluation was given", "How it was trained", "The languages it is for"):
        assert absent not in card.text, absent


def test_nothing_is_said_where_nothing_is_known(net: LanguageModel, tmp_path: Path, tokenizer_file: Path) -> None:
    save_released(tmp_path / "model", net.size, net.state_dict().items(), tokenizer_file)
    convert(str(tmp_path / "model"), str(tmp_path / "back"), "released")
    card = ModelCard.load(tmp_path / "back/README.md")
    assert card.data.to_dict() == {"pipeline_tag": "text-generation", "tags": ["internlm2"]}
    assert "## Training" not in card.text and "## Evaluation" not in card.text
    assert card.text.count("\n- ") == 6


def test_a_conversion_keeps_what_the_card_of_its_source_says(run: Path, tmp_path: Path) -> None:
    about = About(license="apache-2.0", datasets=["corpus"], base_model="base")
    convert(str(run / "model"), str(tmp_path / "one"), "llama", card=about)
    convert(str(tmp_path / "one"), str(tmp_path / "two"), "released", card=About(license="mit"))
    card = ModelCard.load(tmp_path / "two/README.md")
    assert (card.data.license, card.data.datasets, card.data.base_model) == ("mit", ["corpus"], "base")
    assert "| Peak learning rate | 0.003 |" in card.text


def test_evaluations_of_other_models_are_refused_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(metrics("elsewhere")))
    to = tmp_path / "llama"
    with pytest.raises(ValueError, match=r"evaluations=.*metrics.json is of checkpoint=elsewhere, and must be of"):
        convert(str(run / "model"), str(to), "llama", card=About(evaluations=[str(file)]))
    file.write_text("[]")
    with pytest.raises(ValueError, match=r"must be metrics\.json of an evaluation"):
        convert(str(run / "model"), str(to), "llama", card=About(evaluations=[str(file)]))
    with pytest.raises(FileNotFoundError, match=r"evaluations=gone\.json is not there"):
        convert(str(run / "model"), str(to), "llama", card=About(evaluations=["gone.json"]))
    assert not to.exists()


def test_a_card_of_ones_own_is_never_lost(run: Path, tmp_path: Path) -> None:
    to = tmp_path / "llama"
    convert(str(run / "model"), str(to), "llama")
    convert(str(run / "model"), str(to), "llama", card=About(license="mit"))
    assert ModelCard.load(to / "README.md").data.license == "mit"
    (to / "README.md").write_text((to / "README.md").read_text().replace(MARK, "Mine."))
    with pytest.raises(ValueError, match=r"holds README\.md"):
        convert(str(run / "model"), str(to), "llama")
    assert "Mine." in (to / "README.md").read_text()


def test_settings_are_those_of_the_run_that_the_model_lies_in(run: Path) -> None:
    (run / "checkpoints").mkdir()
    for place in ("model", "checkpoints", "checkpoints/step-10.ckpt", "snapshots/iteration-3"):
        assert settings_of(run / place) == SETTINGS, place
    for place in ("copies/model", "other", "checkpoints/a/b"):
        assert settings_of(run / place) == {}, place
    assert training_rows({"seed": 1}, None) == []
    assert training_rows({}, 1200) == [("Optimizer steps", "1,200")]


def test_headlines_of_a_kind_that_is_not_known_are_its_own_numbers() -> None:
    task = {"kind": "new", "version": 1, "acc": 0.5, "deep": {"x": 1.0}, "name": "x"}
    assert headlines(task) == {"acc": 0.5}
