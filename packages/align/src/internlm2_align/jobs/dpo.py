"""The job ``internlm2 dpo``: direct preference optimisation, a baseline for PPO.

Writes ``OUTPUT/model`` in released layout and, last, ``OUTPUT/metrics.json``:

    schema        "internlm2/align/dpo/1"
    checkpoint    folder of the SFT model that it started from
    pairs         as in the job `reward`
    steps, tokens, seconds     tokens of this rank in this attempt, prompts counted once
    heldout       {"pairs", "accuracy", "margin"}: of held-out pairs, the share whose chosen reply has gained more than
                  the rejected one, and by how much times beta on average, or null without held-out pairs
"""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from internlm2_core.evaluation.written import write_json
from internlm2_core.jobs import train

from internlm2_align.actors import start_actor
from internlm2_align.baselines.dpo import DPO
from internlm2_align.reward.data import PreferenceData

SCHEMA = "internlm2/align/dpo/1"


def dpo(
    module: DPO, data: PreferenceData, trainer: L.Trainer, output: str, seed: int = 1, checkpoint: str = ""
) -> dict[str, Any]:
    """Train an actor on pairs and measure it. A run that was stopped resumes.

    Args:
        module: What is trained.
        data: Training and held-out pairs, with `WholePairs` as batches.
        trainer: Lightning's, with `SaveDPO` among its callbacks.
        output: Folder of the run.
        seed: Of all that is random and not seeded elsewhere.
        checkpoint: Folder of the model that training starts from, for the record.

    Returns:
        What ``metrics.json`` holds, and nothing on ranks other than the first.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If no usable pair is left.
    """
    data.setup()
    start = time.perf_counter()
    train(module, data, trainer, output, seed)
    if not trainer.is_global_zero:
        return {}
    metrics = {
        "schema": SCHEMA,
        "checkpoint": checkpoint,
        "pairs": {side: dict(counts) for side, counts in data.counts.items()},
        "steps": trainer.global_step,
        "tokens": module.tokens,
        "seconds": round(time.perf_counter() - start, 2),
        "heldout": measured(module, Path(output) / "model", data),
    }
    write_json(Path(output) / "metrics.json", metrics)
    return metrics


@torch.no_grad()
def measured(module: DPO, folder: Path, data: PreferenceData) -> dict[str, Any] | None:
    """Figures on held-out pairs, or None without any.

    Args:
        module: What was trained.
        folder: Of its actor. Under some strategies no rank has the whole network at hand after training.
        data: Its held-out pairs.
    """
    if not data.heldout_pairs:
        return None
    whole = DPO(module.make_net, module.encoder, beta=module.beta, micro_batch_tokens=module.micro_batch_tokens)
    whole.configure_model()
    whole.actor = start_actor(folder)
    gains = [torch.stack(whole(part), 1) for part in whole.micro_batches(data.heldout_pairs)]
    margins_P = whole.beta * torch.cat(gains).diff(dim=1).neg()
    accuracy = (margins_P > 0).float().mean()
    return {"pairs": len(data.heldout_pairs), "accuracy": float(accuracy), "margin": float(margins_P.mean())}
