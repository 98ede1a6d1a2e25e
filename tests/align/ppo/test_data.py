"""PromptData: what is asked, held out, left out and dealt to ranks."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from internlm2_align import PromptData
from internlm2_align.ppo.data import of_every_kind
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.reward.conditions import Conditions, UnknownDomainError
from internlm2_align.reward.encoding import ConversationEncoder


def write(path, *records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return str(path)


def solved(number, task="sum"):
    messages = [{"role": "user", "content": f"{number}+1"}, {"role": "assistant", "content": str(number + 1)}]
    return {"id": number, "task": task, "messages": messages}


@pytest.fixture
def encoder(tokenizer):
    return ConversationEncoder(tokenizer, Conditions({name: {"en": name[0]} for name in ("maths", "helpful")}), 200)


@pytest.fixture
def files(tmp_path):
    train = write(tmp_path / "train.jsonl", solved(1), solved(2, "sort"), solved(3))
    return train, write(tmp_path / "heldout.jsonl", *(solved(number) for number in range(10, 17)))


def as_rank(data, rank, size):
    share = {"rank": rank, "num_replicas": size}
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(distributed_sampler_kwargs=share))
    return data


def test_prompts_are_read_counted_and_dealt_to_ranks(files, encoder):
    data = PromptData(files[0], encoder, files[1], {"sum": "maths"}, queries=4, iterations=3, heldout_limit=4)
    data.setup()
    assert data.counts["train"] == {"used": 2, "other_task": 1}
    held = [prompt.record["id"] for prompt in data.heldout_prompts]
    assert len(held) == 4 and held == sorted(held)
    whole = as_rank(data, 0, 1).train_dataloader()
    assert len(whole) == 3 and len(whole.of_iteration(0)) == 4
    for rank in range(2):
        as_rank(data, rank, 2)
        assert [p.record["id"] for query in data.val_dataloader() for p in query.prompts] == held[rank::2]
        assert [p.record["id"] for query in data.predict_dataloader() for p in query.prompts] == held[rank::2]
        assert data.train_dataloader().of_iteration(1) == whole.of_iteration(1)[rank::2]


class Texts:
    def loader(self, dp_rank, dp_size, num_workers):
        rows = torch.tensor([[dp_rank, dp_size, num_workers]])
        return [{"input_ids": rows, "labels": rows, "position_ids": rows}]


def test_pretraining_rows_come_with_the_prompts_of_their_rank(files, encoder):
    data = PromptData(files[0], encoder, files[1], {"sum": "maths"}, queries=4, iterations=2, pretrain=Texts())
    data.setup()
    taken = [query.texts.take(None)["input_ids"].tolist() for query in as_rank(data, 1, 2).train_dataloader()]
    assert taken == [[[1, 2, 0]]] * 2


def test_what_asks_nothing_is_refused(files, encoder, tmp_path):
    def data(**changes):
        keys = {"prompts": files[0], "heldout": files[1], "domains": {"sum": "maths"}} | changes
        return PromptData(encoder=encoder, **keys)

    with pytest.raises(ValueError, match=r"heldout_limit=0 must be 1 or more"):
        data(heldout_limit=0)
    with pytest.raises(ValueError, match=r"heldout_share=1.0 must be in \[0, 1\)"):
        data(heldout_share=1.0)
    with pytest.raises(ValueError, match=r"domains names law, .* prompts=\S*train.jsonl .* There are sum\."):
        data(domains={"sum": "maths", "law": "helpful"}).setup()
    with pytest.raises(ValueError, match=r"weights names helpful, .* There are maths\."):
        data(weights={"maths": 1, "helpful": 1}).setup()
    with pytest.raises(
        ValueError, match=r"No prompt is left of prompts=\S*train.jsonl with max_prompt_tokens=3: 2 too_long"
    ):
        data(max_prompt_tokens=3).setup()
    with pytest.raises(ValueError, match=r"No prompt is left of heldout=nothing .*heldout_share above 0"):
        data(heldout=()).setup()
    with pytest.raises(UnknownDomainError, match="Domain 'law' has no condition prompt"):
        data(prompts=[{"path": write(tmp_path / "p.jsonl", {"prompt": "why?"}), "domain": "law"}]).setup()
    with pytest.raises(ValueError, match=r"has 'format'\. A file has keys path, domain, language"):
        data(prompts=[{"path": "x", "format": "hh"}])


def test_sides_are_apart_by_question_and_each_prompt_is_asked_once(encoder, tmp_path):
    own = [{"prompt": f"{i}+1?", "domain": "maths"} for i in range(60)] * 2
    named = [{"prompt": "in other words", "domain": "maths", "meta": {"question": "7+1?"}}]
    held = [{"prompt": " 0+1?", "domain": "maths"}, {"prompt": "0+1?", "domain": "helpful"}, *named]
    data = PromptData(
        write(tmp_path / "p.jsonl", *own), encoder, write(tmp_path / "h.jsonl", *held), heldout_share=0.2,
        heldout_limit=100,
    )  # fmt: skip
    data.setup()
    assert data.counts["train"]["duplicate"] == 60
    train, heldout = ({p.record["prompt"] for p in side} for side in (data.prompts, data.heldout_prompts))
    assert not train & heldout and "0+1?" not in train and 6 <= len(heldout) <= 22
    assert data.counts["heldout"]["used"] == len(data.heldout_prompts)
    assert (
        data.counts["train"]["used"] + data.counts["train"]["question_is_held_out"] + len(data.heldout_prompts) - 3
        == 60
    )


def test_held_out_prompts_are_of_every_kind(encoder):
    # Kinds take turns: every fourth prompt would be of one kind.
    prompts = [Prompt((), (i,), "maths" if i % 2 else "helpful", "zh" if i % 4 > 1 else "en") for i in range(400)]
    chosen = of_every_kind(prompts, 100, 1)
    assert set(Counter((prompt.domain, prompt.language) for prompt in chosen).values()) == {25}
    assert chosen == sorted(chosen, key=lambda prompt: prompt.ids) and of_every_kind(prompts, 100, 2) != chosen
    rare = [*prompts[::4], Prompt((), (401,), "maths")]
    assert rare[-1] in of_every_kind(rare, 5, 1) and of_every_kind(rare, 1000, 1) == rare
