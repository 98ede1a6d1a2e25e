"""Answers while training on several ranks: weights are gathered by all, and nobody waits for anybody."""

import json
from functools import partial

import pytest
import torch
from internlm2_core import LM
from internlm2_core.callbacks import SampleAnswers
from internlm2_core.optim import Constant
from internlm2_core.text import TrainedTokenizer
from internlm2_parallel import MeshStrategy
from internlm2_parallel.testing import LAYOUTS, RankError, quiet_trainer, run_ranks
from torch.utils.data import DataLoader


def batch(step: int, rank: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(0, 288, (1, 16), generator=torch.Generator().manual_seed(2 * step + rank))
    labels = ids.roll(-1, 1)
    if step == 1 and rank == 1:
        labels = torch.full_like(labels, -100)  # padding alone: this rank has no loss in this step
    return {"input_ids": ids, "labels": labels, "position_ids": torch.arange(16)[None]}


class SharedLM(LM):
    def train_dataloader(self):
        share = getattr(self.trainer.strategy, "distributed_sampler_kwargs", None)
        ranks = [share["rank"]] if share else [0, 1]  # one process reads what two ranks read
        batches = [[batch(step, rank) for rank in ranks] for step in range(3)]
        whole = [{name: torch.cat([part[name] for part in parts]) for name in parts[0]} for parts in batches]
        return DataLoader(whole, batch_size=None)


def train(strategy, devices, folder, make_model, tokenizer_file):
    torch.set_num_threads(1)
    prompts = {"long": "a prompt that is longer than the other", "short": "hi"}
    samples = SampleAnswers(prompts, TrainedTokenizer(tokenizer_file), folder, every_steps=1, max_new_tokens=6)
    module = SharedLM(make_model, partial(torch.optim.AdamW, lr=3e-3), Constant())
    quiet_trainer(strategy, devices, callbacks=[samples]).fit(module)
    return (folder / "samples.jsonl").read_text()


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_ranks_answer_as_one_process_does(name, tmp_path, make_model, tokenizer_file):
    alone = train("auto", 1, tmp_path / "alone", make_model, tokenizer_file)
    assert [json.loads(line)["step"] for line in alone.splitlines()] == [1, 1, 2, 2, 3, 3]
    case = LAYOUTS[name]

    def rank():
        strategy = MeshStrategy(case.layout, case.treatment)
        return train(strategy, case.ranks, tmp_path / name, make_model, tokenizer_file)

    run_ranks(rank, case.ranks, join=False, deadline_s=90)
    assert (tmp_path / name / "samples.jsonl").read_text() == alone


def test_layers_that_are_split_are_refused(tmp_path, make_model, tokenizer_file):
    case = LAYOUTS["tensor"]

    def rank():
        strategy = MeshStrategy(case.layout, case.treatment)
        train(strategy, case.ranks, tmp_path, make_model, tokenizer_file)

    with pytest.raises(RankError, match=r"SampleAnswers needs whole layers on each rank.*Leave the callback out"):
        run_ranks(rank, case.ranks, join=False, deadline_s=90)
