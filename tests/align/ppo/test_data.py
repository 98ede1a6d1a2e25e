import json
from types import SimpleNamespace

import pytest
import torch
from internlm2_align import PromptData
from internlm2_core.text.chat import ChatFormat


def write(path, *tasks):
    messages = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    path.write_text("".join(json.dumps({"id": i, "task": t, "messages": messages}) + "\n" for i, t in enumerate(tasks)))
    return str(path)


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "train.jsonl", "sum", "sort", "sum"), write(tmp_path / "heldout.jsonl", *["sum"] * 7)


def as_rank(data, rank, size):
    share = {"rank": rank, "num_replicas": size}
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(distributed_sampler_kwargs=share))
    return data


def test_prompts_are_read_counted_and_dealt_to_ranks(files, tokenizer):
    data = PromptData(*files, ChatFormat(tokenizer), {"sum": "maths"}, queries=4, iterations=3, heldout_limit=4)
    data.setup()
    assert data.counts["train"] == {"used": 2, "other_task": 1, "too_long": 0}
    assert [prompt.record["id"] for prompt in data.heldout_prompts] == [0, 2, 4, 6]
    whole = as_rank(data, 0, 1).train_dataloader()
    assert len(whole) == 3 and len(whole.of_iteration(0)) == 4
    for rank, held in enumerate(([0, 4], [2, 6])):
        as_rank(data, rank, 2)
        assert [p.record["id"] for query in data.val_dataloader() for p in query.prompts] == held
        assert [p.record["id"] for query in data.predict_dataloader() for p in query.prompts] == held
        assert data.train_dataloader().of_iteration(1) == whole.of_iteration(1)[rank::2]


class Texts:
    def loader(self, dp_rank, dp_size, num_workers):
        rows = torch.tensor([[dp_rank, dp_size, num_workers]])
        return [{"input_ids": rows, "labels": rows, "position_ids": rows}]


def test_pretraining_rows_come_with_the_prompts_of_their_rank(files, tokenizer):
    data = PromptData(*files, ChatFormat(tokenizer), {"sum": "maths"}, queries=4, iterations=2, pretrain=Texts())
    data.setup()
    taken = [query.texts.take(None)["input_ids"].tolist() for query in as_rank(data, 1, 2).train_dataloader()]
    assert taken == [[[1, 2, 0]]] * 2


def test_what_asks_nothing_is_refused(files, tokenizer):
    with pytest.raises(ValueError, match=r"heldout_limit=0 must be 1 or more"):
        PromptData(*files, ChatFormat(tokenizer), {"sum": "maths"}, heldout_limit=0)
    with pytest.raises(ValueError, match=r"domains names law, .* instructions=\S*train.jsonl .* There are sum\."):
        PromptData(*files, ChatFormat(tokenizer), {"sum": "maths", "law": "helpful"}).setup()
