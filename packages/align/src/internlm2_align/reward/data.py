"""PreferenceData: preference files as batches of a reward model, training and held-out pairs apart by question."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.evaluation.written import write_jsonl
from internlm2_core.shares import place_of

from internlm2_align.preferences.preference import OnBad, Preference, check_on_bad, to_record
from internlm2_align.preferences.sources import File, PreferenceFile, preference_files, read_preferences
from internlm2_align.preferences.splits import deduplicated, split_by_question, without_questions
from internlm2_align.reward.encoded import EncodedPairs
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.kept import digest, kept
from internlm2_align.reward.pairs import PairBatches, PairLoader, encode_pairs, usable_pairs

BATCHES = PairBatches()
HELDOUT = "heldout.jsonl"
"""Usable held-out pairs as records, beside the encoded training pairs."""
log = logging.getLogger(__name__)


class PreferenceData(L.LightningDataModule):
    """Preference pairs from files, each once, encoded and in padding-free batches.

    ``setup()`` reads and encodes. Held-out pairs come first, since a run of hours should not end
    at one that cannot be scored.

    Args:
        preferences: Files of training pairs: paths of our own records, or the arguments of `PreferenceFile`.
        encoder: Encodes conversations under their condition.
        batches: How pairs become batches.
        heldout: Files of held-out pairs, the same way. Their questions are left out of training.
        heldout_share: Share of the questions of ``preferences`` that is held out too.
        heldout_seed: Another one holds out other questions.
        on_bad: Whether unusable records and pairs are counted and skipped, or refused.
        margin_per_gap: Margin wanted between scores, per unit of a pair's ``meta["score_gap"]``.
        added: Files of training pairs that are taken as they are, so that a file may be named several times.
        folder: Keeps the encoded pairs. They are made once, for all ranks and for later runs on the same files with the
            same settings, and mapped from there. None encodes into memory.

    Attributes:
        pairs: Training pairs, encoded.
        heldout_pairs: Held-out pairs, encoded.
        heldout_preferences: The same, as they were read.
        counts: ``{"train", "heldout"}``: Pairs ``used``, and pairs left out by reason.

    Raises:
        ValueError: If ``on_bad`` or a file's format is unknown.
    """

    def __init__(
        self,
        preferences: File | Sequence[File],
        encoder: ConversationEncoder,
        batches: PairBatches = BATCHES,
        heldout: File | Sequence[File] = (),
        heldout_share: float = 0.0,
        heldout_seed: int = 0,
        on_bad: OnBad = "skip",
        margin_per_gap: float = 0.0,
        added: File | Sequence[File] = (),
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_on_bad(on_bad)
        self.preferences = preference_files(preferences)
        self.heldout = preference_files(heldout)
        self.added = preference_files(added)
        self.encoder, self.batches = encoder, batches
        self.heldout_share, self.heldout_seed = heldout_share, heldout_seed
        self.on_bad, self.margin_per_gap = on_bad, margin_per_gap
        self.folder = None if folder is None else Path(folder)
        self.is_read = False
        self.pairs: EncodedPairs
        self.heldout_pairs: EncodedPairs
        self.heldout_preferences: list[Preference] = []
        self.counts: dict[str, Counter[str]] = {"train": Counter(), "heldout": Counter()}

    def setup(self, stage: str | None = None) -> None:
        """Read and encode, once.

        Args:
            stage: Of Lightning. Every stage needs both sides.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If no usable pair is left, a pair names an unknown domain, or margins are wanted of pairs that
                have no gap.
        """
        if self.is_read:
            return
        if self.folder is None:
            self._read(None)
        else:
            card = kept(self.folder, self.fingerprint(), self._keep, log.warning)
            held = PreferenceFile(self.folder / HELDOUT).read()
            self.heldout_preferences = list(held)
            self.pairs = EncodedPairs.open(self.folder, self.encoder.tokenizer.vocab_size, self.batches.share_prompts)
            self.counts = {side: Counter(counts) for side, counts in card["counts"].items()}
        self.heldout_pairs = encode_pairs(self.heldout_preferences, self.encoder, Counter())
        self.is_read = True

    def _keep(self, draft: Path) -> dict[str, Any]:
        """Read into a folder. Returns what its card says."""
        self._read(draft)
        write_jsonl(draft / HELDOUT, map(to_record, self.heldout_preferences))
        tokens = int(self.pairs.ends[-1, 2]) if self.pairs else 0
        return {"counts": self.counts, "pairs": len(self.pairs), "tokens": tokens, "ids": str(self.pairs.ids.dtype)}

    def _read(self, folder: Path | None) -> None:
        train, held_out = Counter[str](), Counter[str]()
        read = read_preferences(self.preferences, train, self.on_bad)
        found, split_off = split_by_question(deduplicated(read, train), self.heldout_share, self.heldout_seed)
        named = read_preferences(self.heldout, held_out, self.on_bad)
        held = list(deduplicated(chain(named, split_off), held_out))
        usable = usable_pairs(held, self.encoder, held_out, self.on_bad)
        self.heldout_preferences = [pair for pair, _ in usable]
        self._check_some_left(self.heldout_preferences, held_out, "heldout")
        added = read_preferences(self.added, train, self.on_bad)
        training = self._with_margins(without_questions([*found, *added], held, train))
        share_prompts = self.batches.share_prompts
        self.pairs = encode_pairs(
            training, self.encoder, train, on_bad=self.on_bad, share_prompts=share_prompts, folder=folder
        )
        self._check_some_left(self.pairs, train, "preferences")
        self.counts = {"train": +train, "heldout": +held_out}

    def fingerprint(self) -> str:
        """Of all that encoded pairs are made of: content of the files, settings, conditions and tokenizer."""
        files = [
            (name, replace(file, path=""), digest(file.path))
            for name in ("preferences", "heldout", "added")
            for file in getattr(self, name)
        ]
        encoder, tokenizer = self.encoder, self.encoder.tokenizer
        spelt = tokenizer.pieces() if tokenizer.path is None else digest(tokenizer.path)
        ids = (tokenizer.vocab_size, tokenizer.begin, spelt, encoder.conditions, encoder.max_tokens)
        settings = (self.heldout_share, self.heldout_seed, self.on_bad, self.margin_per_gap)
        return sha256(repr((files, ids, settings)).encode()).hexdigest()

    def loader(self, dp_rank: int = 0, dp_size: int = 1) -> PairLoader:
        """Training batches of a data-parallel rank. Its length and fill rate are known before training.

        Args:
            dp_rank: The rank.
            dp_size: Number of data-parallel ranks.
        """
        self.setup()
        return self.batches.loader(self.pairs, dp_rank=dp_rank, dp_size=dp_size)

    def steps_per_pass(self, replicas: int) -> int:
        """Optimizer steps of a pass over the pairs.

        Args:
            replicas: Number of data-parallel ranks.
        """
        return len(self.loader(0, replicas))

    def train_dataloader(self) -> PairLoader:
        """Training batches of this data-parallel rank."""
        return self.loader(*place_of(self))

    def val_dataloader(self) -> PairLoader | list[PairLoader]:
        """Held-out batches of this data-parallel rank, in order. There are none without held-out pairs."""
        self.setup()
        if not self.heldout_pairs:
            return []
        dp_rank, dp_size = place_of(self)
        return self.batches.loader(self.heldout_pairs, dp_rank=dp_rank, dp_size=dp_size, shuffle=False)

    test_dataloader = predict_dataloader = val_dataloader

    def _check_some_left(self, pairs: Sequence[Any], counts: Counter[str], argument: str) -> None:
        if not pairs and (+counts).total():
            left_out = ", ".join(f"{count} {name}" for name, count in (+counts).most_common())
            files = ", ".join(str(file.path) for file in getattr(self, argument))
            raise ValueError(
                f"No usable pairs are left of {argument}={files}: {left_out}. With on_bad=raise the first bad one is "
                "refused by name."
            )

    def _with_margins(self, pairs: Iterable[Preference]) -> Iterator[Preference]:
        found, has_gaps = 0, not self.margin_per_gap
        for pair in pairs:
            gap = self.margin_per_gap * float(pair.meta.get("score_gap", 0.0))
            found, has_gaps = found + 1, has_gaps or gap != 0
            yield replace(pair, meta={**pair.meta, "margin": pair.margin + gap}) if gap else pair
        if not has_gaps:
            raise ValueError(
                f"margin_per_gap={self.margin_per_gap} needs pairs with a meta.score_gap, as `internlm2 label` writes "
                f"them. None of these {found} pairs has one."
            )
