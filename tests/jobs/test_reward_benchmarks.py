"""`internlm2 evaluate suite=reward` by the command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from internlm2_align.reward.conditions import load_conditions
from internlm2_align.reward.network import save_reward, start_reward

from tests.command import internlm2


@pytest.fixture
def reward(tmp_path: Path, save_random_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward model and the files of a benchmark, in the current folder."""
    monkeypatch.chdir(tmp_path)
    sizes = {"layers": 1, "dim": 16, "num_kv_heads": 1, "q_per_kv": 2, "ffn_dim": 24, "head_dim": 8}
    sft = save_random_model(tmp_path / "sft", max_positions=512, **sizes)
    net = start_reward(sft)
    save_reward("reward", net.size, dict(net.state_dict()), sft, load_conditions())
    pairs = [{"input": f"q{n}", "output_1": "a" * n, "output_2": "b", "label": 1 + n % 2} for n in range(1, 6)]
    Path("data/LLMBar").mkdir(parents=True)
    Path("data/LLMBar/natural.json").write_text(json.dumps(pairs))


@pytest.mark.usefixtures("reward")
def test_a_reward_model_is_evaluated_by_name_of_suite() -> None:
    words = ["evaluate", "checkpoint=reward", "suite=reward", "data=data", "output=out", "device=cpu"]
    done = internlm2(*words, "suite.llmbar.domain=maths", folder=Path.cwd())
    assert done.returncode == 0, done.stderr
    (about,) = json.loads(Path("out/metrics.json").read_text())["tasks"].values()
    assert about["kind"] == "reward_benchmark" and about["with_conditions"]["items"] == 5
    assert '"domain": "maths"' in Path("out/samples/llmbar.jsonl").read_text()
    for more, sentence in (
        (["tasks=[ppe]"], "data/PPE does not exist"),
        (["data=null"], "data=None must be the folder"),
        (["prompts=some"], "prompts=some must be one of both, with, without"),
    ):
        assert sentence in internlm2(*words, *more, folder=Path.cwd()).stderr
