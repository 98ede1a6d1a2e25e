"""The three sweeps that end in plots, from the miniature's models: figure 9 of the report, pre-train loss, fast path.

    internlm2 reproduce experiment=miniature
    OMP_NUM_THREADS=1 python tests/benchmarks/align/ablations.py runs/reproduce FOLDER [--only critic] [--seeds 1,2,3]

critic          the critic from the reward model or from the SFT model, with the reward model of the miniature's last round
pretrain_loss   with the pre-train loss and without. What it is for is measured by pretrain_loss.py
fast_path       two rounds with the fast path and without, from the reward model that pays for the PLANTED opening

Each is `internlm2 ppo -m +experiment=NAME` or `internlm2 online_rlhf -m ...` with the miniature's settings, and leaves
FOLDER/NAME/ablation.{json,md,png}. Jobs that are done are not done again. ``--record`` writes docs/results/ablations.json.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from internlm2_conf.asked import typed
from pretrain_loss import OPENING_KEEPS, OPENINGS, PAIRS, PPO, command, inputs
from recorded import record

WHAT = "Ablations of PPO and of its rounds from the miniature's models: differences over seeds with 95% intervals"
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/align/ablations.py runs/reproduce FOLDER"
ANNOTATOR = typed(
    {
        "_target_": "internlm2_align.miniature.SimulatedAnnotator",
        "openings": OPENINGS,
        "opening_keeps": OPENING_KEEPS,
    }
)


def of_ppo(runs: Path, iterations: int) -> list[str]:
    """A sweep of PPO."""
    return [
        "ppo", "-m", *inputs(runs), f"reward={runs / 'online_rlhf/reward'}", *PPO, f"iterations={iterations}",
        f"validate_every={iterations // 4}", "actor_optimizer.lr=3e-5", f"judge={ANNOTATOR}",
    ]  # fmt: skip


def of_rounds(runs: Path, iterations: int) -> list[str]:
    """A sweep of two rounds."""
    domains, *settings = PPO
    pairs = ", ".join(str(runs / f"{name}.jsonl") for name in PAIRS)
    return [
        "online_rlhf", "-m", *inputs(runs), f"reward={runs / 'reward/model'}", domains, "rounds=2",
        f"annotator={ANNOTATOR}",
        f"preferences=[{pairs}]", f"heldout_preferences=[{runs / 'preferences/heldout.jsonl'}]",
        *(f"stages.ppo.{each}" for each in settings), f"stages.ppo.iterations={iterations}",
        f"stages.ppo.validate_every={iterations}", "stages.ppo.actor_optimizer.lr=3e-5",
        "stages.reward.batches.budget_tokens=2048", "stages.reward.optimizer.lr=1e-3", "stages.reward.schedule.floor=0.1",
        "stages.reward.schedule.warmup_steps=10", "stages.reward.max_tokens=256", "round.prompts_per_round=400",
        "round.probe.sampling.max_new_tokens=24", "round.repeat_fast=10",
    ]  # fmt: skip


SHOWN = {
    "last": ("valid/reward gained", "valid/judge gained", "valid/kl"),
    "rounds": ("judged@1", "judged@2", "shown@1", "shown@2"),
}
"""Of each kind of sweep, what is recorded."""


def figures_of(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of a sweep: each setting, and their difference."""
    content = json.loads((folder / "ablation.json").read_text(encoding="utf-8"))
    kind = "last" if "last" in content else "rounds"
    return {
        f"{name}, {setting}": {
            each: f"{cells[each]['mean']:.3f} ± {cells[each]['half_width']:.3f}"
            for each in SHOWN[kind]
            if each in cells
        }
        for setting, cells in (content[kind] | content["differences"]).items()
    }


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=["critic", "pretrain_loss", "fast_path"])
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--record", action="store_true", help="write docs/results/ablations.json and end")
    options = parser.parse_args()
    sweeps: dict[str, Sequence[str]] = {
        "critic": of_ppo(options.runs, options.iterations),
        "pretrain_loss": of_ppo(options.runs, options.iterations),
        "fast_path": of_rounds(options.runs, options.iterations),
    }
    if options.record:
        rows = {key: row for name in sweeps for key, row in figures_of(name, options.folder / name).items()}
        record("ablations", WHAT, COMMAND, rows)
        return
    for name in options.only or sweeps:
        folder = options.folder / name
        command(
            *sweeps[name],
            f"+experiment={name}",
            f"seed={options.seeds}",
            f"paths.output={folder}",
            f"hydra.sweep.dir={folder}",
        )
        print((folder / "ablation.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
