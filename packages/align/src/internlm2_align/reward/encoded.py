"""Encoded pairs as a few arrays, in memory or mapped from files that all ranks of a machine share.

A token takes 2 bytes, or 4 where the vocabulary has more than 65,536 ids, and a pair 30 bytes more.

    FOLDER/ids.bin         ids of prompt, chosen and rejected reply of each pair, end to end, uint16 or uint32
    FOLDER/ends.npy        [P, 3] int64, where each of the three ends
    FOLDER/domains.npy     [P] uint16, places in the condition table
    FOLDER/margins.npy     [P] float32, differences wanted between the scores
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from internlm2_align.reward.shared import Group

IDS, ENDS, DOMAINS, MARGINS = "ids.bin", "ends.npy", "domains.npy", "margins.npy"


class EncodedPair(NamedTuple):
    """The token ids of a pair.

    Attributes:
        group: The prompt with the chosen and the rejected reply.
        domain_index: Place of the domain in the condition table.
        margin: Difference wanted between the scores.
        stored_tokens: Tokens that it takes in a row.
    """

    group: Group
    domain_index: int
    margin: float
    stored_tokens: int


class EncodedPairs(Sequence[EncodedPair]):
    """Many pairs.

    Args:
        ids: Token ids of all pairs end to end, [tokens] uint16 or uint32.
        ends: Where prompt, chosen and rejected reply of each pair end, [P, 3] int64.
        domains: Places in the condition table, [P] uint16.
        margins: Differences wanted between the scores, [P] float32.
        share_prompts: Whether a row stores the prompt of a pair once.
    """

    def __init__(
        self,
        ids: NDArray[Any],
        ends: NDArray[np.int64],
        domains: NDArray[np.uint16],
        margins: NDArray[np.float32],
        share_prompts: bool = True,
    ) -> None:
        self.ids, self.ends, self.domains, self.margins = ids, ends, domains, margins
        self.share_prompts = share_prompts

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[Group, int, float]],
        vocabulary: int,
        share_prompts: bool = True,
        folder: Path | None = None,
    ) -> Self:
        """Take pairs up one after the other. Those taken are not held in another form.

        Args:
            pairs: Ids, place of the domain and margin of each.
            vocabulary: Number of ids.
            share_prompts: See `EncodedPairs`.
            folder: Gets the arrays. Ids go to disk as they come. None keeps them in memory.
        """
        dtype = np.dtype(np.uint16 if vocabulary <= 2**16 else np.uint32)
        ends, domains, margins = array("q"), array("H"), array("f")
        stream, tokens = (folder / IDS).open("wb") if folder else BytesIO(), 0
        for group, domain, margin in pairs:
            parts = (group.prompt, *group.replies)
            stream.write(np.fromiter(chain(*parts), dtype).tobytes())
            for part in parts:
                tokens += len(part)
                ends.append(tokens)
            domains.append(domain)
            margins.append(margin)
        columns: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] = (
            np.array(ends, np.int64).reshape(-1, 3),
            np.array(domains, np.uint16),
            np.array(margins, np.float32),
        )
        if isinstance(stream, BytesIO):
            ids = np.frombuffer(stream.getbuffer(), dtype) if tokens else np.empty(0, dtype)
            return cls(ids, *columns, share_prompts=share_prompts)
        assert folder is not None
        stream.close()
        for name, column in zip((ENDS, DOMAINS, MARGINS), columns, strict=True):
            np.save(folder / name, column)
        return cls.open(folder, vocabulary, share_prompts)

    @classmethod
    def open(cls, folder: Path, vocabulary: int, share_prompts: bool = True) -> Self:
        """The pairs of a folder. Ids are mapped: what is not read takes no memory, and ranks share what is.

        Args:
            folder: As `of` has filled it.
            vocabulary: Number of ids.
            share_prompts: See `EncodedPairs`.
        """
        dtype, file = np.uint16 if vocabulary <= 2**16 else np.uint32, folder / IDS
        ids = np.memmap(file, dtype, "r") if file.stat().st_size else np.empty(0, dtype)
        ends, domains, margins = (np.load(folder / name, mmap_mode="r") for name in (ENDS, DOMAINS, MARGINS))
        return cls(ids, ends, domains, margins, share_prompts)

    def stored_tokens(self) -> list[int]:
        """Tokens that each pair takes in a row."""
        starts_P = np.concatenate(([0], self.ends[:-1, 2])) if len(self) else self.ends[:, 2]
        repeated_P = 0 if self.share_prompts else self.ends[:, 0] - starts_P
        return (self.ends[:, 2] - starts_P + repeated_P).tolist()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> EncodedPair: ...
    @overload
    def __getitem__(self, index: slice) -> list[EncodedPair]: ...
    def __getitem__(self, index: int | slice) -> EncodedPair | list[EncodedPair]:
        """A pair, or some."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = int(self.ends[place - 1, 2]) if place else 0
        first, second, end = self.ends[place].tolist()
        prompt, *replies = (self.ids[a:b].tolist() for a, b in ((start, first), (first, second), (second, end)))
        tokens = end - start + (0 if self.share_prompts else first - start)
        return EncodedPair(Group(prompt, replies), int(self.domains[place]), float(self.margins[place]), tokens)

    def __iter__(self) -> Iterator[EncodedPair]:
        """All pairs, one after the other."""
        return (self[place] for place in range(len(self)))
