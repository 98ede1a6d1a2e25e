"""COOL PPO, RLOO and DPO from the miniature's SFT model, with the same pairs and reward model, at an equal number of tokens.

    internlm2 reproduce experiment=miniature
    OMP_NUM_THREADS=1 python tests/benchmarks/align/equal_tokens.py runs/reproduce FOLDER --seeds 1 2 3

All share the reward model of the miniature's last round and the pairs that it was trained on, the planted ones and those of
the fast path among them. PPO has the miniature's settings: conditions, pre-train loss, ten iterations for the critic alone.
RLOO has the same but for the critic, four replies to each prompt and a quarter of the prompts. DPO learns from the pairs.
Nothing is trained on held-out prompts.

A token counts where it is sampled, and where the actor's or, in the warm-up, the critic's steps read it: prompt and reply
of an iteration, the two replies of a pair and its prompt twice. Pre-training rows of PPO and RLOO are not counted, nor is the
training of the reward model, which DPO does without. DPO stops when it has read what PPO has sampled and read with that seed.
Each method has the best of `RATES` by the annotator's score with seed 0, which is not reported.

annotator       mean score of sampled replies to held-out prompts, by each prompt's own domain. SIMULATED: rules, no person
reward          mean score of the reward model for the same replies
kl              divergence from the SFT model on the same replies, nats a reply
text_rise       how far the loss on held-out pre-training text lies above that of the SFT model, in per cent

Prints one JSON object a run and appends it to FOLDER/figures.jsonl. Runs that are there are not done again. ``--record``
writes docs/results/equal-tokens.json.
"""

import argparse
import json
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pyarrow.parquet as pq
import torch
from internlm2_align import ConversationEncoder, PreferenceData, RewardModel
from internlm2_align.actors import start_actor
from internlm2_align.baselines import DPO
from internlm2_align.baselines.dpo import WholePairs
from internlm2_align.miniature import SimulatedAnnotator
from internlm2_align.online.replies import Probe
from internlm2_align.ppo.data import PromptData
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.responses import Responses, token_logprobs
from internlm2_align.reward.conditions import conditions_beside
from internlm2_core.checkpoint import load_released
from internlm2_core.generation import Sampling
from internlm2_core.optim import Cosine
from internlm2_core.text import load_tokenizer
from pretrain_loss import DOMAINS, OPENING_KEEPS, OPENINGS, PAIRS, PPO, command, inputs, text_loss
from recorded import record

WHAT = "COOL PPO, RLOO and DPO from the miniature's SFT model at an equal number of tokens"
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/align/equal_tokens.py runs/reproduce FOLDER --record"
METHODS = ("SFT", "COOL PPO", "RLOO", "DPO")
RATES = {"COOL PPO": ("3e-5", "1e-4"), "RLOO": ("3e-5", "1e-4"), "DPO": ("3e-5", "1e-4", "3e-4")}
SETTINGS = {
    "COOL PPO": ("ppo", *PPO),
    "RLOO": ("rloo", *PPO, "queries=16", "replies=4", "settings.warmup_iterations=0"),
}
REWARD = "online_rlhf/reward"
ADDED = "online_rlhf/round-1/preferences"
LEARNT = (*PAIRS, *[f"{ADDED}/fast"] * 10, f"{ADDED}/slow")
ANNOTATOR = SimulatedAnnotator(openings=OPENINGS, opening_keeps=OPENING_KEEPS)
SAMPLING = Sampling(max_new_tokens=24, top_p=0.9)
DPO_BATCH, SAMPLES = 2048, 2


def by_sampling(method: str, rate: str, seed: int, runs: Path, own: Path, iterations: int) -> tuple[Path, int]:
    """PPO or RLOO: the last actor, and the tokens that it has sampled and learned from."""
    command(
        *SETTINGS[method], *inputs(runs), f"reward={runs / REWARD}", f"actor_optimizer.lr={rate}", f"seed={seed}", f"iterations={iterations}",
        f"validate_every={iterations}", "callbacks=[ppo,rollouts]", f"output={own}",
    )  # fmt: skip
    tokens = 0
    for file in (own / "rollouts").glob("*.parquet"):
        table = pq.read_table(file, columns=["prompt_ids", "reply_ids"])
        prompts, replies = (sum(map(len, column.to_pylist())) for column in table.columns)
        tokens += prompts + 2 * replies
    return own / "last", tokens


class Budget(L.Callback):
    """Counts the tokens that are read, and ends the run when they are spent."""

    def __init__(self, budget: int) -> None:
        self.tokens, self.budget = 0, budget

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, _: Any, batch: Any, number: int
    ) -> None:
        self.tokens += sum(2 * len(pair.group.prompt) + sum(map(len, pair.group.replies)) for pair in batch.pairs)
        trainer.should_stop = self.tokens >= self.budget


def by_pairs(rate: str, seed: int, runs: Path, own: Path, budget: int) -> tuple[Path, int]:
    """DPO: the actor, and the tokens that it has read."""
    L.seed_everything(seed, verbose=False)
    sft = runs / "sft/model"
    encoder = ConversationEncoder(load_tokenizer(sft), conditions_beside(runs / REWARD), 256)
    pairs = [str(runs / f"{name}.jsonl") for name in LEARNT]
    data = PreferenceData((), encoder, WholePairs(DPO_BATCH, seed=seed), added=pairs)
    optimizer = partial(torch.optim.AdamW, lr=float(rate), betas=(0.9, 0.95))
    module = DPO(partial(start_actor, sft), encoder, optimizer=optimizer, schedule=Cosine(10**6, 10))
    spent = Budget(budget)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[spent],
        enable_checkpointing=False, limit_val_batches=0, use_distributed_sampler=False, max_epochs=1000,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    module.save(own / "model")
    return own / "model", spent.tokens


@torch.no_grad()
def measured(actor: Path, runs: Path, own: Path, seed: int, sft_text: Path) -> dict[str, float]:
    """The figures of an actor."""
    reward = RewardModel.load(runs / REWARD, max_tokens=256)
    data = PromptData(
        str(runs / "instructions/prompts.jsonl"), reward.encoder, str(runs / "instructions/heldout.jsonl"), DOMAINS,
        queries=1, iterations=1, heldout_limit=10**6,
    )  # fmt: skip
    data.setup("validate")
    prompts = list(data.heldout_prompts)
    replies = Probe(SAMPLING, SAMPLES, seed=seed).replies(prompts, {"it": actor}, reward.scorer(), ANNOTATOR)
    by_domain: dict[str, list[float]] = {}
    for reply in replies:
        by_domain.setdefault(reply.domain, []).append(reply.judged)
    return {
        "annotator": statistics.mean(reply.judged for reply in replies),
        **{name: statistics.mean(values) for name, values in sorted(by_domain.items())},
        "reward": statistics.mean(reply.reward for reply in replies),
        "kl": divergence(actor, runs / "sft/model", prompts, [reply.text for reply in replies], reward.encoder),
        "text_rise": 100 * (text_loss(actor, runs, own / "text") / text_loss(runs / "sft/model", runs, sft_text) - 1),
    }


def divergence(
    actor: Path, sft: Path, prompts: Sequence[Prompt], texts: Sequence[str], encoder: ConversationEncoder
) -> float:
    """Nats a reply by which the actor finds its own replies more likely than the SFT model does."""
    nets, total = [load_released(folder) for folder in (actor, sft)], 0.0
    asked = [list(prompt.ids) for prompt in prompts for _ in range(SAMPLES)]
    said = [encoder.chat.body({"role": "assistant", "content": text}) for text in texts]
    for start in range(0, len(asked), 64):
        packed = Responses(asked[start : start + 64], said[start : start + 64]).pack(torch.device("cpu"))
        own, reference = (token_logprobs(net, packed).sum().item() for net in nets)
        total += own - reference
    return total / len(asked)


def runs_of(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Those that are there, then the others as they are done."""
    runs, folder = options.runs, options.folder
    file = folder / "figures.jsonl"
    done = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
    yield from done
    best: dict[str, str] = {"SFT": "0"}
    for seed in (0, *options.seeds):
        for method in METHODS:
            for rate in (best[method],) if method in best else RATES[method]:
                if any((each["method"], each["rate"], each["seed"]) == (method, rate, seed) for each in done):
                    continue
                own = folder / f"{method.replace(' ', '-')}-{rate}-{seed}"
                if method == "SFT":
                    actor, tokens = runs / "sft/model", 0
                elif method == "DPO":
                    budget = next(
                        each["tokens"] for each in done if (each["method"], each["seed"]) == ("COOL PPO", seed)
                    )
                    actor, tokens = by_pairs(rate, seed, runs, own, budget)
                else:
                    actor, tokens = by_sampling(method, rate, seed, runs, own, options.iterations)
                figures = measured(actor, runs, own, seed, folder / "sft-text")
                done.append({"method": method, "rate": rate, "seed": seed, "tokens": tokens} | figures)
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(done[-1]) + "\n")
                yield done[-1]
            tried = [each for each in done if each["method"] == method and each["seed"] == 0]
            best[method] = max(tried, key=lambda each: float(each["annotator"]))["rate"]


def table(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over seeds, with half a 95% interval (Student's t) of the annotator's score."""
    found: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        own = [run for run in runs if run["method"] == method and run["seed"]]
        names = [name for name in own[0] if name not in ("method", "rate", "seed")]
        means = {name: statistics.mean(run[name] for run in own) for name in names}
        found[method] = {"rate": own[0]["rate"], "tokens": round(means.pop("tokens"))} | {
            name: round(value, 3) for name, value in means.items()
        }
        t = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}[len(own)]
        deviation = statistics.stdev(run["annotator"] for run in own)
        found[method]["annotator_half_interval"] = round(t * deviation / len(own) ** 0.5, 3)
    return found


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--record", action="store_true", help="write the result when all are done")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    done = []
    for figures in runs_of(options):
        done.append(figures)
        print(json.dumps(figures), flush=True)
    if options.record:
        record("equal-tokens", WHAT, COMMAND, table(done))


if __name__ == "__main__":
    main()
