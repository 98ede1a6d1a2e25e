"""Each job on a tiny model: what it writes, and that it goes on when it is run again."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from internlm2_align import RewardModel
from internlm2_align.jobs import label, online_rlhf, ppo, reward, score
from internlm2_align.labelling import SimulatedAnnotator
from internlm2_align.labelling.pairs import PairRules
from internlm2_align.online.hacking import Audit
from internlm2_align.online.replies import Probe
from internlm2_align.online.rounds import OnlineRecipe
from internlm2_align.reward.preference import read_preferences
from internlm2_core.checkpoint import load_released
from internlm2_core.generation import Sampling


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture
def labelled(tmp_path, instructions):
    label(SimulatedAnnotator(), PairRules(), *instructions, str(tmp_path / "label"))
    return [str(tmp_path / "label" / f"{name}.jsonl") for name in ("train", "heldout")]


@pytest.fixture
def reward_folder(tmp_path, sft, labelled, reward_recipe):
    reward(reward_recipe, sft, labelled[:1], labelled[1:], str(tmp_path / "reward"))
    return tmp_path / "reward"


def test_label(tmp_path, instructions, sft):
    responses = tmp_path / "responses.jsonl"
    responses.write_text(json.dumps({"id": "sum-0", "replies": ["zzz"]}) + "\n")
    metrics = label(
        SimulatedAnnotator(), PairRules(per_domain=40), *instructions, str(tmp_path / "out"),
        responses=[str(responses)], checkpoint=sft, sampling=Sampling(max_new_tokens=4), samples=1,
    )  # fmt: skip
    assert metrics["annotator"] == "SimulatedAnnotator"
    assert metrics == json.loads((tmp_path / "out" / "metrics.json").read_text())
    train = list(read_preferences(tmp_path / "out" / "train.jsonl"))
    held = list(read_preferences(tmp_path / "out" / "heldout.jsonl"))
    assert len(train) == metrics["sets"]["train"]["pairs"] and len(held) == metrics["sets"]["heldout"]["pairs"]
    assert not {pair.meta["question"] for pair in train} & {pair.meta["question"] for pair in held}
    assert any(pair.rejected == "zzz" for pair in train)


def test_label_leaves_out_held_out_questions(tmp_path, instructions):
    metrics = label(SimulatedAnnotator(), PairRules(), instructions[0], instructions[0], str(tmp_path / "out"))
    assert metrics["sets"]["train"]["records"] == 0
    assert metrics["sets"]["train"]["question_is_held_out"] == 60


def test_reward(reward_folder, labelled):
    metrics = json.loads((reward_folder / "metrics.json").read_text())
    assert metrics["schema"] == "internlm2/align/reward/1" and metrics["conditional"] is True
    assert metrics["pairs"]["train"]["used"] > 50
    assert set(metrics["heldout"]["domains"]) == {"maths", "format", "helpful", "harmless"}
    model = RewardModel.load(reward_folder / "model")
    gaps = defaultdict(list)
    for pair in read_preferences(labelled[1]):
        replies = ([*pair.prompt, {"role": "assistant", "content": text}] for text in (pair.chosen, pair.rejected))
        chosen, rejected = (model.score(reply, pair.domain, pair.language) for reply in replies)
        gaps[pair.domain].append(chosen - rejected)
    for domain, figures in metrics["heldout"]["domains"].items():
        found = torch.tensor(gaps[domain])
        assert figures["pairs"] == len(found) and sum(figures["histogram"]["counts"]) == 2 * len(found)
        assert figures["accuracy"] == pytest.approx((found > 0).double().mean().item())
        assert figures["margin"] == pytest.approx(found.mean().item(), abs=1e-4)
    assert metrics["heldout"]["domains"]["harmless"]["slices"]["conflicting"]["pairs"] > 0
    assert metrics["curve"][-1]["step"] <= metrics["steps"]
    assert model.encoder.conditions.domains[0] == "maths"


def test_reward_refuses_bad_input(tmp_path, sft, labelled, reward_recipe):
    with pytest.raises(FileNotFoundError, match="preferences=PATH"):
        reward(reward_recipe, sft, ["none.jsonl"], [], str(tmp_path / "x"))
    with pytest.raises(ValueError, match="usable pairs"):
        reward(reward_recipe, sft, labelled[1:], labelled[1:], str(tmp_path / "x"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"domain": "law", "prompt": [{"role": "user", "content": "q"}], "chosen": "a",
                               "rejected": "b"}) + "\n")  # fmt: skip
    with pytest.raises(ValueError, match="law"):
        reward(reward_recipe, sft, [str(bad)], [], str(tmp_path / "x"))


def test_clear_pairs_want_a_margin(tmp_path, sft, labelled, reward_recipe):
    def first_loss(margin_per_gap):
        recipe = replace(reward_recipe, margin_per_gap=margin_per_gap)
        return reward(recipe, sft, labelled[:1], [], str(tmp_path / f"margin-{margin_per_gap}"))["curve"][0]["loss"]

    assert first_loss(5.0) > first_loss(0.0) + 1


def test_margins_of_pairs_without_gaps_are_refused(tmp_path, sft, labelled, reward_recipe):
    records = lines(labelled[0])
    for record in records:
        del record["meta"]["score_gap"]
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps(record) + "\n" for record in records))
    recipe = replace(reward_recipe, margin_per_gap=1.0)
    with pytest.raises(ValueError, match=rf"margin_per_gap=1\.0 but none of {len(records)} pairs.*margin_per_gap=0"):
        reward(recipe, sft, [str(bare)], [], str(tmp_path / "x"))


def test_score(tmp_path, reward_folder, labelled):
    question, reply = {"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "2"}
    records = [
        {"messages": [question, reply], "domain": "maths", "id": 7},
        {"prompt": [question], "replies": ["2", "3"]},
        {"prompt": [question], "chosen": "2", "rejected": "3"},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    model = str(reward_folder / "model")
    score(model, str(source), str(tmp_path / "scores"), domain="maths", chunk=2, device="cpu")
    first, second, third = lines(tmp_path / "scores" / "scores.jsonl")
    assert first["id"] == 7
    assert first["score"] == pytest.approx(RewardModel.load(model).score([question, reply], domain="maths"), abs=1e-5)
    assert second["scores"] == pytest.approx(third["scores"], abs=1e-5)
    assert second["scores"][0] == pytest.approx(first["score"], abs=1e-5)
    with pytest.raises(ValueError, match="Record 2 names no domain"):
        score(model, str(source), str(tmp_path / "scores2"), device="cpu")


def test_score_goes_on_after_the_last_whole_line(tmp_path, reward_folder):
    question, reply = {"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "2"}
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"messages": [question, reply], "n": n}) + "\n" for n in range(5)))
    arguments = (str(reward_folder / "model"), str(source), str(tmp_path / "s"))
    # Fails in the second chunk, as a killed run would stop there.
    broken = source.read_text()
    source.write_text(broken.replace('"n": 3', '"domain": "law", "n": 3'))
    with pytest.raises(ValueError, match="law"):
        score(*arguments, domain="maths", chunk=2, device="cpu")
    (draft,) = (tmp_path / "s").glob(".*.draft")
    with draft.open("a") as file:
        file.write('{"half a li')
    source.write_text(broken)
    score(*arguments, domain="maths", chunk=2, device="cpu")
    assert [record["n"] for record in lines(tmp_path / "s" / "scores.jsonl")] == list(range(5))


def test_ppo(tmp_path, sft, reward_folder, ppo_recipe):
    metrics = ppo(ppo_recipe, sft, str(reward_folder / "model"), str(tmp_path / "ppo"))
    assert metrics["judge"] == "SimulatedAnnotator"
    assert metrics["iterations"] == 4 and metrics["start"]["iteration"] == 0 and metrics["last"]["iteration"] == 4
    assert [e["iteration"] for e in metrics["history"] if "train/reward" in e] == [1, 2, 3, 4]
    assert {"valid/reward", "valid/kl", "valid/judge", "valid/reward/maths"} <= set(metrics["best"])
    for folder in ("model", "last", "snapshots/iteration-2"):
        assert load_released(tmp_path / "ppo" / folder).size.layers == 2
    # A second run goes on from the last checkpoint, where nothing is left to do.
    again = ppo(ppo_recipe, sft, str(reward_folder / "model"), str(tmp_path / "ppo"))
    assert again["history"] == metrics["history"]


def test_ppo_recipe_refuses_iterations_that_are_not_measured(ppo_recipe):
    with pytest.raises(ValueError, match="validate_every=3 does not divide iterations=4"):
        replace(ppo_recipe, validate_every=3)


@pytest.mark.slow
def test_online_rounds(tmp_path, sft, reward_folder, labelled, reward_recipe, ppo_recipe):
    recipe = OnlineRecipe(
        reward=reward_recipe,
        ppo=ppo_recipe,
        probe=Probe(Sampling(max_new_tokens=5), samples=1),
        audit=Audit(),
        annotator=SimulatedAnnotator(),
        rounds=2,
        prompts=20,
    )
    arguments = (recipe, sft, str(reward_folder / "model"), labelled[:1], labelled[1:], str(tmp_path / "online"))
    metrics = online_rlhf(*arguments)
    first, second = metrics["rounds"]
    assert metrics["annotator"] == "SimulatedAnnotator"
    assert first["reward"] is None and second["reward"]["heldout"]["pairs"] > 0
    assert set(first["audit"]["models"]) == {"sft", "early", "late"}
    assert first["audit"]["slow_pairs"] == len(lines(tmp_path / "online" / "round-1" / "audit" / "slow.jsonl"))
    assert second["reward"]["pairs"]["used"] >= first["audit"]["slow_pairs"]
    assert RewardModel.load(tmp_path / "online" / "reward")
    assert load_released(tmp_path / "online" / "model")
    # A second run finds every part done.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("online/round-*/*/metrics.json")}
    assert online_rlhf(*arguments) == json.loads(json.dumps(metrics))
    assert before == {path: path.stat().st_mtime_ns for path in before}
