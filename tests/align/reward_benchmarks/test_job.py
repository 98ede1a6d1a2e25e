"""`evaluate suite=reward`: the same scores as `RewardModel`, with and without conditions, each computed once."""

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from internlm2_align import RewardModel
from internlm2_align.reward.conditions import Unconditional
from internlm2_align.reward.scoring import Scorer
from internlm2_align.reward_benchmarks import LLMBar, RewardBench, evaluate_reward
from internlm2_core import evaluation


def rows(count, subset="donotanswer"):
    return [
        {"prompt": f"Question {n}?", "chosen": f"good {n * n}", "rejected": "bad" * n, "subset": subset, "id": n}
        for n in range(1, count + 1)
    ]


@pytest.fixture
def suite(tmp_path, write):
    write(tmp_path / "rb.jsonl", *rows(6), *rows(5, "alpacaeval-easy"))
    llmbar = [{"input": f"Do {n}", "output_1": "a" * n, "output_2": "b" * n, "label": 1 + n % 2} for n in range(1, 8)]
    write(tmp_path / "llmbar/natural.json", *llmbar)
    return {"reward_bench": RewardBench(tmp_path / "rb.jsonl"), "llmbar": LLMBar(tmp_path / "llmbar")}


def samples(folder, name):
    return [json.loads(line) for line in (folder / "samples" / f"{name}.jsonl").read_text().splitlines()]


def test_scores_are_those_of_the_model_with_and_without_conditions(reward_folder, suite, tmp_path, capsys):
    metrics = evaluate_reward(str(reward_folder), suite, str(tmp_path / "out"), ".", device="cpu")
    schema = json.loads((Path(evaluation.__file__).parent / "schema.json").read_text())
    jsonschema.validate(json.loads((tmp_path / "out/metrics.json").read_text()), schema)
    conditional = RewardModel.load(reward_folder)
    bare = RewardModel.load(reward_folder, conditions=Unconditional(("harmless", "helpful")))
    asked, first = [{"role": "user", "content": "Question 1?"}], samples(tmp_path / "out", "reward_bench")[0]
    for name, model in (("with_conditions", conditional), ("without_conditions", bare)):
        wanted = [
            model.score([*asked, {"role": "assistant", "content": reply}], "harmless") for reply in ("good 1", "bad")
        ]
        assert first[name]["scores"] == pytest.approx(wanted, abs=1e-5)
        assert first[name]["verdict"] == ("right" if wanted[0] > wanted[1] else "wrong")
    assert first["domain"] == "harmless" and first["subset"] == "donotanswer"
    figures = metrics["tasks"]["llmbar"]["with_conditions"]
    verdicts = [sample["with_conditions"]["verdict"] for sample in samples(tmp_path / "out", "llmbar")]
    assert figures["score"] == verdicts.count("right") / 7 and figures["items"] == 7
    printed = capsys.readouterr().out
    assert "89.5" in printed and "80.6" in printed


def test_what_was_scored_is_not_scored_again(reward_folder, suite, tmp_path, monkeypatch):
    original, seen, stops = Scorer.scores, [], [3]

    def counted(self, groups, must_be_finite=True):
        seen.append(len(groups))
        if len(seen) in stops:
            raise KeyboardInterrupt
        return original(self, groups, must_be_finite)

    monkeypatch.setattr(Scorer, "scores", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_reward(str(reward_folder), suite, str(tmp_path / "out"), ".", device="cpu")
    kept = tmp_path / "out/kept.jsonl"
    kept.write_bytes(kept.read_bytes() + b'{"key": "half')
    seen.clear(), stops.clear()
    monkeypatch.setattr("internlm2_align.reward_benchmarks.scores.CHUNK_TOKENS", 30)
    resumed = evaluate_reward(str(reward_folder), suite, str(tmp_path / "out"), ".", device="cpu")["tasks"]
    monkeypatch.setattr(Scorer, "scores", original)
    anew = evaluate_reward(str(reward_folder), suite, str(tmp_path / "anew"), ".", device="cpu")["tasks"]
    assert sum(seen) == 2 * (11 + 7) - 22  # both modes of the first benchmark were there
    for tasks in (resumed, anew):
        for about in tasks.values():
            del about["seconds"]
    assert resumed == anew


def test_items_that_do_not_fit_are_left_out_of_both(reward_folder, tmp_path, write):
    long = rows(1)[0] | {"prompt": "long " * 100}
    suite = {"rb": RewardBench(write(tmp_path / "rb.jsonl", *rows(3), long))}
    metrics = evaluate_reward(str(reward_folder), suite, str(tmp_path / "out"), ".", device="cpu", max_tokens=200)
    about = metrics["tasks"]["rb"]
    assert (about["records"], about["left_out"]) == (4, {"too_long": 1})
    assert about["with_conditions"]["items"] == about["without_conditions"]["items"] == 3
    with pytest.raises(ValueError, match="max_tokens"):
        evaluate_reward(str(reward_folder), suite, str(tmp_path / "none"), ".", device="cpu", max_tokens=20)


def test_a_model_without_prompts_is_scored_without(reward_folder, suite, tmp_path, capsys):
    (reward_folder / "conditions.yaml").unlink()
    metrics = evaluate_reward(str(reward_folder), suite, str(tmp_path / "out"), ".", device="cpu")
    assert "with_conditions" not in metrics["tasks"]["llmbar"]
    assert "scored without condition prompts only" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="prompts=with needs condition prompts"):
        evaluate_reward(str(reward_folder), suite, str(tmp_path / "out"), ".", device="cpu", prompts="with")


def test_files_that_are_missing_are_said(reward_folder, suite, tmp_path, capsys):
    there = suite | {"gone": LLMBar(tmp_path / "gone")}
    metrics = evaluate_reward(str(reward_folder), there, str(tmp_path / "out"), ".", device="cpu", prompts="without")
    assert [*metrics["tasks"]] == ["reward_bench", "llmbar"]
    assert f"files are not there: {tmp_path}/gone." in capsys.readouterr().out
    for tasks, sentence in (
        (["gone"], "tasks=gone needs the files of LLMBar, but .*gone does not exist"),
        (["other"], "tasks=other must be one"),
    ):
        with pytest.raises((FileNotFoundError, ValueError), match=sentence):
            evaluate_reward(str(reward_folder), there, str(tmp_path / "out"), ".", tasks=tasks, device="cpu")
    with pytest.raises(FileNotFoundError, match="data=/ holds none of"):
        evaluate_reward(str(reward_folder), {"gone": there["gone"]}, str(tmp_path / "out"), "/", device="cpu")


def test_a_domain_without_condition_is_refused(reward_folder, tmp_path, write):
    suite = {"rb": RewardBench(write(tmp_path / "rb.jsonl", *rows(2)), domains={"Safety": "poetry"})}
    with pytest.raises(ValueError, match="'poetry' has no condition prompt"):
        evaluate_reward(str(reward_folder), suite, str(tmp_path / "out"), ".", device="cpu")


def test_llmbar_itself(real_data):
    items = LLMBar(real_data / "preference" / "LLMBar").read().items
    assert Counter(item.subset for item in items) == {"manual": 46, "natural": 100, "neighbor": 134}
    with pytest.raises(ValueError, match="data=None must be the folder"):
        evaluate_reward("x", {}, "y")
