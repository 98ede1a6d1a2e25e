"""core exports a model from a checkpoint that parallel's strategies wrote in parts."""

from functools import partial
from pathlib import Path

import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.callbacks import Checkpoints
from internlm2_core.jobs import export
from internlm2_core.text import TrainedTokenizer
from internlm2_parallel import MeshStrategy
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.testing import LAYOUTS, TinyBatches, quiet_trainer, run_ranks
from safetensors.torch import load_file

SIZE = ModelSize(layers=2, dim=32, num_kv_heads=2, q_per_kv=2, ffn_dim=64, vocab_size=300, head_dim=8, max_positions=32)


def make_net() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0))
    return net


class Trained(LM):
    def train_dataloader(self) -> TinyBatches:
        share = self.trainer.strategy.distributed_sampler_kwargs
        return TinyBatches(share["rank"], share["num_replicas"], steps=4)


def test_a_sharded_checkpoint_becomes_a_model_folder(tmp_path: Path, tokenizer_file: Path) -> None:
    case = LAYOUTS["fsdp"]
    adamw = partial(torch.optim.AdamW, lr=1e-2)

    def rank():
        module = LM(make_net, adamw, tokenizer=TrainedTokenizer(tokenizer_file))
        module.train_dataloader = partial(Trained.train_dataloader, module)
        saver = Checkpoints(tmp_path / "run" / "checkpoints", every_n_train_steps=2)
        strategy = MeshStrategy(case.layout, case.treatment)
        quiet_trainer(strategy, case.ranks, callbacks=[saver], enable_checkpointing=True).fit(module)
        return whole_state(module.net, strategy.ranks.pipeline)

    weights = run_ranks(rank, case.ranks, join=False)[0]
    export(str(tmp_path / "run"), str(tmp_path / "model"))
    exported = load_file(tmp_path / "model" / "model.safetensors")
    assert exported.keys() == weights.keys()
    assert all(torch.equal(exported[name], weight) for name, weight in weights.items())
