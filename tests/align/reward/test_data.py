import json
from functools import partial

import pytest
from internlm2_align import PreferenceData, RewardModel
from internlm2_align.preferences.preference import Preference, to_record
from internlm2_align.preferences.sources import PreferenceFile
from internlm2_align.reward.conditions import load_conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import RewardNetwork
from internlm2_align.reward.pairs import PairBatches
from lightning import Trainer


def pair(index, **changes):
    fields = {"prompt": ({"role": "user", "content": f"{index} + 1?"},), "chosen": str(index + 1), "rejected": "7" * 9}
    return Preference("maths", **(fields | changes))


@pytest.fixture
def encoder(tokenizer):
    return ConversationEncoder(tokenizer, load_conditions(), max_tokens=300)


@pytest.fixture
def write(tmp_path):
    def write(name, *pairs):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(to_record(pair)) + "\n" for pair in pairs))
        return str(path)

    return write


def words(preferences):
    return [pair.prompt[0]["content"] for pair in preferences]


def encoded_words(pairs, tokenizer):
    """What the user said, read from the ids."""
    return [tokenizer.decode(each.group.prompt).split("user\n")[1].split("<|im_end|>")[0] for each in pairs]


def test_pairs_are_apart_by_question_and_counted(encoder, write, tokenizer):
    train = write("train", *map(pair, range(6)), pair(0), pair(7, rejected="8"))
    data = PreferenceData(train, encoder, heldout=[write("heldout", pair(1), pair(9))])
    data.setup()
    assert words(data.heldout_preferences) == ["1 + 1?", "9 + 1?"] == encoded_words(data.heldout_pairs, tokenizer)
    assert encoded_words(data.pairs, tokenizer) == ["0 + 1?", "2 + 1?", "3 + 1?", "4 + 1?", "5 + 1?"]
    left_out = {"question_is_held_out": 1, "duplicate": 1, "identical": 1}
    assert data.counts == {"train": {"used": 5, **left_out}, "heldout": {"used": 2}}


def test_a_share_of_the_questions_is_held_out(encoder, write, tokenizer):
    train = write("train", *map(pair, range(40)))
    data = PreferenceData(train, encoder, heldout_share=0.25)
    data.setup()
    data.setup("fit")  # Lightning calls it again.
    assert 0 < len(data.heldout_pairs) < 20
    assert sorted(encoded_words(data.pairs, tokenizer) + words(data.heldout_preferences)) == sorted(
        f"{i} + 1?" for i in range(40)
    )
    other = PreferenceData(train, encoder, heldout_share=0.25, heldout_seed=1)
    other.setup()
    assert words(other.heldout_preferences) != words(data.heldout_preferences)


def test_added_pairs_are_shown_as_often_as_given_unless_held_out(encoder, write, tokenizer):
    train, heldout = write("train", pair(0)), write("heldout", pair(5))
    added = write("added", pair(1), pair(5))
    data = PreferenceData(train, encoder, heldout=heldout, added=[added, added])
    data.setup()
    assert encoded_words(data.pairs, tokenizer) == ["0 + 1?", "1 + 1?", "1 + 1?"]


def test_margins_grow_with_the_gap(encoder, write):
    gap = pair(1, meta={"score_gap": 0.5, "margin": 0.25})
    data = PreferenceData(write("train", pair(0), gap), encoder, margin_per_gap=2.0)
    data.setup()
    assert [each.margin for each in data.pairs] == [0.0, 1.25]
    with pytest.raises(ValueError, match=r"margin_per_gap=2.0 .* None of these 1 pairs"):
        PreferenceData(write("none", pair(0)), encoder, margin_per_gap=2.0).setup()


def test_what_cannot_be_used_is_refused(encoder, write):
    bad = write("bad", pair(0, chosen=" "))
    with pytest.raises(ValueError, match=r"No usable pairs are left of preferences=\S*bad.jsonl: 1 empty_reply\."):
        PreferenceData(bad, encoder).setup()
    with pytest.raises(ValueError, match=r"left of heldout=\S*bad.jsonl: 1 empty_reply\."):
        PreferenceData(write("good", pair(1)), encoder, heldout=bad).setup()
    with pytest.raises(ValueError, match="on_bad=never"):
        PreferenceData(bad, encoder, on_bad="never")
    with pytest.raises(ValueError, match="sharegpt"):
        PreferenceData({"path": bad, "format": "sharegpt"}, encoder)


def test_lightning_trains_and_validates_on_it(encoder, write, size):
    train, heldout = write("train", *map(pair, range(12))), PreferenceFile(write("heldout", *map(pair, range(20, 24))))
    data = PreferenceData(train, encoder, PairBatches(500), heldout)
    model = RewardModel(partial(RewardNetwork, size), encoder)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    assert trainer.global_step == len(data.loader()) > 1
    assert "valid/accuracy/maths" in trainer.callback_metrics
