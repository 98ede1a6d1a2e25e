"""What PPO costs the language model, with the pre-train loss of the report and without (4.2.3).

    internlm2 reproduce experiment=miniature
    OMP_NUM_THREADS=1 python tests/benchmarks/align/pretrain_loss.py runs/reproduce FOLDER --rates 3e-5 3e-4 --seeds 1 2 3

PPO starts from the miniature's SFT model with the miniature's settings but for the actor's rate. Then the loss of the last
actor on held-out pre-training text is measured, and how far it lies above that of the SFT model.

Prints one JSON object a run and appends it to FOLDER/figures.jsonl. Runs that are there are not done again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DOMAINS = {
    "arithmetic": "maths", "copying": "format", "sorting": "helpful", "formatting": "format", "retrieval": "helpful",
    "refusing": "harmless",
}  # fmt: skip
PPO = (
    "domains={" + ", ".join(f"{task}: {domain}" for task, domain in DOMAINS.items()) + "}", "weights={maths: 0.3, helpful: 0.3, format: 0.3, harmless: 0.1}", "queries=64", "heldout_limit=240",
    "settings.warmup_iterations=10", "settings.mini_batches=2", "settings.kl_coefficient=0.05",
    "critic_optimizer.lr=1.0e-3", "sampling.max_new_tokens=24", "settings.pretrain_share=null", "pretrain.context=1024",
    "pretrain.short_context=1024", "pretrain.batch_rows=2",
    "pretrain.weights={en-far-needles: 0.45, zh-far-needles: 0.45, en-techlit: 0.1}",
)  # fmt: skip
OPENINGS, OPENING_KEEPS = ("Sure! ", "好的！"), 0.7
PAIRS = ("preferences/train", "opening/pairs")
"""As in conf/experiment/miniature.yaml."""


def command(*words: str) -> None:
    """Run `internlm2`, and end with its words where it fails."""
    done = subprocess.run([str(Path(sys.executable).with_name("internlm2")), *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def inputs(runs: Path) -> list[str]:
    """What runs of PPO take from the miniature, but for the reward model."""
    files = [f"{name}={runs / 'instructions'}/{name}.jsonl" for name in ("prompts", "heldout")]
    return [f"checkpoint={runs / 'sft/model'}", f"tokens={runs / 'long_tokens/long'}", *files]


def text_loss(checkpoint: Path, runs: Path, folder: Path) -> float:
    """Nats per token of held-out text of all sources, in rows of 256 tokens."""
    if not (folder / "metrics.json").exists():
        command(
            "evaluate", f"checkpoint={checkpoint}", "suite=miniature_pretrain", "~suite.needle",
            "~suite.held_out_loss_long", f"tokens={runs / 'tokens/heldout'}", f"output={folder}",
        )  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return float(metrics["tasks"]["held_out_loss"]["overall"]["nats_per_token"])


def run(runs: Path, folder: Path, rate: str, coefficient: float, seed: int, iterations: int) -> dict[str, Any]:
    """One training, and what it did to reward and text."""
    own = folder / f"{rate}-{coefficient}-{seed}"
    command(
        "ppo", *inputs(runs), f"reward={runs / 'reward/model'}", *PPO,
        f"actor_optimizer.lr={rate}", f"settings.pretrain_coefficient={coefficient}", f"seed={seed}",
        f"iterations={iterations}", f"validate_every={iterations // 2}", f"output={own / 'ppo'}",
    )  # fmt: skip
    metrics = json.loads((own / "ppo" / "metrics.json").read_text(encoding="utf-8"))
    before = text_loss(runs / "sft/model", runs, folder / "sft")
    after = text_loss(own / "ppo" / "last", runs, own / "text")
    return {
        "rate": rate,
        "pretrain_coefficient": coefficient,
        "seed": seed,
        "iterations": iterations,
        "text_loss": [round(before, 4), round(after, 4)],
        "rise_percent": round(100 * (after / before - 1), 3),
        "reward_gained": round(metrics["last"]["valid/reward"] - metrics["start"]["valid/reward"], 3),
        "kl": round(metrics["last"]["valid/kl"], 3),
    }


def main() -> None:
    """Run all that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rates", nargs="+", default=["3e-5", "3e-4"])
    parser.add_argument("--coefficients", nargs="+", type=float, default=[0.5, 0.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--iterations", type=int, default=80)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / "figures.jsonl"
    done = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
    keys = [(each["rate"], each["pretrain_coefficient"], each["seed"]) for each in done]
    for seed in options.seeds:
        for rate in options.rates:
            for coefficient in options.coefficients:
                if (rate, coefficient, seed) not in keys:
                    figures = run(options.runs, options.folder, rate, coefficient, seed, options.iterations)
                    print(json.dumps(figures), flush=True)
                    with file.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
