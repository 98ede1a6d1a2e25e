"""Keys and values of earlier tokens, allocated once.

Sequences of a batch may differ in length: each has its own count of stored tokens, and a row's tokens are written
where that row ends. What lies beyond a row's end is never attended to.

Legend: L layers, B rows, S capacity in tokens, T new tokens, N query heads, G kv groups, H head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class KeyValueCache:
    """Preallocated cache of all layers, in the size of the kv heads.

    Memory is taken when the first keys arrive. They say how many heads this process computes, of which width and dtype.

    Args:
        layers: Layers L.
        rows: Rows B.
        capacity: Tokens S of a row.
        device: Where keys and values live.

    Attributes:
        prompts_B: Length of each row's prompt while it comes in chunks and padded, [B] int64. Dynamic RoPE then scales
            the first chunk as the last, and each row by itself. None once the prompts are there.
    """

    def __init__(self, layers: int, rows: int, capacity: int, device: torch.device) -> None:
        self.layers, self.rows = layers, rows
        self.keys_LBGSH = self.values_LBGSH = torch.empty(0, device=device)
        self.lengths_B = torch.zeros(rows, dtype=torch.int64, device=device)
        self.capacity, self.longest, self.even = capacity, 0, True
        self.prompts_B: Tensor | None = None
        self.step: tuple[int, Tensor, Tensor] | None = None

    def allocate(self, like_BTGH: Tensor) -> None:
        """Take memory, if there is none yet.

        Args:
            like_BTGH: The first keys, [B, T, G, H].
        """
        if not self.keys_LBGSH.numel():
            # Heads before tokens: the layout that attention reads, so that no decoding step copies the cache.
            shape = (self.layers, self.rows, like_BTGH.shape[2], self.capacity, like_BTGH.shape[3])
            self.keys_LBGSH, self.values_LBGSH = like_BTGH.new_zeros(shape), like_BTGH.new_zeros(shape)

    def layer(self, index: int) -> "LayerCache":
        """The slice that one block reads and extends."""
        return LayerCache(self, index)

    def next_positions(self, tokens: int) -> Tensor:
        """Positions of the next ``tokens`` tokens of each row, [B, T] int64."""
        return self.lengths_B[:, None] + torch.arange(tokens, device=self.lengths_B.device)

    def places(self, tokens: int) -> tuple[Tensor, Tensor]:
        """Where the next tokens are stored, and what they may read. All layers of a step share the two.

        Args:
            tokens: New tokens T of each row.

        Returns:
            Places [B, 1, T, 1] int64, and the mask [B, 1, T, S]: of one token what is added to its scores, 0 or -inf,
            of several whether they may look, which takes less memory.
        """
        if self.step is None or self.step[0] != tokens:
            places_BT = self.next_positions(tokens)
            keys_S = torch.arange(self.length_after(tokens), device=places_BT.device)
            mask_BTS = keys_S <= places_BT[..., None]
            if tokens == 1:
                bias_BTS = torch.zeros_like(mask_BTS, dtype=self.keys_LBGSH.dtype)
                mask_BTS = bias_BTS.masked_fill_(~mask_BTS, -torch.inf)
            self.step = tokens, places_BT[:, None, :, None], mask_BTS[:, None]
        return self.step[1:]

    def lengths_of_rows(self, tokens: int) -> Tensor:
        """Tokens of each row once ``tokens`` more are stored, or of its whole prompt before that, [B, 1] int64."""
        return (self.lengths_B + tokens if self.prompts_B is None else self.prompts_B)[:, None]

    def length_after(self, tokens: int) -> int:
        """Tokens of the longest row once ``tokens`` more are stored.

        Raises:
            ValueError: If the cache is too small.
        """
        after = self.longest + tokens
        if after > self.capacity:
            raise ValueError(f"The cache holds capacity={self.capacity} tokens a row but {after} are needed.")
        return after

    def advance(self, tokens: int) -> None:
        """Count ``tokens`` more tokens in every row. Called once all layers have stored them."""
        self.lengths_B += tokens
        self.longest += tokens
        self.step = None

    def truncate(self, lengths_B: Tensor) -> None:
        """Forget what lies beyond each row's length: the padding of a prefill of unequal prompts.

        Args:
            lengths_B: Tokens to keep, [B] int64.
        """
        self.lengths_B = lengths_B.clone()
        self.longest = int(lengths_B.max())
        self.even = bool((lengths_B == self.longest).all())
        self.step = None

    def keep_rows(self, rows: Tensor) -> None:
        """Drop the rows of sequences that are finished.

        Args:
            rows: Indices of the others, ascending, [kept] int64.
        """
        self.keys_LBGSH = self.keys_LBGSH.index_select(1, rows)
        self.values_LBGSH = self.values_LBGSH.index_select(1, rows)
        self.truncate(self.lengths_B[rows])


class LayerCache:
    """One layer of a `KeyValueCache`.

    Args:
        cache: The cache of all layers.
        index: Index of the layer.
    """

    def __init__(self, cache: KeyValueCache, index: int) -> None:
        self.cache, self.index = cache, index

    def attend(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor) -> Tensor:
        """Store the new keys and values, then attend from the new queries to all that is stored, causally.

        Args:
            q_BTNH: Rotated queries, [B, T, N, H].
            k_BTGH: Rotated keys, [B, T, G, H].
            v_BTGH: Values, [B, T, G, H].

        Returns:
            Mixed values, [B, T, N, H].
        """
        cache, T = self.cache, q_BTNH.shape[1]
        cache.allocate(k_BTGH)
        keys_BGSH, values_BGSH = cache.keys_LBGSH[self.index], cache.values_LBGSH[self.index]
        end = cache.length_after(T)
        self._store(keys_BGSH, k_BTGH)
        self._store(values_BGSH, v_BTGH)
        keys, values = keys_BGSH[:, :, :end], values_BGSH[:, :, :end]
        if T == 1 and q_BTNH.device.type == "cpu":
            return decode_one(q_BTNH, keys, values, None if cache.even else cache.places(1)[1])
        first = cache.longest == 0
        mask = None if first or (T == 1 and cache.even) else cache.places(T)[1]
        out_BNTH = F.scaled_dot_product_attention(
            q_BTNH.transpose(1, 2), keys, values, attn_mask=mask, is_causal=first and T > 1, enable_gqa=True
        )
        return out_BNTH.transpose(1, 2)

    def _store(self, stored_BGSH: Tensor, new_BTGH: Tensor) -> None:
        cache, T = self.cache, new_BTGH.shape[1]
        new_BGTH = new_BTGH.transpose(1, 2)
        if cache.even:
            stored_BGSH[:, :, cache.longest : cache.longest + T] = new_BGTH
            return
        where_B1T1, _ = cache.places(T)
        stored_BGSH.scatter_(2, where_B1T1.expand(new_BGTH.shape), new_BGTH.to(stored_BGSH.dtype))


def decode_one(q_B1NH: Tensor, keys_BGSH: Tensor, values_BGSH: Tensor, bias_B11S: Tensor | None) -> Tensor:
    """Attention of one new token per row as two batched matrix products.

    On CPU this is faster than the fused kernel, which repeats keys for grouped queries.

    Args:
        q_B1NH: Queries, [B, 1, N, H].
        keys_BGSH: Stored keys, [B, G, S, H].
        values_BGSH: Stored values, [B, G, S, H].
        bias_B11S: Added to the scores, [B, 1, 1, S]: -inf where a row has ended. None where all rows are equally long.

    Returns:
        Mixed values, [B, 1, N, H].
    """
    B, _, N, H = q_B1NH.shape
    G, S = keys_BGSH.shape[1:3]
    q_XQH, keys_XSH = q_B1NH.reshape(B * G, N // G, H), keys_BGSH.reshape(B * G, S, H)
    if bias_B11S is None:
        bias_X1S, beta = q_XQH.new_zeros(1, 1, 1), 0.0
    else:
        bias_X1S, beta = bias_B11S.expand(B, G, 1, S).reshape(B * G, 1, S), 1.0
    scores_XQS = torch.baddbmm(bias_X1S, q_XQH, keys_XSH.transpose(1, 2), beta=beta, alpha=H**-0.5)
    return (scores_XQS.softmax(-1) @ values_BGSH.reshape(B * G, S, H)).reshape(B, 1, N, H)
