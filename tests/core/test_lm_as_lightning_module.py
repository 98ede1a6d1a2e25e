"""What Lightning's users expect of LM: checkpoints that load, folders, schedulers, refusals in one sentence."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.batch import Batch
from internlm2_core.callbacks import AtomicCheckpointIO
from internlm2_core.generation import Sampling
from internlm2_core.losses import TokenLosses
from internlm2_core.optim import Cosine
from internlm2_core.text import ByteTokenizer, TrainedTokenizer
from torch.utils.data import DataLoader

SIZE = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=300, head_dim=8, max_positions=16)
ADAM = partial(torch.optim.AdamW, lr=1e-2)


def make_net() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0))
    return net


def rows(steps: int) -> DataLoader:
    ids = torch.randint(0, 300, (steps, 2, 8), generator=torch.Generator().manual_seed(1))
    made = [{"input_ids": i, "labels": i.roll(-1, 1), "position_ids": torch.arange(8).expand(2, 8)} for i in ids]
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


def trainer(**settings: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "plugins": [AtomicCheckpointIO()]}
    return L.Trainer(accelerator="cpu", max_steps=3, **quiet, **settings)


def test_a_checkpoint_loads_without_pickle(tmp_path: Path, tokenizer_file: Path) -> None:
    schedule = Cosine(3, warmup_steps=1)
    module = LM(make_net, ADAM, schedule, TrainedTokenizer(tokenizer_file), weight_decay=0.3, micro_batch_rows=1)
    fitted = trainer()
    fitted.fit(module, rows(3))
    fitted.save_checkpoint(tmp_path / "some.ckpt")
    loaded = LM.load_from_checkpoint(tmp_path / "some.ckpt")
    torch.testing.assert_close(loaded.net.state_dict(), module.net.state_dict(), atol=0, rtol=0)
    assert (loaded.schedule, loaded.weight_decay, loaded.micro_batch_rows) == (schedule, 0.3, 1)
    assert loaded.make_optimizer.keywords == {"lr": 1e-2}  # type: ignore[attr-defined]
    assert loaded.tokenizer is not None and loaded.tokenizer.path == tokenizer_file
    assert LM.load_from_checkpoint(tmp_path / "some.ckpt", weight_decay=0.0).weight_decay == 0.0
    other = trainer()
    other.fit(loaded, rows(4), ckpt_path=tmp_path / "some.ckpt", weights_only=True)


def test_what_a_checkpoint_cannot_hold_must_be_given(tmp_path: Path) -> None:
    module = LM(make_net, lambda groups: torch.optim.SGD(groups, lr=0.1))
    fitted = trainer()
    fitted.fit(module, rows(3))
    fitted.save_checkpoint(tmp_path / "some.ckpt")
    with pytest.raises(ValueError, match=r"only names .*lambda.*Give load_from_checkpoint the argument optimizer=\."):
        LM.load_from_checkpoint(tmp_path / "some.ckpt")
    assert LM.load_from_checkpoint(tmp_path / "some.ckpt", optimizer=ADAM).make_optimizer is ADAM


def test_a_checkpoint_cannot_have_foreign_code_run(tmp_path: Path) -> None:
    evil = {"partial": {"name": "os.system"}, "args": ["touch here"], "keywords": {"mapping": {}}}
    torch.save({"global_step": 1, "hyper_parameters": {"net": evil}, "state_dict": {}}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match=r"only names os\.system"):
        LM.load_from_checkpoint(tmp_path / "evil.ckpt")
    for name in ("internlm2_core.training.hyperparameters.partial", "internlm2_conf.targets.call"):
        evil = {"call": {"name": name}, "keywords": {"mapping": {"config": {"mapping": {"_target_": "os.getcwd"}}}}}
        torch.save({"global_step": 1, "hyper_parameters": {"net": evil}, "state_dict": {}}, tmp_path / "evil.ckpt")
        with pytest.raises(ValueError, match=r"is defined elsewhere|only names"):
            LM.load_from_checkpoint(tmp_path / "evil.ckpt")
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        LM.load_from_checkpoint(tmp_path / "nothing")


def test_folders_load_save_and_answer(tmp_path: Path, tokenizer_file: Path) -> None:
    module = LM(make_net, tokenizer=TrainedTokenizer(tokenizer_file))
    module.configure_model()
    module.save(tmp_path / "model")
    loaded = LM.load(tmp_path / "model", weight_decay=0.2)
    torch.testing.assert_close(loaded.net.state_dict(), module.net.state_dict(), atol=0, rtol=0)
    greedy = Sampling(max_new_tokens=5, temperature=0)
    said = loaded.generate("hi", greedy)
    assert said == module.generate([{"role": "user", "content": "hi"}], greedy)
    (tmp_path / "model" / "tokenizer.json").unlink()
    assert LM.load(tmp_path / "model", tokenizer=module.tokenizer).generate("hi", greedy) == said
    with pytest.raises(FileNotFoundError, match="is not a model folder"):
        LM.load(tmp_path / "nothing")
    bare = LM(make_net)
    bare.configure_model()
    with pytest.raises(ValueError, match="tokenizer=None"):
        bare.generate("hi")


def test_torch_schedulers_are_taken() -> None:
    class Rates(L.Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            self.seen.append(float(trainer.callback_metrics["train/lr"]))

    rates = Rates()
    step = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    trainer(callbacks=[rates]).fit(LM(make_net, ADAM, step), rows(3))
    assert rates.seen == pytest.approx([1e-2, 5e-3, 2.5e-3])

    def made(optimizer: torch.optim.Optimizer, gamma: float) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma)

    rates = Rates()
    trainer(callbacks=[rates]).fit(LM(make_net, ADAM, partial(made, gamma=0.5)), rows(3))
    assert rates.seen == pytest.approx([1e-2, 5e-3, 2.5e-3])
    with pytest.raises(ValueError, match="schedule=ReduceLROnPlateau must be"):
        trainer().fit(LM(make_net, ADAM, torch.optim.lr_scheduler.ReduceLROnPlateau), rows(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"accumulate_grad_batches": 2},
            r"accumulate_grad_batches=2 must be 1: a batch of LM is a whole optimizer step",
        ),
        ({"gradient_clip_val": 1.0}, r"gradient_clip_val=1\.0 must be left out: LM clips by its own max_grad_norm"),
    ],
)
def test_what_the_module_does_itself_is_refused_in_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(**settings).fit(LM(make_net), rows(3))


def test_a_loss_of_ones_own() -> None:
    def twice(net: LanguageModel, batch: Batch) -> TokenLosses:
        losses = net(batch["input_ids"], batch["position_ids"], labels_BT=batch["labels"])
        return TokenLosses(2 * losses.cross_entropy, losses.z_squared)

    plain, own = LM(make_net), LM(make_net, loss=twice)
    found = []
    for module in (plain, own):
        fitted = trainer()
        fitted.fit(module, rows(1))
        found.append(float(fitted.callback_metrics["train/loss"]))
    assert found[1] == pytest.approx(2 * found[0], rel=1e-5)


def test_test_and_predict_agree(tmp_path: Path) -> None:
    module, data = LM(make_net, tokenizer=ByteTokenizer()), rows(2)
    module.tokenizer.vocab_size = 300  # type: ignore[union-attr]
    [figures] = trainer().test(module, data, verbose=False)
    by_row = torch.cat(trainer().predict(module, data))  # type: ignore[arg-type]
    assert by_row.shape == (4,)
    assert figures["test/loss"] == pytest.approx(by_row.mean().item(), abs=1e-5)
