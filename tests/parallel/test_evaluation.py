"""Evaluation before training: Lightning evaluates in inference mode where collectives are nccl, and these are gloo."""

import lightning as L
import torch
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.testing import TinyLM, quiet_trainer, run_ranks


class Looked(TinyLM):
    def validation_step(self, ids, index):
        assert not torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
        return self.net(ids, torch.arange(8).expand(2, 8))

    test_step = predict_step = validation_step


class EvaluateFirst(L.Callback):
    def on_train_start(self, trainer, module):
        ids = torch.zeros(2, 8, dtype=torch.int64)
        for step in (trainer.strategy.validation_step, trainer.strategy.test_step, trainer.strategy.predict_step):
            with torch.inference_mode():
                assert not step(ids, 0).is_inference()


def test_sharded_weights_are_trained_after_an_evaluation_in_inference_mode():
    def rank():
        module = Looked(steps=1)
        quiet_trainer(MeshStrategy(Layout(shard=2)), 2, callbacks=[EvaluateFirst()]).fit(module)
        return len(module.losses)

    assert run_ranks(rank, 2, join=False) == [1, 1]
