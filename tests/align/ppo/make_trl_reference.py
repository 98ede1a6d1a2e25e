"""Makes ``trl_reference.json``: what TRL 1.12.0 computes inside of its PPO, DPO and RLOO trainers.

    /tmp/trl/bin/python tests/align/ppo/make_trl_reference.py     # an environment as for bench_ppo.py

TRL's losses are parts of long methods, so their local names are read while they run. Replies have their full length
and no end of turn: TRL pays one token behind the end otherwise. Values are not clipped, and advantages are those that
TRL has whitened.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, RLOOConfig, RLOOTrainer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer
from trl.trainer import dpo_trainer, rloo_trainer

CONFIG = LlamaConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=32, num_labels=1,
    pad_token_id=0, bos_token_id=None, eos_token_id=None, initializer_range=0.5,
)  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a number."""
    words = Tokenizer(WordLevel({str(i): i for i in range(32)}, unk_token="0"))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="0", eos_token="1", unk_token="0", padding_side="left"
    )


def kept(names: dict[str, Any], *wanted: str) -> dict[str, Any]:
    """Tensors as lists."""
    return {name: names[name].detach().tolist() for name in wanted}


def ppo(estimator: str) -> dict[str, Any]:
    """An iteration of two passes: its arithmetic, and the losses of the second pass, whose ratios are not 1."""
    found: dict[str, Any] = {}
    real = ppo_trainer.masked_whiten

    def whiten(values: Any, mask: Any, shift_mean: bool = True) -> Any:
        names = sys._getframe(1).f_locals
        found["rollout"] = kept(names, "scores", "logprobs", "ref_logprobs", "values", "kl", "advantages", "returns")
        return real(values, mask, shift_mean)

    torch.manual_seed(3)
    with tempfile.TemporaryDirectory() as folder, patch.object(ppo_trainer, "masked_whiten", whiten):
        arguments = PPOConfig(
            folder, per_device_train_batch_size=4, total_episodes=4, num_ppo_epochs=2, num_mini_batches=1,
            response_length=6, temperature=1.0, learning_rate=0.05, use_cpu=True, bf16=False, report_to="none",
            gradient_checkpointing=False, save_strategy="no", num_sample_generations=0, disable_tqdm=True,
            kl_estimator=estimator, cliprange_value=1e9, missing_eos_penalty=None,
        )  # fmt: skip
        rows = Dataset.from_list([{"input_ids": [2 + i, 9, 4 + i]} for i in range(4)])
        trainer = PPOTrainer(
            arguments, tokenizer(), LlamaForCausalLM(CONFIG), LlamaForCausalLM(CONFIG),
            LlamaForSequenceClassification(CONFIG), rows, LlamaForSequenceClassification(CONFIG), eval_dataset=rows,
        )  # fmt: skip
        backward = trainer.accelerator.backward

        def noted(loss: Any) -> None:
            names = sys._getframe(1).f_locals
            wanted = ("new_logprobs", "mb_logprobs", "mb_advantage", "vpred", "mb_return", "pg_loss", "vf_loss")
            found["step"] = kept(names, *wanted)
            found["step"]["clip_fraction"] = float((names["pg_losses2"] > names["pg_losses"]).float().mean())
            found["step"]["approx_kl"] = float(0.5 * (names["logprobs_diff"] ** 2).mean())
            backward(loss)

        trainer.accelerator.backward = noted
        trainer.train()
    return found | {"settings": {"kl_coef": arguments.kl_coef, "gamma": arguments.gamma, "lam": arguments.lam,
                                 "cliprange": arguments.cliprange}}  # fmt: skip


def dpo() -> dict[str, Any]:
    """The loss of a batch under an actor that has moved from its reference."""
    found: dict[str, Any] = {}
    real = dpo_trainer.F.logsigmoid

    def noted(values: Any) -> Any:
        names = sys._getframe(1).f_locals
        found.update(kept(names, "chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps"))
        return real(values)

    torch.manual_seed(4)
    rows = [{"prompt": f"{i} 9", "chosen": f"{i} 3 {20 + i}", "rejected": "4 5"} for i in range(2, 6)]
    with tempfile.TemporaryDirectory() as folder, patch.object(dpo_trainer.F, "logsigmoid", noted):
        arguments = DPOConfig(
            folder, per_device_train_batch_size=4, max_steps=1, use_cpu=True, bf16=False, report_to="none",
            gradient_checkpointing=False, save_strategy="no", disable_tqdm=True, beta=0.2, logging_steps=1,
        )  # fmt: skip
        trainer = DPOTrainer(
            LlamaForCausalLM(CONFIG), LlamaForCausalLM(CONFIG), args=arguments, train_dataset=Dataset.from_list(rows),
            processing_class=spaced(),
        )  # fmt: skip
        trainer.train()
    return found | {"beta": 0.2, "loss": trainer.state.log_history[0]["loss"]}


def rloo() -> dict[str, Any]:
    """Rewards and advantages."""
    found: dict[str, Any] = {}
    real = rloo_trainer.nanstd

    def noted(values: Any, *args: Any, **keywords: Any) -> Any:
        found.setdefault("rewards", sys._getframe(1).f_locals["rewards"].tolist())
        return real(values, *args, **keywords)

    def pays(completions: list[str], **_: Any) -> list[float]:
        return [float(len(set(text.split()))) for text in completions]

    torch.manual_seed(5)
    with tempfile.TemporaryDirectory() as folder, patch.object(rloo_trainer, "nanstd", noted):
        arguments = RLOOConfig(
            folder, per_device_train_batch_size=8, num_generations=4, max_completion_length=6, max_steps=1,
            use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False, save_strategy="no", beta=0.0,
            disable_tqdm=True,
        )  # fmt: skip
        rows = Dataset.from_list([{"prompt": f"{i} 9"} for i in range(2, 6)])
        trainer = RLOOTrainer(
            LlamaForCausalLM(CONFIG), reward_funcs=pays, args=arguments, train_dataset=rows, processing_class=spaced()
        )
        prepare = trainer._generate_and_score_completions

        def prepared(inputs: Any) -> Any:
            out = prepare(inputs)
            found.setdefault("advantages", out["advantages"].tolist())
            return out

        trainer._generate_and_score_completions = prepared
        trainer.train()
    return found | {"num_generations": 4}


def spaced() -> PreTrainedTokenizerFast:
    """Numbers between blanks."""
    found = tokenizer()
    found.backend_tokenizer.pre_tokenizer = WhitespaceSplit()
    return found


if __name__ == "__main__":
    import trl

    report = {"trl": trl.__version__, "ppo": {name: ppo(name) for name in ("k1", "k3")}, "dpo": dpo(), "rloo": rloo()}
    Path(__file__).with_name("trl_reference.json").write_text(json.dumps(report) + "\n")
