"""Numbers that are not finite get no checkpoint's name, also where the check is made in the background."""

import math
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from internlm2_core import LM
from internlm2_core.callbacks import Checkpoints
from internlm2_core.optim import Constant
from internlm2_core.training import NotFiniteError
from internlm2_parallel import CheckpointPolicy, Layout, MeshStrategy
from internlm2_parallel.checkpoint import damage
from internlm2_parallel.testing import TinyBatches, quiet_trainer, run_ranks
from torch.distributed.tensor import DTensor


class Break(L.Callback):
    """A number of one rank is not finite after step 4: of a weight, or of a moment."""

    def __init__(self, of_moment: bool) -> None:
        self.of_moment = of_moment

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step != 4 or trainer.global_rank != 1:
            return
        weight = module.net.get_parameter("model.layers.1.feed_forward.w2.weight")
        value = trainer.optimizers[0].state[weight]["exp_avg_sq"] if self.of_moment else weight
        assert isinstance(value, DTensor)
        with torch.no_grad():
            value.to_local().view(-1)[0] = math.inf if self.of_moment else math.nan


class Trained(LM):
    def train_dataloader(self) -> TinyBatches:
        share = self.trainer.strategy.distributed_sampler_kwargs
        return TinyBatches(share["rank"], share["num_replicas"], steps=8)


def fit(make_model, folder: Path, steps: int, of_moment: bool) -> str:
    module = Trained(make_model, partial(torch.optim.AdamW, lr=1e-3), Constant())
    strategy = MeshStrategy(Layout(shard=2), checkpoints=CheckpointPolicy(asynchronous=True))
    callbacks = [Break(of_moment), Checkpoints(folder, every_n_train_steps=2, keep_last=1)]
    trainer = quiet_trainer(strategy, 2, callbacks=callbacks, enable_checkpointing=True, max_steps=steps)
    with pytest.raises(NotFiniteError) as ended:
        trainer.fit(module)
    return f"{trainer.global_step} {ended.value}"


@pytest.mark.parametrize(("steps", "of_moment", "end"), [(8, False, 4), (8, True, 6), (4, True, 4)])
def test_a_state_that_is_not_finite_ends_the_run_and_replaces_nothing(make_model, tmp_path, steps, of_moment, end):
    said = set(run_ranks(lambda: fit(make_model, tmp_path, steps, of_moment), 2, join=False))
    broken = "the state of the optimizer" if of_moment else "net.model.layers.1.feed_forward.w2.weight"
    before = "What was written before it is as it was."
    assert said == {f"{end} The checkpoint of step 4 is not written, since {broken} is not finite. {before}"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "step-2.ckpt"]
    assert (tmp_path / "last.ckpt").resolve().name == "step-2.ckpt" and damage(tmp_path / "step-2.ckpt") == []
