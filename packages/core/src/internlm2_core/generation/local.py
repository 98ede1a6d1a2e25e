"""Generation with the network of this process: prompts of any lengths together, one cache a batch."""

from collections.abc import Callable, Sequence
from weakref import finalize

import torch
from torch import Tensor

from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.generation.column_major import ColumnMajor
from internlm2_core.generation.engine import Completion, check_prompts, of_like_length
from internlm2_core.generation.sampling import Sampling, choose, penalise_repeats
from internlm2_core.nn.cache import KeyValueCache
from internlm2_core.nn.compiled import as_written
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import RopeScaling
from internlm2_core.text.tokenizer import load_tokenizer


class LocalEngine:
    """Generation with the network in this process.

    Prompts of like length are answered together. Finished sequences leave the batch. On CPU the first call lays the
    weights out for decoding. They stay so until the network is trained on or the engine is dropped.

    Args:
        net: The network, used in eval mode and without gradients.
        max_batch_tokens: Prompt and answer tokens held in one cache.
        prefill_tokens: Tokens of a prompt computed at once, so that a prompt of 200k tokens fits.
        decode: Turns token ids into text. Only stop strings need it.
        beyond_positions: Whether to answer prompts longer than the model was trained for, although nothing scales its
            positions. Evaluation measures what happens then. In a chat it is better to refuse.
    """

    def __init__(
        self,
        net: LanguageModel,
        max_batch_tokens: int = 65_536,
        prefill_tokens: int = 8_192,
        decode: Callable[[Sequence[int]], str] | None = None,
        beyond_positions: bool = True,
    ) -> None:
        self.net, self.max_batch_tokens, self.prefill_tokens = net, max_batch_tokens, prefill_tokens
        self.decode, self.beyond_positions = decode, beyond_positions
        self.layout = ColumnMajor()
        # Not at the end of the process, where nobody reads the weights any more.
        finalize(self, self.layout.restore).atexit = False

    def prepare(self) -> None:
        """Lay the weights out for decoding, as the first `generate` does. Last bits of losses depend on it."""
        self.layout.turn(self.net)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Completion]:
        """Answer every prompt.

        Args:
            prompts: Token ids of each, at least one.
            sampling: How to choose tokens and when to stop.
            on_token: Called with (prompt index, token id) as soon as a token is known.

        Raises:
            ValueError: If a prompt is empty or too long, or there are stop strings and no ``decode``.
        """
        if sampling.stop and self.decode is None:
            raise ValueError(f"stop={list(sampling.stop)} needs text: LocalEngine must have decode=tokenizer.decode.")
        check_prompts(prompts)
        longest, size = max(map(len, prompts), default=0) + sampling.max_new_tokens, self.net.size
        if not self.beyond_positions and size.rope_scaling == "none" and longest > size.max_positions:
            raise ValueError(
                f"The prompt and max_new_tokens={sampling.max_new_tokens} make {longest} tokens but the model was "
                f"trained for {size.max_positions}. Shorten them, or scale its positions with rope_scaling='dynamic'."
            )
        device = self.net.output.weight.device
        generator = None if sampling.seed is None else torch.Generator(device).manual_seed(sampling.seed)
        completions = [Completion() for _ in prompts]
        self.prepare()
        tokens = [len(prompt) + sampling.max_new_tokens for prompt in prompts]
        with as_written(self.net):
            for batch in of_like_length(tokens, self.max_batch_tokens):
                self._answer([(i, prompts[i]) for i in batch], sampling, generator, completions, on_token)
        return [Completion(c.ids, c.logprobs, "stop" if self._ends(c.ids, sampling) else "length") for c in completions]

    def stream(self, prompt: Sequence[int], sampling: Sampling, on_token: Callable[[int], None]) -> Completion:
        """Answer one prompt, and call ``on_token`` with each token id as soon as it is known."""
        return self.generate([prompt], sampling, lambda _, id_: on_token(id_))[0]

    def _ends(self, ids: list[int], sampling: Sampling) -> bool:
        if ids[-1] in sampling.stop_ids:
            return True
        if not sampling.stop:
            return False
        assert self.decode is not None
        # A token spells at least one byte, so a stop string is within as many tokens as it has bytes.
        tail = self.decode(ids[-max(len(string.encode()) for string in sampling.stop) :])
        return any(string in tail for string in sampling.stop)

    # Not in inference mode from the start: a strategy may gather weights in the first forward pass, and trains on them
    # afterwards.
    @torch.no_grad()
    def _answer(
        self,
        batch: list[tuple[int, Sequence[int]]],
        sampling: Sampling,
        generator: torch.Generator | None,
        completions: list[Completion],
        on_token: Callable[[int, int], None] | None,
    ) -> None:
        was_training = self.net.training
        self.net.eval()
        try:
            decoder = Decoder(self.net, [prompt for _, prompt in batch], sampling, generator, self.prefill_tokens)
            owners = [index for index, _ in batch]
            for _ in range(sampling.max_new_tokens):
                ids_B, logprobs_B = decoder.choose()
                for owner, id_ in zip(owners, ids_B.tolist(), strict=True):
                    completions[owner].ids.append(id_)
                    if on_token:
                        on_token(owner, id_)
                for owner, logprob in zip(owners, logprobs_B.tolist(), strict=True) if logprobs_B is not None else ():
                    completions[owner].logprobs.append(logprob)
                alive = [row for row, owner in enumerate(owners) if not self._ends(completions[owner].ids, sampling)]
                if not alive or len(completions[owners[0]].ids) == sampling.max_new_tokens:
                    return
                owners = [owners[row] for row in alive]
                with torch.inference_mode():
                    decoder.step(ids_B, alive)
        finally:
            self.net.train(was_training)


def engine_of(
    checkpoint: str,
    max_batch_tokens: int = 65_536,
    prefill_tokens: int = 8_192,
    rope_scaling: RopeScaling | None = None,
    rope_factor: float = 1.0,
) -> LocalEngine:
    """A local engine for a model folder. It refuses prompts beyond the trained length.

    Args:
        checkpoint: The model folder.
        max_batch_tokens: See `LocalEngine`.
        prefill_tokens: See `LocalEngine`.
        rope_scaling: A scaling instead of the model's own, see `ModelSize`.
        rope_factor: Strength of that scaling.

    Raises:
        FileNotFoundError: If the folder holds no model.
    """
    net = load_model(checkpoint)
    if rope_scaling is not None:
        net.set_positions(rope_scaling=rope_scaling, rope_factor=rope_factor)
    return LocalEngine(net, max_batch_tokens, prefill_tokens, load_tokenizer(checkpoint).decode, beyond_positions=False)


class Decoder:
    """The state of one batch that is being answered.

    Args:
        net: The network.
        prompts: Token ids of each row.
        sampling: How to choose tokens.
        generator: Source of randomness. None takes torch's global one.
        prefill_tokens: Prompt tokens computed at once.
    """

    def __init__(
        self,
        net: LanguageModel,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        generator: torch.Generator | None,
        prefill_tokens: int,
    ) -> None:
        self.net, self.sampling, self.generator = net, sampling, generator
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        device = net.output.weight.device
        prompts_BT = torch.zeros(len(prompts), longest, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            prompts_BT[row, : len(prompt)] = torch.as_tensor(prompt)
        prompts_BT, lengths_B = prompts_BT.to(device), torch.tensor(lengths, device=device)
        self.cache = KeyValueCache(net.size.layers, len(prompts), longest + sampling.max_new_tokens, device)
        self.cache.prompts_B = lengths_B
        self.logits_BV = self._prefill(prompts_BT, lengths_B, prefill_tokens)
        self.seen_BV: Tensor | None = None
        if sampling.repetition_penalty != 1:
            is_real = torch.arange(longest, device=device) < lengths_B[:, None]
            padded_BT = torch.where(is_real, prompts_BT, prompts_BT[:, :1])
            self.seen_BV = torch.zeros_like(self.logits_BV, dtype=torch.bool).scatter_(1, padded_BT, True)

    def _prefill(self, prompts_BT: Tensor, lengths_B: Tensor, prefill_tokens: int) -> Tensor:
        logits_BV = torch.empty(0)
        for start in range(0, prompts_BT.shape[1], prefill_tokens):
            chunk_BT = prompts_BT[:, start : start + prefill_tokens]
            B, T = chunk_BT.shape
            ends_B = lengths_B - 1 - start
            places_B = torch.arange(B, device=ends_B.device) * T + ends_B.clamp(0, T - 1)
            here_BV = self.net(chunk_BT, cache=self.cache, places_N=places_B)
            assert isinstance(here_BV, Tensor)
            is_here = (ends_B >= 0) & (ends_B < T)
            logits_BV = here_BV if start == 0 else torch.where(is_here[:, None], here_BV, logits_BV)
        self.cache.truncate(lengths_B)
        self.cache.prompts_B = None
        return logits_BV.float()

    def choose(self) -> tuple[Tensor, Tensor | None]:
        """Next token of each row and its log-probability where it is wanted, [B] each."""
        logits_BV = self.logits_BV
        if self.seen_BV is not None:
            logits_BV = penalise_repeats(logits_BV, self.seen_BV, self.sampling.repetition_penalty)
        return choose(logits_BV, self.sampling, self.generator)

    def step(self, ids_B: Tensor, alive: list[int]) -> None:
        """Feed the chosen tokens of the rows that are not finished.

        Args:
            ids_B: Chosen tokens of all rows, [B].
            alive: Indices of the rows that are not finished. The others leave the batch.
        """
        if self.seen_BV is not None:
            self.seen_BV.scatter_(1, ids_B[:, None], True)
        if len(alive) < len(ids_B):
            rows = torch.tensor(alive, device=ids_B.device)
            ids_B = ids_B[rows]
            self.cache.keep_rows(rows)
            self.seen_BV = self.seen_BV[rows] if self.seen_BV is not None else None
        logits_B1V = self.net(ids_B[:, None], cache=self.cache)
        assert isinstance(logits_B1V, Tensor)
        self.logits_BV = logits_B1V[:, 0].float()
