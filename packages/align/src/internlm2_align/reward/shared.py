"""Packing conversations that share a beginning, padding-free, the shared part computed once.

The replies of one prompt are one `Group`. A row holds its tokens once, and attention sees each reply behind its prompt:

    stored:   [prompt | reply a | reply b] [prompt' | reply c | reply d]        one row, no padding
    attended: [prompt   reply a] [prompt   reply b] [prompt'  reply c] [prompt'  reply d]

Position ids run on from the prompt in every reply. Embedding, projections and feed-forward work on the stored tokens.
Only inside attention are queries, keys and values laid out as attended. The score token ends every reply.

Shape suffixes: T stored tokens, A attended tokens, S replies. N query heads, G key/value heads, H head width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from internlm2_core.nn.segments import Segments
from torch import Tensor, nn


class Group(NamedTuple):
    """Token ids of a prompt and of what may follow it.

    Attributes:
        prompt: Shared ids. May be empty.
        replies: Ids of each reply, its score token last.
    """

    prompt: Sequence[int]
    replies: Sequence[Sequence[int]]

    @property
    def stored_tokens(self) -> int:
        """Tokens that the group takes in a row."""
        return len(self.prompt) + sum(map(len, self.replies))


class PackedGroups(NamedTuple):
    """One row of groups.

    Attributes:
        input_ids: [1, T] int64.
        position_ids: [1, T] int64, from 0 at each prompt and counted on in each of its replies.
        attended_index: [A] int64, the stored token at each attended place.
        stored_index: [T] int64, an attended place of each stored token.
        attended_lengths: [S] int64 tokens of each prompt with reply. They add up to A.
        places: [S] int64, the stored place of each reply's score token, groups in order.
    """

    input_ids: Tensor
    position_ids: Tensor
    attended_index: Tensor
    stored_index: Tensor
    attended_lengths: Tensor
    places: Tensor

    def segments(self) -> Segments:
        """What attention needs to know of the row."""
        lengths = tuple(self.attended_lengths.tolist())
        if len(self.attended_index) == len(self.stored_index):
            return Segments(lengths, 1, self.input_ids.device)
        return SharedSegments(lengths, 1, self.input_ids.device, self.attended_index, self.stored_index)

    def apart(self) -> "PackedGroups":
        """The same conversations with each prompt stored once per reply."""
        attended = self.attended_index
        here = torch.arange(len(attended), device=attended.device)
        ids, positions = self.input_ids[:, attended], self.position_ids[:, attended]
        return PackedGroups(ids, positions, here, here, self.attended_lengths, self.stored_index[self.places])


class SharedSegments(Segments):
    """Segments of a row in which prompts are stored once.

    Args:
        lengths: Attended tokens of each document.
        rows: Rows.
        device: Of the indices.
        attended_index: See `PackedGroups`, [A] int64.
        stored_index: See `PackedGroups`, [T] int64.
    """

    def __init__(
        self, lengths: tuple[int, ...], rows: int, device: torch.device, attended_index: Tensor, stored_index: Tensor
    ) -> None:
        super().__init__(lengths, rows, device)
        self.attended_index, self.stored_index = attended_index, stored_index

    @property
    def attended(self) -> Segments:
        """The documents as attention sees them: one line of A tokens."""
        return Segments(self.lengths, 1, self.device)


class SharedPromptAttend(nn.Module):
    """Lays a row out as attended around another back end. Passes ordinary segments through.

    Args:
        attend: Any back end of the seam ``attend(q_BTNH, k_BTGH, v_BTGH, segments)``.
    """

    def __init__(self, attend: nn.Module) -> None:
        super().__init__()
        self.attend = attend

    def forward(self, q_1TNH: Tensor, k_1TGH: Tensor, v_1TGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention of each reply to its prompt and itself, [1, T, N, H]."""
        if not isinstance(segments, SharedSegments):
            return self.attend(q_1TNH, k_1TGH, v_1TGH, segments)
        q, k, v = (x.index_select(1, segments.attended_index) for x in (q_1TNH, k_1TGH, v_1TGH))
        return self.attend(q, k, v, segments.attended).index_select(1, segments.stored_index)


def pack_groups(groups: Sequence[Group], *, share_prompts: bool = True) -> PackedGroups:
    """Lay groups end to end in one row.

    Args:
        groups: At least one, each with at least one reply, no reply empty.
        share_prompts: Store each prompt once. Otherwise once per reply.

    Returns:
        The row, on CPU.
    """
    if not share_prompts:
        groups = [Group(group.prompt, [reply]) for group in groups for reply in group.replies]
    ids: list[int] = []
    positions: list[int] = []
    attended: list[int] = []
    lengths: list[int] = []
    scores: list[int] = []
    stored: list[int] = []
    for group in groups:
        start, prompt = len(ids), len(group.prompt)
        ids += group.prompt
        positions += range(prompt)
        stored += range(len(attended), len(attended) + prompt)
        for reply in group.replies:
            place = len(ids)
            stored += range(len(attended) + prompt, len(attended) + prompt + len(reply))
            attended += [*range(start, start + prompt), *range(place, place + len(reply))]
            ids += reply
            positions += range(prompt, prompt + len(reply))
            lengths.append(prompt + len(reply))
            scores.append(len(ids) - 1)
    return PackedGroups(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        attended_index=torch.tensor(attended),
        stored_index=torch.tensor(stored),
        attended_lengths=torch.tensor(lengths),
        places=torch.tensor(scores),
    )
