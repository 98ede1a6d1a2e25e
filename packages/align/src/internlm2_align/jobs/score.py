"""The job ``internlm2 score``: scores of many conversations by a reward model.

Reads JSON lines, each either a conversation ``{"messages", ...}`` that ends in an assistant turn, or a prompt with
replies ``{"prompt", "replies", ...}`` (the prompt is computed once), or a preference pair ``{"prompt", "chosen",
"rejected", ...}``; ``domain`` and ``language`` may stand in a line, else the job's are taken. Writes
``OUTPUT/scores.jsonl``: the same lines in the same order with ``score``, or ``scores`` of the replies (chosen first).

The file grows beside its target, chunk by chunk; a run that was stopped goes on after the last whole chunk.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from internlm2_core.evaluation.records import read_records
from rich.progress import track

from internlm2_align.reward.model import RewardModel
from internlm2_align.reward.scoring import Scorer
from internlm2_align.reward.shared import Group


def score(
    checkpoint: str,
    input: str,
    output: str,
    domain: str | None = None,
    language: str = "en",
    budget_tokens: int = 16_384,
    chunk: int = 2048,
    max_tokens: int = 8192,
    device: str = "auto",
) -> None:
    """Score a file.

    Args:
        checkpoint: Folder of the reward model.
        input: JSON lines, a file or a folder of them.
        output: Folder of the result.
        domain: Of lines that name none.
        language: Of lines that name none.
        budget_tokens: Tokens scored at once.
        chunk: Lines between two writes.
        max_tokens: Longest conversation.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.

    Raises:
        FileNotFoundError: If model or input is missing.
        ValueError: If a line cannot be scored; the message names it.
    """
    model = RewardModel.load(checkpoint, max_tokens=max_tokens)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    scorer = Scorer(model.net.to(device), model.encoder, budget_tokens)
    records = read_records(input)
    target = Path(output) / "scores.jsonl"
    # Named by what it was made from: what another model or input left behind is not gone on with.
    made_from = hashlib.sha256(repr((checkpoint, input, domain, language)).encode()).hexdigest()[:12]
    draft = target.with_name(f".{target.name}.{made_from}.draft")
    target.parent.mkdir(parents=True, exist_ok=True)
    done = _whole_lines(draft)
    defaults = {"domain": domain, "language": language}
    with draft.open("a", encoding="utf-8") as lines:
        for start in track(range(done, len(records), chunk), description="scoring"):
            part = records[start : start + chunk]
            groups = [_group(scorer, {**defaults, **record}, start + i) for i, record in enumerate(part, 1)]
            scored = (_with_scores(*pair) for pair in zip(part, scorer.scores(groups), strict=True))
            lines.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in scored))
            lines.flush()
    draft.replace(target)


def _group(scorer: Scorer, record: Mapping[str, Any], number: int) -> Group:
    if record["domain"] is None:
        raise ValueError(f"Record {number} names no domain; add `domain` to it or set domain=NAME.")
    if "messages" in record:
        if record["messages"][-1]["role"] != "assistant":
            raise ValueError(f"Record {number} does not end in an assistant turn, so there is nothing to score.")
        prompt, replies = record["messages"][:-1], [record["messages"][-1]["content"]]
    elif "prompt" in record:
        prompt, replies = record["prompt"], _replies(record)
    else:
        raise ValueError(f"Record {number} holds neither messages nor prompt, but {', '.join(sorted(record))}.")
    group = scorer.encoder.group(prompt, replies, record["domain"], record["language"])
    return scorer.encoder.check(group)


def _replies(record: Mapping[str, Any]) -> list[str]:
    return list(record["replies"]) if "replies" in record else [record["chosen"], record["rejected"]]


def _with_scores(record: Mapping[str, Any], scores: list[float]) -> dict[str, Any]:
    return {**record, "score": scores[0]} if "messages" in record else {**record, "scores": scores}


def _whole_lines(draft: Path) -> int:
    """Whole lines of an unfinished file; what stands behind the last one is cut off."""
    if not draft.is_file():
        return 0
    content = draft.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    draft.write_bytes(whole)
    return whole.count(b"\n")
