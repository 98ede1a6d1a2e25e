"""Pre-training batches: token files mixed by weight, with long rows for phase 2."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from internlm2_data.document import QUALITIES
from internlm2_data.loading.document_rows import DocumentRows
from internlm2_data.loading.fitted_rows import FittedRows
from internlm2_data.loading.held_out import HeldOutBatches
from internlm2_data.loading.loader import BatchRamp, Loader
from internlm2_data.loading.mixture import Mixture
from internlm2_data.loading.passes import Endless
from internlm2_data.loading.token_rows import TokenRows
from internlm2_data.tokens.token_file import TokenSource

Sources = Mapping[str, TokenSource | str | Path]

Packing = Literal["cut", "best_fit"]
"""How documents fill rows: end to end and cut where a row ends, or whole, each into the fullest row with room."""

REPEATS = {"high": 2.0, "moderate": 1.0, "low": 0.0}


@dataclass(frozen=True)
class LongRows:
    """The long half of phase 2 (report section 3.3.2: 50% up to 32k, 50% still under 4,096).

    Attributes:
        sources: Long documents by name, for example what `process pipeline=long` set aside, tokenised.
        weights: Share of each among the long rows. None weighs by their tokens.
        min_tokens: Leave out documents shorter than this.
    """

    sources: Sources
    weights: Mapping[str, float] | None = None
    min_tokens: int = 0


@dataclass(frozen=True)
class PackedBatches:
    """Endless rows of `context` tokens.

    Attributes:
        sources: Token files by name (`token_sources(folder)` gives all of a folder).
        context: Tokens of a row.
        batch_rows: Rows of a batch over all ranks.
        seed: Of document order and mixture.
        weights: Share of tokens by source. None weighs by size and `repeats`. A source without a weight is left out.
            The weight of ``python-code`` is shared by its classes of quality, by size and `repeats`.
        repeats: How often sources of a class of quality are read while others are read once (report section 3.1.2:
            high more than once, low not at all).
        short_context: Pieces of documents from `sources` are cut at this many tokens. None cuts at `context`.
        long: Long rows, whose documents are cut at `context` only.
        long_fraction: Share of rows that are long.
        pass_batches: Batches that one iteration gives (Lightning's epoch). None for as many as the tokens of all
            sources fill. The next iteration continues in the stream where the pass ended.
        ramp: How batches grow to `batch_rows`. If None, all are full.
        packing: "cut" lays documents end to end, without padding: one continues in the next row. "best_fit" keeps those
            that fit into a row whole, and fills what is left of a row with padding.
    """

    sources: Sources
    context: int
    batch_rows: int
    seed: int
    weights: Mapping[str, float] | None = None
    short_context: int | None = None
    long: LongRows | None = None
    long_fraction: float = 0.0
    pass_batches: int | None = None
    ramp: BatchRamp | None = None
    packing: Packing = "cut"
    repeats: Mapping[str, float] = field(default_factory=lambda: dict(REPEATS))
    _opened: dict[str, DocumentRows] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check what can be checked without reading tokens."""
        if self.context < 1 or (self.short_context or 1) > self.context:
            raise ValueError(f"short_context={self.short_context} must be context={self.context} or less.")
        if not 0 <= self.long_fraction <= 1:
            raise ValueError(f"long_fraction={self.long_fraction} must be in [0, 1].")
        if self.long_fraction and self.long is None:
            raise ValueError(
                f"long_fraction={self.long_fraction} needs long documents, and long is None. `batches=long` of the "
                "command names some."
            )
        if set(self.repeats) - set(QUALITIES) or any(times < 0 for times in self.repeats.values()):
            raise ValueError(f"repeats={dict(self.repeats)} must be 0 or more for each of {', '.join(QUALITIES)}.")
        if self.packing not in get_args(Packing):
            raise ValueError(f"packing={self.packing} must be one of {', '.join(get_args(Packing))}.")

    def shares(self) -> dict[str, float]:
        """Share of each source in the tokens of a batch, long ones as `long/NAME`."""
        return {name: share for name, (_, share) in self._parts().items()}

    def rows(self) -> list[DocumentRows]:
        """The rows of each source, in the order of `shares()`."""
        return [rows for rows, _ in self._parts().values()]

    def batches_per_pass(self) -> int:
        """Batches of one iteration."""
        tokens = sum(self._worth(rows) or rows.pass_tokens for rows in self.rows())
        return self.pass_batches or max(1, int(tokens) // (self.context * self.batch_rows))

    def loader(self, dp_rank: int = 0, dp_size: int = 1, num_workers: int = 0) -> Loader:
        """A fresh loader for one data-parallel rank. See `Loader`."""
        plan = Endless(Mixture(self.shares(), self.seed), self.batches_per_pass() * self.batch_rows)
        rows = self.rows()
        return Loader(plan, rows, self.context, self.batch_rows, dp_rank, dp_size, num_workers, ramp=self.ramp)

    def held_out(self, source: str | Path) -> HeldOutBatches:
        """One pass over a token file of held-out text, in rows of the same length.

        Raises:
            ValueError: If there are several files.
        """
        if not isinstance(source, str | Path):
            raise ValueError(f"validation={source!r} must be one token file for each name.")
        return HeldOutBatches(source, self.context, self.batch_rows)

    def _parts(self) -> dict[str, tuple[DocumentRows, float]]:
        share = 1 - self.long_fraction
        parts = self._weighted(self.sources, self.weights, share, "", self.short_context or self.context, 0)
        if self.long and self.long_fraction:
            sources, weights, least = self.long.sources, self.long.weights, self.long.min_tokens
            parts |= self._weighted(sources, weights, self.long_fraction, "long/", self.context, least)
        return parts

    def _weighted(
        self,
        sources: Sources,
        weights: Mapping[str, float] | None,
        total: float,
        prefix: str,
        cut: int,
        min_tokens: int,
    ) -> dict[str, tuple[DocumentRows, float]]:
        of = {name: _weighed_as(name, weights) for name in sources}
        if unknown := set(weights or ()) - set(of.values()):
            raise ValueError(f"weights name {sorted(unknown)}, but the sources are {sorted(sources)}.")
        names = [name for name in sources if total > 0 and (weights is None or weights.get(of[name], 0) > 0)]
        opened = {name: self._open(prefix + name, sources[name], cut, min_tokens) for name in names}
        sizes = {name: self._worth(rows) for name, rows in opened.items()}
        if weights is not None:
            sizes = _shared(weights, sizes, of)
        if total > 0 and not any(sizes.values()):
            how = f"weights={weights}" if weights is not None else f"repeats={dict(self.repeats)}"
            raise ValueError(f"{how} leave none of the sources {sorted(sources)}.")
        scale = total / (sum(sizes.values()) or 1)
        return {prefix + name: (opened[name], size * scale) for name, size in sizes.items() if size}

    def _worth(self, rows: DocumentRows) -> float:
        """Tokens of a source in an epoch: all of them, as often as its class of quality is read."""
        return rows.pass_tokens * self.repeats.get(rows.source.card.get("quality", ""), 1)

    def _open(self, name: str, source: TokenSource | str | Path, cut: int, min_tokens: int) -> DocumentRows:
        if name not in self._opened:
            documents = source if isinstance(source, TokenSource) else TokenSource(source)
            documents = documents.at_least(min_tokens) if min_tokens else documents
            rows = TokenRows if self.packing == "cut" else FittedRows
            self._opened[name] = rows(documents, self.context, cut, self.seed)
        return self._opened[name]


def _shared(weights: Mapping[str, float], sizes: Mapping[str, float], of: Mapping[str, str]) -> dict[str, float]:
    """The weight of each source. Those under one name share it by their sizes. One alone has it whatever its size."""
    sums: dict[str, float] = defaultdict(float)
    for name, size in sizes.items():
        sums[of[name]] += size
    counts = Counter(of[name] for name in sizes)
    return {
        name: weights[of[name]] * (1 if of[name] == name and counts[name] == 1 else size / (sums[of[name]] or 1))
        for name, size in sizes.items()
    }


def _weighed_as(name: str, weights: Mapping[str, float] | None) -> str:
    """Under which name a source has a weight: its own, or that of all classes of quality of a language and source."""
    for quality in QUALITIES:
        cell = name.removesuffix(f"-{quality}")
        if cell != name and weights is not None and name not in weights and cell in weights:
            return cell
    return name
