"""Where comparisons come from, and that training and held-out ones are apart by question."""

import json

import pytest
from internlm2_align.labelling.given import given
from internlm2_align.labelling.pairs import PairRules
from internlm2_align.labelling.sources import Files, Instructions, Prompts
from internlm2_core.generation import Sampling

SIZES = {"layers": 1, "dim": 32, "num_kv_heads": 1, "q_per_kv": 1, "ffn_dim": 32, "head_dim": 32, "max_positions": 256}


class Nobody:
    name = "nobody"

    def judge(self, comparisons, folder):
        return iter(())


def write(file, *records):
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(file)


def asks(number, **more):
    return {"prompt": f"{number} + 1?", "replies": ["yes", "no"], "domain": "maths"} | more


def questions(comparisons):
    return {each.prompt[0]["content"] for each in comparisons}


def test_files_are_split_by_question(tmp_path):
    # Two comparisons of each question: both are on the same side.
    lines = [asks(n, replies=["yes", reply]) for n in range(40) for reply in ("no", "never")]
    file = write(tmp_path / "pairs.jsonl", *lines)
    sides = Files(file, heldout_share=0.25).comparisons(Nobody()).sides
    assert len(sides["train"]) + len(sides["heldout"]) == 80 and 8 <= len(sides["heldout"]) <= 36
    assert not questions(sides["train"]) & questions(sides["heldout"])
    held = write(tmp_path / "held.jsonl", asks(3, replies=["a", "b"]))
    asked = Files(file, held).comparisons(Nobody())
    assert len(asked.sides["train"]) == 78 and len(asked.sides["heldout"]) == 1
    assert asked.counts["train"]["question_is_held_out"] == 2
    with pytest.raises(ValueError, match="is in more than one file of input="):
        Files(file, file).comparisons(Nobody())
    with pytest.raises(ValueError, match="holds no comparison"):
        Files(write(tmp_path / "empty.jsonl")).comparisons(Nobody())


def test_a_model_replies_to_prompts_of_ones_own(tmp_path, save_random_model):
    checkpoint = save_random_model(tmp_path / "sft", **SIZES)
    records = [{"prompt": f"{n} + 1?", "domain": "maths", "language": "zh"} for n in range(12)]
    file = write(tmp_path / "prompts.jsonl", *records, {"prompt": "4 + 1?", "domain": "maths"}, {"prompt": "x"})
    source = Prompts(
        file,
        checkpoint,
        heldout_share=0.3,
        samples=3,
        sampling=Sampling(max_new_tokens=6),
        rules=PairRules(per_domain=2),
    )
    asked = source.comparisons(Nobody())
    found = asked.sides["train"] + asked.sides["heldout"]
    counts = asked.counts["train"]
    assert counts["prompts"] == 12 and counts["duplicate"] == 1 and counts["malformed"] == 1
    assert len(found) == 2 * (12 - counts["no_pair"]) > 12
    assert all(each.language == "zh" and each.domain == "maths" for each in found)
    assert asked.sides["heldout"] and not questions(asked.sides["train"]) & questions(asked.sides["heldout"])
    assert source.comparisons(Nobody()).sides == asked.sides
    with pytest.raises(ValueError, match="samples=1 must be 2 or more"):
        Prompts(file, checkpoint, samples=1)


def test_exactly_one_source_is_given(tmp_path):
    sources = {"input": Files, "prompts": Prompts, "instructions": Instructions}
    source = given(sources, input="pairs.jsonl", prompts=None, instructions=None)
    assert source == Files("pairs.jsonl")
    with pytest.raises(ValueError, match=r"Nothing is given to label\. It must be one of input=FILE, prompts=FILE"):
        given(sources, input=None, prompts=[], instructions=None)
    with pytest.raises(ValueError, match="input and prompts is given to label"):
        given(sources, input="a", prompts=["b"], instructions=None)


def test_instructions_need_an_annotator_that_scores():
    with pytest.raises(ValueError, match=r"instructions=train.jsonl needs an annotator that scores .* nobody does not"):
        Instructions("train.jsonl", "heldout.jsonl").comparisons(Nobody())
