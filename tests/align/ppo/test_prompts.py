import gzip
import json

import pytest
import torch
from internlm2_align.ppo.prompts import Prompt, QueryLoader, read_prompts
from internlm2_core.text.chat import ChatFormat


def prompts(count):
    return [Prompt(({"role": "user", "content": str(i)},), (i,), "maths") for i in range(count)]


class Texts:
    """A stateful loader of three batches a pass."""

    def __init__(self):
        self.place = 0

    def __iter__(self):
        while self.place < 3:
            self.place += 1
            yield {"input_ids": torch.tensor([[self.place]])}
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


def seen(loader):
    return [([p.ids[0] for p in q.prompts], q.texts and int(q.texts.take(None)["input_ids"])) for q in loader]


def test_all_prompts_once_before_any_twice():
    batches = [ids for ids, _ in seen(QueryLoader(prompts(10), 5, 4))]
    assert sorted(batches[0] + batches[1]) == list(range(10)) == sorted(batches[2] + batches[3])
    assert batches[:2] != batches[2:]


def test_resumes_with_its_pretraining_texts():
    whole = seen(QueryLoader(prompts(7), 4, 6, pretrain=Texts()))
    assert [text for _, text in whole] == [1, 2, 3, 1, 2, 3]
    loader = QueryLoader(prompts(7), 4, 6, pretrain=Texts())
    iterator = iter(loader)
    first = seen(next(iterator) for _ in range(2))
    resumed = QueryLoader(prompts(7), 4, 6, pretrain=Texts())
    resumed.load_state_dict(loader.state_dict())
    assert first + seen(resumed) == whole
    assert len(resumed) == 6


def test_ranks_share_an_iteration():
    whole = QueryLoader(prompts(10), 4, 3).of_iteration(1)
    shares = [QueryLoader(prompts(10), 4, 3, dp_rank=rank, dp_size=2).of_iteration(1) for rank in range(2)]
    assert sorted(p.ids for share in shares for p in share) == sorted(p.ids for p in whole)
    with pytest.raises(ValueError, match="queries must be a multiple"):
        QueryLoader(prompts(10), 5, 3, dp_size=2)


def test_prompts_are_instructions_without_their_last_turn(tmp_path, tokenizer):
    messages = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    path = tmp_path / "train.jsonl"
    tasks = [("sum", messages), ("sort", messages), ("sum", [messages[0] | {"content": "9" * 99}, messages[1]])]
    path.write_text("".join(json.dumps({"task": t, "language": "zh", "messages": m}) + "\n" for t, m in tasks))
    chat = ChatFormat(tokenizer)
    found, counts = read_prompts(path, chat, {"sum": "maths"}, max_prompt_tokens=60)
    assert counts == {"used": 1, "other_task": 1, "too_long": 1}
    (prompt,) = found
    assert list(prompt.ids) == chat.prompt(messages[:1])
    assert prompt.domain == "maths" and prompt.language == "zh" and prompt.record["task"] == "sum"
    with pytest.raises(ValueError, match="gives no prompt"):
        read_prompts(path, chat, {"other": "maths"}, 60)
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        read_prompts(tmp_path / "none", chat, {}, 60)


def test_prompts_are_read_as_other_jobs_read_them(tmp_path, tokenizer):
    # A line separator inside of a text ends no line.
    messages = [{"role": "user", "content": "1+1\u2028?"}, {"role": "assistant", "content": "2"}]
    line = json.dumps({"task": "sum", "messages": messages}, ensure_ascii=False) + "\n\n"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    chat = ChatFormat(tokenizer)
    assert len(read_prompts(tmp_path / "a.jsonl.gz", chat, {"sum": "maths"}, 60)[0]) == 1
    (tmp_path / "b.jsonl").write_text(json.dumps({"task": "sum", "messages": messages[:1]}))
    with pytest.raises(ValueError, match=r"Record 1 of .* ends in a turn of 'user'"):
        read_prompts(tmp_path / "b.jsonl", chat, {"sum": "maths"}, 60)
