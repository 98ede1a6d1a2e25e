"""Preference records: one prompt, a preferred and a rejected reply, and the domain by which that was judged.

On disk a record is a JSON line ``{"domain", "prompt": [messages], "chosen", "rejected", "source", "meta"}``.
Pairs that cannot teach anything (both sides equal, an empty side) are counted and skipped, or refused: never silent.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from internlm2_core.text.chat import Message

OnBad = Literal["skip", "raise"]


@dataclass(frozen=True, slots=True)
class Preference:
    """One pair.

    Args:
        domain: Which preference it expresses; names a condition prompt.
        prompt: The conversation before the reply.
        chosen: Text of the preferred reply.
        rejected: Text of the other reply.
        source: Where the pair comes from, e.g. ``simulated:answers``.
        meta: Anything else; ``language`` picks the language of the condition prompt, ``question`` groups splits,
            ``margin`` is a difference wanted between the scores.
    """

    domain: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def language(self) -> str:
        """Language of the condition prompt."""
        return str(self.meta.get("language", "en"))

    @property
    def margin(self) -> float:
        """Difference wanted between the two scores."""
        return float(self.meta.get("margin", 0.0))

    def defect(self) -> str | None:
        """Why the pair cannot be used, as a short name for counts; None if it can."""
        if not self.prompt:
            return "empty_prompt"
        if not self.chosen.strip() or not self.rejected.strip():
            return "empty_reply"
        if self.chosen.strip() == self.rejected.strip():
            return "identical"
        return None


def usable(pairs: Iterable[Preference], counts: Counter[str], on_bad: OnBad = "skip") -> Iterator[Preference]:
    """The pairs that can be used.

    Args:
        pairs: Any pairs.
        counts: Gets one count a pair, under ``used`` or the defect's name.
        on_bad: What to do with a pair that cannot.

    Raises:
        ValueError: With ``on_bad="raise"``, at the first pair that cannot be used.
    """
    for index, pair in enumerate(pairs):
        defect = pair.defect()
        counts[defect or "used"] += 1
        if defect is None:
            yield pair
        elif on_bad == "raise":
            raise ValueError(f"Pair {index} ({pair.source}) is unusable: {defect}. Drop it or set on_bad=skip.")


def read_preferences(path: str | Path) -> Iterator[Preference]:
    """Read JSON lines.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not a preference record; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No preferences at {path}; write them with `internlm2 label` or set preferences=PATH.")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                pair = Preference(
                    domain=record["domain"],
                    prompt=tuple(record["prompt"]),
                    chosen=record["chosen"],
                    rejected=record["rejected"],
                    source=record.get("source", ""),
                    meta=record.get("meta", {}),
                )
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"Line {number} of {path} is not a preference record ({type(error).__name__}: {error}); it needs "
                    "domain, prompt, chosen and rejected."
                ) from error
            yield pair


def to_record(pair: Preference) -> dict[str, Any]:
    """The JSON form of a pair."""
    return {
        "domain": pair.domain,
        "prompt": list(pair.prompt),
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "source": pair.source,
        "meta": pair.meta,
    }


def write_preferences(path: Path, pairs: Iterable[Preference]) -> int:
    """Write JSON lines; returns how many. The caller makes the write atomic."""
    records = [json.dumps(to_record(pair), ensure_ascii=False) + "\n" for pair in pairs]
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(records)
    return len(records)
