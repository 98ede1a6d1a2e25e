import json
from collections import Counter

import pytest
import torch
from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.conditions import load_conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.pairs import PairBatches, encode_pairs
from internlm2_core.text.tokenizer import SCORE_TOKEN


def pair(index, domain="maths", **changes):
    fields = {"prompt": ({"role": "user", "content": f"{index} + 1?"},), "chosen": str(index + 1), "rejected": "7" * 9}
    return Preference(domain, **(fields | changes))


@pytest.fixture
def encoder(tokenizer):
    return ConversationEncoder(tokenizer, load_conditions(), max_tokens=300)


def test_a_group_is_condition_prompt_and_replies_that_end_in_the_score_token(encoder, tokenizer):
    group = encoder.group([{"role": "user", "content": "1 + 1?"}], ["2", "three"], "maths", "zh")
    condition = load_conditions().messages("maths", "zh")[0]["content"]
    assert tokenizer.decode(group.prompt) == (
        f"<|im_start|>system\n{condition}<|im_end|>\n<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [tokenizer.decode(reply) for reply in group.replies] == [
        f"2<|im_end|>\n{SCORE_TOKEN}", f"three<|im_end|>\n{SCORE_TOKEN}",
    ]  # fmt: skip


def test_ids_from_ppo_give_the_same_group(encoder, tokenizer):
    messages = [{"role": "user", "content": "1 + 1?"}]
    reply = [*tokenizer.encode("2"), encoder.chat.end]
    by_text = encoder.group(messages, ["2"], "maths")
    assert encoder.group_of_ids(encoder.chat.prompt(messages), reply, "maths") == by_text
    # Sampling stopped at the length limit: the end of turn is added.
    assert encoder.group_of_ids(encoder.chat.prompt(messages), reply[:-1], "maths") == by_text


def test_bad_pairs_are_counted(encoder):
    counts = Counter()
    pairs = [pair(1), pair(2, rejected="3"), pair(3, chosen=" "), pair(4, chosen="x" * 300)]
    assert len(encode_pairs(pairs, encoder, counts)) == 1
    assert {name: count for name, count in counts.items() if count} == {
        "used": 1, "identical": 1, "empty_reply": 1, "too_long": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="max_tokens"):
        encode_pairs(pairs[3:], encoder, counts, on_bad="raise")
    with pytest.raises(ValueError, match=r"p.jsonl, line 3: Domain 'law' .*Known are"):
        encode_pairs([pair(1, domain="law", where="p.jsonl, line 3")], encoder, counts)
    with pytest.raises(ValueError, match=r"p.jsonl, line 4 cannot be used: .*max_tokens"):
        encode_pairs([pair(1, chosen="x" * 300, where="p.jsonl, line 4")], encoder, counts, on_bad="raise")


UNUSABLE = {
    "identical": pair(1, chosen="4", rejected=" 4\n"),
    "empty_reply": pair(1, rejected="  "),
    "empty_prompt": pair(1, prompt=()),
}


def test_unusable_pairs_are_counted_and_skipped(encoder):
    counts = Counter()
    encoded = encode_pairs([pair(1), *UNUSABLE.values(), pair(1)], encoder, counts)
    assert [each.group for each in encoded] == [encoder.pair(pair(1))] * 2
    assert counts == {"used": 2, "identical": 1, "empty_reply": 1, "empty_prompt": 1}


@pytest.mark.parametrize("defect", UNUSABLE)
def test_or_refused(encoder, defect):
    with pytest.raises(ValueError, match=f"A pair of maths cannot be used: {defect}"):
        encode_pairs([UNUSABLE[defect]], encoder, Counter(), on_bad="raise")


def test_replies_are_encoded_as_turns_are(encoder, tokenizer):
    call = {"role": "assistant", "content": "So:", "tool_call": {"tool": "<|interpreter|>", "content": "1 + 1"}}
    prompt = [{"role": "user", "content": "1 + 1?"}]
    group = encoder.group(prompt, ["2", call], "maths")
    for reply, turn in zip(group.replies, ({"role": "assistant", "content": "2"}, call), strict=True):
        whole = encoder.chat.encode([*encoder.conditions.messages("maths"), *prompt, turn]).ids
        assert [*group.prompt, *reply] == [*whole, tokenizer.special(SCORE_TOKEN)]
        assert encoder.conversation([*prompt, turn], "maths").replies == [reply]


def test_messages_of_others_are_encoded_as_ours(encoder):
    function = {"name": "clock", "arguments": "{}"}
    theirs = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]},
    ]
    ours = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Time?"},
        {
            "role": "assistant",
            "content": "",
            "tool_call": {"tool": "<|plugin|>", "content": json.dumps(function | {"arguments": {}})},
        },
    ]
    assert encoder.conversation(theirs, "maths") == encoder.conversation(ours, "maths")


def flat(batches):
    return [row.packed.input_ids.flatten().tolist() for (row,) in batches]


def test_batches_hold_both_sides_and_resume_in_the_middle(encoder):
    encoded = encode_pairs([pair(i) for i in range(40)], encoder, Counter())
    recipe = PairBatches(budget_tokens=1000, seed=5)
    loader = recipe.loader(encoded)
    first, second = flat(loader), flat(loader)
    assert first != second
    assert sum(map(len, first)) == sum(p.stored_tokens for p in encoded)

    half = recipe.loader(encoded)
    iterator = iter(half)
    taken = flat(next(iterator) for _ in range(2))
    resumed = recipe.loader(encoded)
    resumed.load_state_dict(half.state_dict())
    assert taken + flat(resumed) == first
    assert flat(resumed) == second
    with pytest.raises(ValueError, match="pairs=40"):
        recipe.loader(encoded[:30]).load_state_dict(half.state_dict())


@pytest.mark.parametrize("dp_size", [2, 3])
def test_ranks_share_an_epoch_evenly(encoder, dp_size):
    encoded = encode_pairs([pair(i) for i in range(40)], encoder, Counter())
    loaders = [
        PairBatches(budget_tokens=1000).loader(encoded, dp_rank=rank, dp_size=dp_size) for rank in range(dp_size)
    ]
    assert len({len(loader) for loader in loaders}) == 1
    pairs = [len(row.domain_index) for loader in loaders for (row,) in loader]
    assert sum(pairs) == 40


def test_share_prompts_counts_what_is_stored(encoder):
    encoded = [encode_pairs([pair(1)], encoder, Counter(), share_prompts=share) for share in (True, False)]
    shared, apart = (pairs[0] for pairs in encoded)
    assert apart.stored_tokens - shared.stored_tokens == len(shared.group.prompt)
    loader = PairBatches(budget_tokens=1000, share_prompts=False).loader(encoded[1])
    ((row,),) = list(loader)
    assert row.packed.input_ids.numel() == apart.stored_tokens


def test_rows_hold_the_pairs_of_their_batch_in_order(encoder):
    encoded = encode_pairs([pair(i) for i in range(40)], encoder, Counter())
    whole, cut = (PairBatches(1000, seed=5, row_tokens=tokens).loader(encoded) for tokens in (0, 250))
    batches = list(zip(whole, cut, strict=True))
    assert max(len(rows) for _, rows in batches) > 1
    for (one,), rows in batches:
        assert all(row.packed.input_ids.numel() <= 250 for row in rows)
        joined = torch.cat([row.packed.input_ids for row in rows], dim=1)
        assert torch.equal(joined, one.packed.input_ids)
    with pytest.raises(ValueError, match=r"row_tokens=-1 0 or more\."):
        PairBatches(row_tokens=-1)
