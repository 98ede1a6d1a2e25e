"""CPU time of a PPO iteration against TRL's PPOTrainer, as shipped and without its garbage collection.

    python3.11 -m venv /tmp/trl
    echo .venv/lib/python3.11/site-packages in full > /tmp/trl/lib/python3.11/site-packages/ours.pth    # one path a line
    /tmp/trl/bin/pip install --no-deps trl==1.12.0 accelerate==1.12.0
    OMP_NUM_THREADS=1 /tmp/trl/bin/python tests/benchmarks/align/bench_ppo.py

TRL 1.12.0 is the last release with PPO (`trl.experimental.ppo`). It must not be installed among our own packages, since
its accelerate is not theirs. An iteration asks 32 prompts of 8 to 32 tokens, samples 32 tokens to each, scores them
and takes one optimizer step (one pass, one mini-batch, no pre-train loss). Four networks of one size, fp32, fused AdamW,
temperature 1 and no top-p on both sides. Runs are interleaved, each in a process of its own. Each figure is the median
over runs of the mean CPU time of an iteration, the first two left out. Prints one JSON object and writes it to
``ppo-speed.json``.
"""

import argparse
import gc
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning as L
import torch
from internlm2_align import PPOSystem
from internlm2_align.ppo.critic import without_head
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompts import QueryLoader
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.scoring import Scorer
from internlm2_align.roles import Roles
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize
from internlm2_core.text.tokenizer import SPECIAL_TOKENS, ByteTokenizer

QUERIES, REPLY_TOKENS, SKIPPED = 32, 32, 2


class Letters(ByteTokenizer):
    """Special tokens first, then one id for each letter of a long alphabet: what is sampled encodes to itself."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.vocab_size, self.first = size, len(SPECIAL_TOKENS)
        self.letters = self.pieces()

    def encode(self, text: str) -> list[int]:
        """Letters beyond the alphabet (those of ChatML) wrap around."""
        return [self.first + ord(letter) % (self.vocab_size - self.first) for letter in text]

    def decode(self, ids: Any) -> str:
        """The letters."""
        return "".join(self.letters[id_] for id_ in ids)

    def special(self, name: str) -> int:
        """Its place."""
        return SPECIAL_TOKENS.index(name)

    def pieces(self) -> list[str]:
        """From U+4E00 on, where no letter is a blank, shifted so that each letter encodes to its own id."""
        alphabet = self.vocab_size - self.first
        start = -(-0x4E00 // alphabet) * alphabet
        return [*SPECIAL_TOKENS, *(chr(start + place) for place in range(alphabet))]


class Spent:
    """CPU seconds by part, those of an inner part not counted in the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.open: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start, inner = time.process_time(), len(self.open)
        self.open.append(0.0)
        yield
        spent = time.process_time() - start
        self.seconds[name] += spent - self.open.pop()
        if inner:
            self.open[-1] += spent

    def timed(self, name: str | Callable[[], str], function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            with self.part(name if isinstance(name, str) else name()):
                return function(*args, **keywords)

        return call

    def shares(self, total: float) -> dict[str, float]:
        found = {name: round(seconds / total, 3) for name, seconds in self.seconds.items()}
        return found | {"rest": round(1 - sum(self.seconds.values()) / total, 3)}


class Clock:
    """Marks the end of each iteration, and forgets the parts of those that are left out."""

    def __init__(self, spent: Spent) -> None:
        self.marks: list[float] = []
        self.spent = spent

    def mark(self) -> None:
        self.marks.append(time.process_time())
        if len(self.marks) == SKIPPED:
            self.spent.seconds.clear()

    def result(self) -> tuple[float, dict[str, float]]:
        total = self.marks[-1] - self.marks[SKIPPED - 1]
        return total / (len(self.marks) - SKIPPED), self.spent.shares(total)


def ours(size: ModelSize, prompts: list[list[int]], iterations: int) -> tuple[float, dict[str, float]]:
    """Seconds of an iteration, and shares of its parts."""
    clock = Clock(spent := Spent())
    encoder = ConversationEncoder(Letters(size.vocab_size), Conditions({"all": {"en": ""}}), 512)

    def model() -> LanguageModel:
        net = LanguageModel(size)
        net.init_weights(torch.Generator().manual_seed(1))
        return net

    def reward() -> Any:
        return from_language_model(model(), torch.Generator().manual_seed(2))

    class Mark(L.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            clock.mark()

    system = PPOSystem(
        Roles(model, lambda: without_head(reward()), model, reward), encoder,
        sampling=Sampling(max_new_tokens=REPLY_TOKENS), settings=PPOSettings(warmup_iterations=0),
        actor_optimizer=partial(torch.optim.AdamW, lr=1e-6, fused=True),
        critic_optimizer=partial(torch.optim.AdamW, lr=1e-6, fused=True),
    )  # fmt: skip
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, callbacks=[Mark()],
    )  # fmt: skip
    asked = [Prompt((), tuple(prompt), "all") for prompt in prompts]
    with (
        patch.object(LocalEngine, "generate", spent.timed("generation", LocalEngine.generate)),
        patch.object(Scorer, "scores", spent.timed("scoring", Scorer.scores)),
        patch.object(PPOSystem, "_judge", spent.timed("scoring", PPOSystem._judge)),
        patch.object(PPOSystem, "_learn", spent.timed("update", PPOSystem._learn)),
    ):
        trainer.fit(system, QueryLoader(asked, QUERIES, iterations))
    return clock.result()


def trl(
    size: ModelSize, prompts: list[list[int]], iterations: int, collects: bool = True
) -> tuple[float, dict[str, float]]:
    """Seconds of an iteration of TRL, and shares of its parts.

    Args:
        size: Of all networks.
        prompts: Token ids.
        iterations: In all.
        collects: Whether its calls of ``gc.collect`` stay.
    """
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        LlamaForSequenceClassification,
        PreTrainedTokenizerFast,
        TrainerCallback,
    )
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    clock, collects_garbage = Clock(spent := Spent()), gc.collect
    vocabulary = Tokenizer(WordLevel({str(i): i for i in range(size.vocab_size)}, unk_token="0"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, pad_token="0", eos_token="1", unk_token="0", padding_side="left"
    )
    config = LlamaConfig(
        hidden_size=size.dim, intermediate_size=size.ffn_dim, num_hidden_layers=size.layers, head_dim=size.head_dim,
        num_attention_heads=size.num_q_heads, num_key_value_heads=size.num_kv_heads, vocab_size=size.vocab_size,
        num_labels=1, pad_token_id=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip

    class Mark(TrainerCallback):
        def on_step_end(self, *args: Any, **keywords: Any) -> None:
            clock.mark()

    def stage() -> str:
        return "update" if torch.is_grad_enabled() else "scoring"

    with tempfile.TemporaryDirectory() as folder, patch.object(ppo_trainer.gc, "collect") as collect:
        if collects:
            collect.side_effect = spent.timed("collection", collects_garbage)
        arguments = PPOConfig(
            folder, per_device_train_batch_size=QUERIES, total_episodes=QUERIES * iterations, num_ppo_epochs=1,
            num_mini_batches=1, local_rollout_forward_batch_size=QUERIES, response_length=REPLY_TOKENS, temperature=1.0,
            learning_rate=1e-6, optim="adamw_torch_fused", use_cpu=True, bf16=False, gradient_checkpointing=False,
            report_to="none", save_strategy="no", num_sample_generations=0, disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        trainer = PPOTrainer(
            arguments, tokenizer, LlamaForCausalLM(config), None, LlamaForSequenceClassification(config),
            Dataset.from_list([{"input_ids": prompt} for prompt in prompts]),
            LlamaForSequenceClassification(config), callbacks=[Mark()],
            eval_dataset=Dataset.from_list([{"input_ids": prompt} for prompt in prompts]),
        )  # fmt: skip
        backward, step = trainer.accelerator.backward, trainer.optimizer.step
        trainer.accelerator.backward = spent.timed("update", backward)
        trainer.optimizer.step = spent.timed("update", step)
        with (
            patch.object(ppo_trainer, "batch_generation", spent.timed("generation", ppo_trainer.batch_generation)),
            patch.object(ppo_trainer, "forward", spent.timed(stage, ppo_trainer.forward)),
            patch.object(ppo_trainer, "get_reward", spent.timed("scoring", ppo_trainer.get_reward)),
            patch("builtins.print"),
        ):
            trainer.train()
    return clock.result()


RUNS: dict[str, Callable[..., tuple[float, dict[str, float]]]] = {
    "ours": ours,
    "TRL as shipped": trl,
    "TRL without garbage collection": partial(trl, collects=False),
}


def run(name: str, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """One run in this process."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rng, first = random.Random(1), len(SPECIAL_TOKENS)
    lengths = [rng.randint(8, 32) for _ in range(QUERIES * 4)]
    prompts = [[rng.randrange(first, options.vocabulary) for _ in range(length)] for length in lengths]
    return RUNS[name](size_of(options), prompts, options.iterations)


def size_of(options: argparse.Namespace) -> ModelSize:
    """The networks."""
    return ModelSize(
        layers=2, dim=128, num_kv_heads=4, q_per_kv=1, ffn_dim=344, vocab_size=options.vocabulary, head_dim=32
    )


def in_a_process(name: str, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """One run in a process of its own: what a garbage collection costs depends on all that was imported."""
    words = [sys.executable, __file__, "--iterations", str(options.iterations), "--vocabulary", str(options.vocabulary)]
    done = subprocess.run([*words, "--only", name], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["shares"]


def main() -> None:
    """Run all, interleaved."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--only", choices=list(RUNS))
    options = parser.parse_args()
    if options.only:
        seconds, shares = run(options.only, options)
        print(json.dumps({"seconds": seconds, "shares": shares}))
        return
    spent: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        for name in RUNS:
            seconds, parts[name] = in_a_process(name, options)
            spent[name].append(seconds)
    medians = {name: statistics.median(found) for name, found in spent.items()}
    size = size_of(options)
    report = {
        "date": date.today().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, 1 thread",
        "torch": torch.__version__,
        "trl": version("trl"),
        "size": {"layers": size.layers, "dim": size.dim, "vocabulary": size.vocab_size},
        "iteration": f"{QUERIES} prompts of 8 to 32 tokens, {REPLY_TOKENS} tokens each",
        "rounds": options.rounds,
        "cpu_ms_of_an_iteration": {name: round(1000 * seconds, 1) for name, seconds in medians.items()},
        "ratio": {name: round(seconds / medians["ours"], 2) for name, seconds in medians.items()},
        "shares_of_cpu_time": parts,
    }
    Path("ppo-speed.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
