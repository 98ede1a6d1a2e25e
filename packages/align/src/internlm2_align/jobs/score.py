"""The job ``internlm2 score``: scores of many conversations by a reward model.

Reads records, each either a conversation ``{"messages", ...}`` that ends in an assistant turn, or a prompt with replies
``{"prompt", "replies", ...}`` (the prompt is computed once), or a preference pair ``{"prompt", "chosen", "rejected",
...}``. ``domain`` and ``language`` may be in a record, and ``language`` in its ``meta``, else the job's are taken.
Writes ``OUTPUT/scores.jsonl``: the same records in the same order with ``score``, or ``scores`` of the replies (chosen
first).
A record that cannot be scored is refused, or with ``on_bad="skip"`` gets null and the reason as ``unscored``.

The file grows beside its target, chunk by chunk. A run that was stopped resumes with the same weights and settings,
behind the last whole line whose record is still what the input holds there.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from internlm2_records import Placed, Record, read_records, turns_of, with_tools
from internlm2_records.progress import LineProgress

from internlm2_align.preferences.preference import OnBad, Reply, check_on_bad, language_in, reply_key, reply_of
from internlm2_align.preferences.sources import meta_of, records, replies_of
from internlm2_align.reward.conditions import index_of
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.model import RewardModel
from internlm2_align.reward.scoring import Scorer
from internlm2_align.reward.shared import Group

UNSCORED = "unscored"
"""Key of the reason why a record has no score."""


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
    on_bad: OnBad = "raise",
) -> None:
    """Score a file.

    Args:
        checkpoint: Folder of the reward model.
        input: Records: JSON lines, a JSON list, Parquet or Arrow, or a folder of JSON lines.
        output: Folder of the result.
        domain: Of records that name none.
        language: Of records that name none.
        budget_tokens: Tokens scored at once.
        chunk: Records between two writes.
        max_tokens: Longest conversation.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        on_bad: Whether a record that cannot be scored is refused, or written without a score.

    Raises:
        FileNotFoundError: If model or input is missing.
        ValueError: If a record cannot be scored. The message names file and line.
    """
    check_on_bad(on_bad)
    if not Path(checkpoint).is_dir():
        raise FileNotFoundError(f"checkpoint={checkpoint} is not a folder of a reward model.")
    model = RewardModel.load(checkpoint, max_tokens=max_tokens)
    if domain is not None:
        index_of(model.encoder.conditions, domain)
    found = list(read_records(input))
    if not found:
        raise ValueError(f"input={input} holds no records.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    scorer = Scorer(model.net.to(device), model.encoder, budget_tokens)
    reader = _Reader(model.encoder, domain, language, on_bad)
    target = Path(output) / "scores.jsonl"
    draft = target.with_name(f".{target.name}.{_made_by(checkpoint, domain, language, max_tokens)}.draft")
    target.parent.mkdir(parents=True, exist_ok=True)
    done, reasons = _still_valid(draft, found, on_bad), list[str]()
    with draft.open("a", encoding="utf-8") as lines, LineProgress() as progress:
        for start in progress.track(range(done, len(found), chunk), description="scoring"):
            scored = list(_scored(scorer, [reader.read(placed) for placed in found[start : start + chunk]]))
            reasons += [record[UNSCORED] for record in scored if record[_key(record)] is None]
            lines.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in scored))
            lines.flush()
    draft.replace(target)
    if reasons:
        print(f"{len(reasons)} of {len(found) - done} records have no score, the first: {reasons[0]}", file=sys.stderr)


@dataclass(frozen=True)
class _Read:
    """A record, and either its ids or the reason why it has none."""

    record: Record
    group: Group | None
    reason: str = ""


@dataclass(frozen=True)
class _Reader:
    encoder: ConversationEncoder
    domain: str | None
    language: str
    on_bad: OnBad

    def read(self, placed: Placed) -> _Read:
        try:
            return placed.parse(lambda record: _Read(record, self._group(record)))
        except ValueError as error:
            if self.on_bad == "raise":
                raise ValueError(f"{error} on_bad=skip leaves it without a score.") from error
            return _Read(_object(placed), None, str(error))

    def _group(self, record: Record) -> Group:
        domain = record.get("domain") or self.domain
        if not isinstance(domain, str):
            raise ValueError("it names no domain. Add `domain` to it, or give domain=NAME for all such records.")
        language = str(record.get("language") or language_in(meta_of(record), self.language))
        if "messages" in record:
            turns = turns_of(record["messages"])
            _check_replies([reply_of([turn]) for turn in turns[-1:] if turn["role"] == "assistant"])
            return self.encoder.conversation(with_tools(record, turns), domain, language)
        if "replies" in record:
            prompt = with_tools(record, turns_of(record["prompt"]))
            return self.encoder.group(prompt, _check_replies(replies_of(record)), domain, language)
        if not {"chosen", "rejected"} <= record.keys():
            raise ValueError(
                "it holds neither `messages`, nor `prompt` with `replies` or with `chosen` and `rejected`, but "
                f"{', '.join(sorted(record)) or 'nothing'}."
            )
        ((asked, *replies, _),) = records(record)
        return self.encoder.group(asked, _check_replies(replies), domain, language)


def _check_replies(replies: Sequence[Reply]) -> Sequence[Reply]:
    for number, reply in enumerate(replies, 1):
        if not reply_key(reply):
            raise ValueError(f"reply {number} of {len(replies)} is empty.")
    return replies


def _scored(scorer: Scorer, part: Sequence[_Read]) -> Iterator[Record]:
    found = iter(scorer.scores([read.group for read in part if read.group is not None]))
    for read in part:
        key = _key(read.record)
        if read.group is None:
            yield {**read.record, key: None, UNSCORED: read.reason}
        else:
            scores = next(found)
            yield {**read.record, key: scores[0] if key == "score" else scores}


def _key(record: Record) -> str:
    return "scores" if "prompt" in record and "messages" not in record else "score"


def _object(placed: Placed) -> Record:
    """The object of a record, empty where it holds something else."""
    return placed.value if isinstance(placed.value, Mapping) else {}


def _made_by(checkpoint: str, *settings: object) -> str:
    """Hash of what decides the scores of a record: the files of the model, by name, size and time, and the settings."""
    files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(Path(checkpoint).iterdir())]
    return hashlib.sha256(repr((str(Path(checkpoint).resolve()), files, settings)).encode()).hexdigest()[:12]


def _still_valid(draft: Path, records: Sequence[Placed], on_bad: OnBad) -> int:
    """Whole lines of an unfinished file that the input still begins with. What follows them is cut off."""
    if not draft.is_file():
        return 0
    count = size = 0
    with draft.open("rb") as lines:
        for line, placed in zip(lines, records, strict=False):
            if not line.endswith(b"\n"):
                break
            written = json.loads(line)
            if not _is_of(written, _object(placed)) or (on_bad == "raise" and UNSCORED in written):
                break
            count, size = count + 1, size + len(line)
    with draft.open("r+b") as file:
        file.truncate(size)
    return count


def _is_of(written: Mapping[str, Any], record: Record) -> bool:
    ours = {key: written[key] for key in (_key(record), UNSCORED) if key in written}
    return {**record, **ours} == written
