"""Counts of a shard, which add up to those of a stage."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from internlm2_data.document import Document
from internlm2_data.io.items import Fault, Passed

MAX_FAULTS = 100
PLAIN = ("documents", "bytes", "tokens", "passed")


@dataclass
class Tally:
    """What happened to documents, by cell ("zh-webpages") and rule."""

    documents: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    rewritten: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)
    num_faults: int = 0
    passed: Counter[str] = field(default_factory=Counter)

    def keep(self, document: Document, stage: str) -> None:
        """Count a document that is kept."""
        self.documents[document.cell] += 1
        self.bytes[document.cell] += document.num_bytes
        for note in document.trail:
            if note["stage"] == stage and note["action"] == "rewrite":
                self.rewritten[note["rule"], document.cell] += 1

    def drop(self, document: Document) -> None:
        """Count a document whose trail ends with a drop."""
        rule = document.trail[-1]["rule"]
        self.dropped[rule, document.cell] += 1
        self.dropped_bytes[rule, document.cell] += document.num_bytes

    def fault(self, fault: Fault) -> None:
        """Count something that could not be read, and remember the first hundred."""
        self.num_faults += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault.to_json())

    def skip(self, passed: Passed) -> None:
        """Count something that is not a document."""
        self.passed[passed.reason] += 1

    def add(self, other: "Tally") -> None:
        """Add another shard's counts."""
        for name in ("documents", "bytes", "tokens", "dropped", "dropped_bytes", "rewritten", "passed"):
            getattr(self, name).update(getattr(other, name))
        self.num_faults += other.num_faults
        self.faults += other.faults[: MAX_FAULTS - len(self.faults)]

    def to_json(self) -> dict[str, Any]:
        """Plain counts, those of rules nested by cell."""
        nested = {name: _nest(getattr(self, name)) for name in ("dropped", "dropped_bytes", "rewritten")}
        plain = {name: dict(sorted(getattr(self, name).items())) for name in PLAIN}
        return {**plain, **nested, "num_faults": self.num_faults, "faults": self.faults}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Tally":
        """Read what `to_json` wrote."""
        nested = {name: _flat(record[name]) for name in ("dropped", "dropped_bytes", "rewritten")}
        return cls(
            Counter(record["documents"]),
            Counter(record["bytes"]),
            Counter(record["tokens"]),
            **nested,
            faults=list(record["faults"]),
            num_faults=record["num_faults"],
            passed=Counter(record["passed"]),
        )


def _nest(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (rule, cell), count in sorted(counts.items()):
        nested.setdefault(rule, {})[cell] = count
    return nested


def _flat(nested: dict[str, dict[str, int]]) -> Counter[tuple[str, str]]:
    return Counter({(rule, cell): count for rule, cells in nested.items() for cell, count in cells.items()})
