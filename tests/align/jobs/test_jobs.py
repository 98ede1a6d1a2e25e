"""Each job on a tiny model: what it writes, and that it resumes when it is run again."""

import json
import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest
import torch
from internlm2_align import ConversationEncoder, PPOSystem, PromptData, RewardModel
from internlm2_align.jobs import label as label_job
from internlm2_align.jobs import online_rlhf, score
from internlm2_align.labelling.pairs import PairRules
from internlm2_align.labelling.people import PeopleAnnotator
from internlm2_align.labelling.sources import Instructions
from internlm2_align.miniature import SimulatedAnnotator, WrittenCandidates
from internlm2_align.online.hacking import Audit
from internlm2_align.online.replies import Probe
from internlm2_align.online.rounds import Rounds
from internlm2_align.people import Queue
from internlm2_align.preferences.comparison import Judgement
from internlm2_align.preferences.sources import read_preferences
from internlm2_align.reward.conditions import Conditions, conditions_beside
from internlm2_align.reward.losses import reward_loss
from internlm2_core.checkpoint import load_released
from internlm2_core.generation import Sampling
from internlm2_core.jobs import export
from internlm2_core.text import load_tokenizer
from internlm2_core.training import NotFiniteError
from safetensors.torch import load_file, save_file


def label(annotator, rules, instructions, heldout, output, **keys):
    """The job on instruction records, with replies written by rules."""
    return label_job(
        annotator, Instructions(instructions, heldout, rules, candidates=WrittenCandidates, **keys), output
    )


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


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


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"id": "nowhere", "replies": ["zzz"]},
            "belong to other records: none of its ids is among .* first is 'nowhere'",
        ),
        ({"id": "sum-0", "replies": "zzz"}, "Record 1 of .* has replies='zzz', which must be a list"),
    ],
)
def test_label_refuses_responses_that_it_cannot_use(tmp_path, instructions, record, message):
    responses = write_lines(tmp_path / "responses.jsonl", record)
    with pytest.raises(ValueError, match=message):
        label(SimulatedAnnotator(), PairRules(), *instructions, str(tmp_path / "out"), responses=[str(responses)])


def test_label_leaves_out_held_out_questions(tmp_path, instructions):
    metrics = label(SimulatedAnnotator(), PairRules(), instructions[0], instructions[0], str(tmp_path / "out"))
    assert metrics["sets"]["train"]["comparisons"] == 0
    assert metrics["sets"]["train"]["counts"] == {"question_is_held_out": 60}


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


def test_reward_that_is_stopped_by_max_steps_goes_on_with_its_schedule(tmp_path, sft, labelled, run_reward):
    def train(folder: str, **settings: int) -> tuple[dict[str, torch.Tensor], int]:
        metrics = run_reward(sft, labelled[:1], [], str(tmp_path / folder), **settings)
        return load_file(tmp_path / folder / "model" / "model.safetensors"), metrics["steps"]

    whole, steps = train("whole")
    stopped, two = train("halves", max_steps=2)
    continued, again = train("halves")
    assert two == 2 and again == steps > 2
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    assert not all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_reward_refuses_bad_input(tmp_path, sft, labelled, run_reward):
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
        run_reward(sft, ["none.jsonl"], [], str(tmp_path / "x"))
    with pytest.raises(ValueError, match="usable pairs"):
        run_reward(sft, labelled[1:], labelled[1:], str(tmp_path / "x"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"domain": "law", "prompt": [{"role": "user", "content": "q"}], "chosen": "a",
                               "rejected": "b"}) + "\n")  # fmt: skip
    for arguments in (([str(bad)], []), (labelled[:1], [str(bad)])):
        with pytest.raises(ValueError, match=r"bad.jsonl, line 1: Domain 'law'"):
            run_reward(sft, *arguments, str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()  # held-out pairs too are checked before training
    with pytest.raises(FileNotFoundError, match="nope"):
        run_reward(str(tmp_path / "nope"), labelled[:1], [], str(tmp_path / "x"))
    with pytest.raises(ValueError, match=r"on_bad=rais .*skip.* raise"):
        run_reward(sft, labelled[:1], [], str(tmp_path / "x"), on_bad="rais")


def test_reward_counts_what_it_leaves_out(tmp_path, sft, run_reward):
    def pair(question, chosen="good", rejected="bad", **more):
        return {"domain": "helpful", "prompt": question, "chosen": chosen, "rejected": rejected, **more}

    def write(name, *pairs):
        (tmp_path / name).write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        return {"path": str(tmp_path / name)}

    def bad(side):
        same, long, empty = pair(f"{side}1", "same", "same"), pair(f"{side}2", "x" * 999), pair(f"{side}3", " ")
        return [same, long, empty, {"domain": "helpful"}]

    held = write("held.jsonl", pair("h", meta={"score_gap": 1}), pair("h"), pair("i", meta={"score_gap": 3}), *bad("h"))
    train = write("train.jsonl", pair("q"), pair("q", "bad", "good"), pair("H "), *bad("t"))
    metrics = run_reward(sft, train, held, str(tmp_path / "out"))
    left_out = {"identical": 1, "too_long": 1, "empty_reply": 1, "malformed": 1}
    assert metrics["pairs"]["heldout"] == {"used": 2, "duplicate": 1, **left_out}
    assert metrics["pairs"]["train"] == {"used": 1, "contradicting": 1, "question_is_held_out": 1, **left_out}
    helpful = metrics["heldout"]["domains"]["helpful"]
    assert helpful["hard_gap"] == 2 and {name: part["pairs"] for name, part in helpful["slices"].items()} == {
        "hard": 1, "easy": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"No usable pairs are left of preferences=.*bad\.jsonl: .*1 too_long"):
        run_reward(sft, write("bad.jsonl", *bad("t")), [], str(tmp_path / "x"))
    for files in (
        ([write("same.jsonl", *bad("t")[:1])], []),
        ([write("good.jsonl", pair("q"))], write("long.jsonl", pair("h", "x" * 999))),
    ):
        with pytest.raises(ValueError, match=r"jsonl, line \d cannot be used"):
            run_reward(sft, *files, str(tmp_path / "x"), on_bad="raise")


def test_another_seed_holds_out_other_questions(tmp_path, sft, labelled, run_reward):
    def held_out(seed):
        metrics = run_reward(sft, labelled[0], [], str(tmp_path / f"seed-{seed}"), heldout_share=0.2, heldout_seed=seed)
        return metrics["pairs"]["heldout"]["used"]

    assert held_out(0) != held_out(3)


def test_clear_pairs_want_a_margin(tmp_path, sft, labelled, run_reward):
    def first_loss(margin_per_gap):
        folder = str(tmp_path / f"margin-{margin_per_gap}")
        return run_reward(sft, labelled[:1], [], folder, margin_per_gap=margin_per_gap)["curve"][0]["loss"]

    assert first_loss(5.0) > first_loss(0.0) + 1


def test_margins_of_pairs_without_gaps_are_refused(tmp_path, sft, labelled, run_reward):
    records = lines(labelled[0])
    for record in records:
        del record["meta"]["score_gap"]
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(ValueError, match=rf"margin_per_gap=1\.0 needs pairs.*None of these {len(records)} pairs"):
        run_reward(sft, [str(bare)], [], str(tmp_path / "x"), margin_per_gap=1.0)


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
    with pytest.raises(ValueError, match=r"in.jsonl, line 2: it names no domain"):
        score(model, str(source), str(tmp_path / "scores2"), device="cpu")
    with pytest.raises(ValueError, match=r"Domain 'law'.*Known are maths"):
        score(model, str(source), str(tmp_path / "scores2"), domain="law", device="cpu")
    with pytest.raises(FileNotFoundError, match=r"checkpoint=.*nope is not a folder"):
        score(str(tmp_path / "nope"), str(source), str(tmp_path / "scores2"), device="cpu")


def write_lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_score_reads_languages_and_calls(tmp_path, reward_folder):
    model = RewardModel.load(reward_folder / "model")
    model.encoder.conditions = Conditions({"maths": {"en": "M", "zh": "Z"}})
    model.save(tmp_path / "model", reward_folder / "model")
    talk = [{"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "2"}]
    call = {**talk[1], "tool_calls": [{"function": {"name": "add", "arguments": "{}"}}]}
    records = [
        {"messages": talk},
        {"messages": talk, "meta": {"language": "zh"}},
        {"messages": talk, "language": "zh"},
        {"messages": talk, "language": "en", "meta": {"language": "zh"}},
        {"messages": [talk[0], call]},
        {"prompt": "1 + 1", "replies": [call, "2"]},
    ]
    score(
        str(tmp_path / "model"), write_lines(tmp_path / "in.jsonl", *records), str(tmp_path), "maths", device="cpu"
    )  # fmt: skip
    found = lines(tmp_path / "scores.jsonl")
    english, meta, chinese, own, called, both = (line.get("score", line.get("scores")) for line in found)
    assert meta == pytest.approx(chinese) and own == pytest.approx(english)
    assert chinese == pytest.approx(model.score(talk, "maths", "zh"), abs=1e-5) and abs(chinese - english) > 1e-5
    assert both == pytest.approx([called, english], abs=1e-5) and abs(called - english) > 1e-5


UNSCORABLE = {
    "ends in an assistant turn": {"messages": []},
    "replies='[]' must be a list": {"prompt": "q", "replies": []},
    "holds neither `messages`": {"prompt": "q", "chosen": "a"},
    "lacks 'prompt'": {"chosen": "a", "rejected": "b"},
    "reply 2 of 2 is empty": {"prompt": "q", "replies": ["a", " "]},
    "reply 1 of 1 is empty": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}]},
    "not a JSON object": ["q"],
    "Domain 'law'": {"prompt": "q", "replies": ["a"], "domain": "law"},
    "the limit is 256": {"prompt": "q", "replies": ["a" * 999]},
}


def test_score_refuses_or_leaves_out_what_it_cannot_score(tmp_path, reward_folder, capsys):
    model, good = str(reward_folder / "model"), {"prompt": "q", "replies": ["a"], "n": 1}
    for match, record in UNSCORABLE.items():
        source = write_lines(tmp_path / "in.jsonl", good, record)
        with pytest.raises(ValueError, match=re.escape(match)) as error:
            score(model, source, str(tmp_path / "x"), "maths", max_tokens=256, device="cpu")
        assert str(error.value).startswith(f"{source}, line 2") and "on_bad=skip" in str(error.value)
    source = write_lines(tmp_path / "in.jsonl", *UNSCORABLE.values(), good)
    score(model, source, str(tmp_path / "s"), "maths", chunk=4, max_tokens=256, device="cpu", on_bad="skip")
    assert f"{len(UNSCORABLE)} of {len(UNSCORABLE) + 1} records have no score, the first: " in capsys.readouterr().err
    *bad, last = lines(tmp_path / "s" / "scores.jsonl")
    assert last["n"] == 1 and len(last["scores"]) == 1
    for (match, record), line in zip(UNSCORABLE.items(), bad, strict=True):
        assert match in line["unscored"] and line.get("score", line.get("scores")) is None
        assert isinstance(record, list) or record.items() <= line.items()
    with pytest.raises(ValueError, match="on_bad=drop must be one of"):
        score(model, source, str(tmp_path / "s"), "maths", on_bad="drop")


@pytest.fixture
def stopped(tmp_path, reward_folder):
    """Arguments of a scoring that failed in its second chunk, as a killed run would stop there; its input is whole."""
    question, reply = {"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "2"}
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"messages": [question, reply], "n": n}) + "\n" for n in range(5)))
    arguments = (str(reward_folder / "model"), str(source), str(tmp_path / "s"))
    broken = source.read_text()
    source.write_text(broken.replace('"n": 3', '"domain": "law", "n": 3'))
    with pytest.raises(ValueError, match="law"):
        score(*arguments, domain="maths", chunk=2, device="cpu")
    (draft,) = (tmp_path / "s").glob(".*.draft")
    with draft.open("a") as file:
        file.write('{"half a li')
    source.write_text(broken)
    return arguments


def test_score_goes_on_after_the_last_whole_line(tmp_path, stopped):
    (draft,) = (tmp_path / "s").glob(".*.draft")
    draft.write_text(re.sub(r'"score": [-.\de]+', '"score": 77.0', draft.read_text()))
    score(*stopped, domain="maths", chunk=2, device="cpu", on_bad="skip")
    written = lines(tmp_path / "s" / "scores.jsonl")
    assert [record["n"] for record in written] == list(range(5))
    assert [record["score"] == 77 for record in written] == [True, True, False, False, False]


def test_score_does_not_take_over_what_was_left_out(tmp_path, stopped):
    (draft,) = (tmp_path / "s").glob(".*.draft")
    draft.write_text(re.sub(r'"score": [-.\de]+', '"score": null, "unscored": "?"', draft.read_text()))
    score(*stopped, domain="maths", chunk=2, device="cpu")
    assert all(record["score"] is not None for record in lines(tmp_path / "s" / "scores.jsonl"))


def test_score_does_over_what_has_changed_in_the_input(tmp_path, stopped):
    source = Path(stopped[1])
    source.write_text(source.read_text().replace('"2"}], "n": 1', '"3"}], "n": 1'))
    score(*stopped, domain="maths", chunk=2, device="cpu")
    first, second, *_ = lines(tmp_path / "s" / "scores.jsonl")
    assert second["messages"][1]["content"] == "3" and second["score"] != first["score"]


def test_score_does_not_go_on_with_another_model(tmp_path, stopped):
    (draft,) = (tmp_path / "s").glob(".*.draft")
    draft.write_text(re.sub(r'"score": [-.\de]+', '"score": 77.0', draft.read_text()))
    weights = Path(stopped[0]) / "model.safetensors"
    tensors = load_file(weights)
    tensors["v_head.weight"] = tensors["v_head.weight"] * 2
    save_file(tensors, weights)
    score(*stopped, domain="maths", chunk=2, device="cpu")
    assert all(record["score"] != 77 for record in lines(tmp_path / "s" / "scores.jsonl"))


def test_ppo(tmp_path, sft, reward_folder, run_ppo):
    arguments = (sft, str(reward_folder / "model"), str(tmp_path / "ppo"))
    metrics = run_ppo(*arguments)
    assert metrics["judge"] == "SimulatedAnnotator"
    assert metrics["iterations"] == 4 and metrics["start"]["iteration"] == 0 and metrics["last"]["iteration"] == 4
    assert [e["iteration"] for e in metrics["history"] if "train/reward" in e] == [1, 2, 3, 4]
    assert {"valid/reward", "valid/kl", "valid/judge", "valid/reward/maths"} <= set(metrics["best"])
    for folder in ("model", "last", "snapshots/iteration-2"):
        assert load_released(tmp_path / "ppo" / folder).size.layers == 2
    # A second run resumes from the last checkpoint, where nothing is left to do.
    again = run_ppo(*arguments)
    assert again["history"] == metrics["history"]


def test_a_ppo_checkpoint_gives_the_whole_system_again(tmp_path, sft, reward_folder, run_ppo):
    run_ppo(sft, str(reward_folder / "model"), str(tmp_path / "ppo"))
    system = PPOSystem.load_from_checkpoint(tmp_path / "ppo" / "checkpoints" / "last.ckpt")
    assert system.iteration == 4 and system.settings.warmup_iterations == 1 and system.sampling.max_new_tokens == 5
    last = load_released(tmp_path / "ppo" / "last")
    assert all(torch.equal(system.actor.state_dict()[name], value) for name, value in last.state_dict().items())
    export(str(tmp_path / "ppo"), str(tmp_path / "again"))
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in last.state_dict().items())
    other = PPOSystem.load(tmp_path / "again", reward_folder / "model", sampling=system.sampling)
    talk = [{"role": "user", "content": "1 + 1"}]
    assert other.generate("1 + 1", seed=3) == system.generate(talk, seed=3)


def test_a_reward_checkpoint_gives_the_model_again(reward_folder, tmp_path):
    model = RewardModel.load_from_checkpoint(reward_folder / "checkpoints" / "last.ckpt")
    saved = RewardModel.load(reward_folder / "model")
    assert model.encoder.conditions.domains == saved.encoder.conditions.domains and model.encoder.max_tokens == 256
    talk = [{"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "2"}]
    assert model.score(talk, "maths") != 0 and model.loss is reward_loss
    assert model.make_optimizer.keywords == {"lr": 2e-3}
    export(str(reward_folder / "checkpoints" / "last.ckpt"), str(tmp_path / "exported"))
    assert RewardModel.load(tmp_path / "exported").score(talk, "maths") == model.score(talk, "maths")


def test_ppo_keeps_an_early_actor(tmp_path, sft, reward_folder, run_ppo):
    run_ppo(sft, str(reward_folder / "model"), str(tmp_path / "ppo"), snapshots=(), early_share=0.4)
    assert [path.name for path in (tmp_path / "ppo" / "snapshots").iterdir()] == ["iteration-2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_check_interval": 3}, "val_check_interval=3 must divide iterations=4"),
        ({"warmup_iterations": 4}, "warmup_iterations=4 must be below iterations=4"),
        ({"snapshots": (2, 5)}, r"snapshots=\[5\] must be among iterations 1 to 4"),
        ({"heldout_limit": 0}, "heldout_limit=0 must be 1 or more"),
        ({"max_epochs": 2}, "max_epochs=2 must be 1 in PPO: iterations=4 says how long it runs"),
        ({"domains": {"arithmetic": "maths", "sums": "maths"}}, "domains names sums.*There are arithmetic"),
        ({"max_steps": 1}, "stopped after 1 iterations, before its first validation"),
    ],
)
def test_ppo_refuses_what_does_not_fit(tmp_path, sft, reward_folder, run_ppo, changes, message):
    with pytest.raises(ValueError, match=message):
        run_ppo(sft, str(reward_folder / "model"), str(tmp_path / "ppo"), **changes)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_ppo_writes_no_actor_of_a_broken_reward_model(tmp_path, sft, reward_folder, run_ppo, bad):
    file = next((reward_folder / "model").glob("*.safetensors"))
    weights = load_file(file)
    weights["v_head.weight"].fill_(bad)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(NotFiniteError, match=r"valid/reward\S*=(nan|-?inf) after iteration 0 must be finite"):
        run_ppo(sft, str(reward_folder / "model"), str(tmp_path / "ppo"))
    assert not [*tmp_path.glob("ppo/*/*.safetensors")] and not (tmp_path / "ppo" / "metrics.json").exists()


@pytest.mark.parametrize("with_heldout", [True, False])
def test_reward_training_that_diverges_stops_and_writes_nothing(tmp_path, sft, labelled, run_reward, with_heldout):
    heldout = labelled[1:] if with_heldout else []
    rate = partial(torch.optim.SGD, lr=float("inf"))
    with pytest.raises((ValueError, NotFiniteError), match=r"\d+ steps in a row were not finite|not written"):
        run_reward(sft, labelled[:1], heldout, str(tmp_path / "reward"), optimizer=rate)
    assert not (tmp_path / "reward" / "model").exists() and not (tmp_path / "reward" / "metrics.json").exists()


def test_ppo_refuses_held_out_records_that_its_judge_cannot_judge(tmp_path, sft, reward_folder, run_ppo, instructions):
    bare = write_lines(tmp_path / "bare.jsonl", *({**line, "check": None} for line in lines(instructions[1])))
    Path(bare).write_text(Path(bare).read_text().replace('"check"', '"checks"'))
    with pytest.raises(ValueError, match=r"has no `check` .*judge=null"):
        run_ppo(sft, str(reward_folder / "model"), str(tmp_path / "ppo"), heldout=bare)


@pytest.fixture
def make_rounds(sft, instructions, labelled, reward_folder, run_ppo, run_reward):
    domains = {"arithmetic": "maths", "secret": "harmless"}

    def reward(checkpoint, output, heldout, **keys):
        return run_reward(checkpoint, labelled[:1], heldout, output, added=keys["data.added"])

    def ppo(**keys):
        return run_ppo(**keys, early_share=0.2)

    def make(annotator=SimulatedAnnotator(), **changes):  # noqa: B008
        encoder = ConversationEncoder(load_tokenizer(sft), conditions_beside(reward_folder / "model"), 256)
        data = PromptData(instructions[0], encoder, instructions[1], domains)
        probe = Probe(Sampling(max_new_tokens=12), samples=2)
        keys = {"heldout": labelled[1:], "prompts_per_round": 20, "max_tokens": 256}
        return Rounds(sft, data, ppo, reward, probe, Audit(), annotator, **(keys | changes))

    return make


def test_rounds_take_only_a_finished_run_of_the_same_models(tmp_path, sft, reward_folder, make_rounds):
    arguments = (make_rounds(), str(reward_folder / "model"), str(tmp_path / "online"), 1)
    with pytest.raises(FileNotFoundError, match=r"first_ppo=.*ppo must be the folder of a finished run"):
        online_rlhf(*arguments, first_ppo=str(tmp_path / "ppo"))
    assert not (tmp_path / "ppo").exists()
    (tmp_path / "ppo" / "snapshots" / "iteration-2").mkdir(parents=True)
    (tmp_path / "ppo" / "metrics.json").write_text(json.dumps({"checkpoint": sft, "reward": sft}))
    with pytest.raises(ValueError, match=r"was run with reward=.*sft instead of reward=.*reward/model"):
        online_rlhf(*arguments, first_ppo=str(tmp_path / "ppo"))
    with pytest.raises(ValueError, match="number=0 of rounds must be 1 or more"):
        online_rlhf(*arguments[:3], 0)


def people_label(folder, most=None):
    """People prefer the longer reply. Returns how many they judged."""
    queue = Queue(folder)
    judged = 0
    while judged != most and (asked := queue.next("Li Lei")):
        first, second = map(len, asked.replies)
        verdict = "tie" if first == second else "first" if first > second else "second"
        queue.judge(Judgement(asked.id, verdict, "Li Lei", "2026-01-01T00:00:00+00:00"))
        judged += 1
    return judged


@pytest.mark.slow
def test_online_rounds_wait_for_people(tmp_path, reward_folder, make_rounds, capsys):
    root, reward = tmp_path / "online", str(reward_folder / "model")

    def run():
        rounds = make_rounds(PeopleAnnotator(serve=False), least=10, heldout_share=0.4)
        return online_rlhf(rounds, reward, str(root), 2)

    state = run()
    assert state == json.loads((root / "state.json").read_text()) and state["part"] == "labels"
    assert state["labels"] == {"all": {"there": 0, "wanted": 10}}
    assert state["status"] in capsys.readouterr().out and state["command"] in state["status"]
    assert state["command"].split()[1:3] == ["label", "annotator=people"]
    assert not (root / "metrics.json").exists() and not (root / "round-2").exists()
    # Too few labels are kept, and nothing is run again. Ten are enough.
    before = {path: path.stat().st_mtime_ns for path in root.glob("round-1/*/metrics.json")}
    assert people_label(root / "round-1" / "labels", 8) == 8
    assert run()["labels"] == {"all": {"there": 8, "wanted": 10}}
    assert people_label(root / "round-1" / "labels") > 2
    state = run()
    assert (state["round"], state["part"]) == (2, "labels")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    people_label(root / "round-2" / "labels")
    metrics = run()
    first, second = metrics["rounds"]
    assert metrics["annotator"] == "PeopleAnnotator"
    assert first["reward"] is None and second["reward"]["heldout"]["pairs"] > 0
    assert set(first["audit"]["models"]) == {"sft", "early", "late"} == set(first["audit"]["wins"])
    slow, held = (lines(root / "round-1" / "preferences" / f"{name}.jsonl") for name in ("slow", "heldout"))
    assert first["audit"]["slow_pairs"] == len(slow) > 0 and first["audit"]["heldout_pairs"] == len(held) > 0
    assert {pair["meta"]["annotator"] for pair in slow + held} == {"Li Lei"}
    counts = first["audit"]["labels"]
    assert counts["comparisons"] == counts["pairs"] + counts["ties"] and counts["pairs"] >= len(slow) + len(held)
    assert second["reward"]["pairs"]["train"]["used"] >= first["audit"]["slow_pairs"]
    assert second["label_accuracy"]["heldout"]["pairs"] == len(held)
    assert second["label_accuracy"]["trained"]["pairs"] == len(slow)
    assert RewardModel.load(root / "reward")
    assert load_released(root / "model")
    assert json.loads((root / "state.json").read_text())["part"] == "done"
    # Another run finds every part done.
    before = {path: path.stat().st_mtime_ns for path in root.glob("round-*/*/metrics.json")}
    assert run() == json.loads(json.dumps(metrics))
    assert before == {path: path.stat().st_mtime_ns for path in before}
