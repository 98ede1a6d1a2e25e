"""Our model as lm-eval knows models: log-likelihoods, rolling log-likelihoods and generation, over a `Subject`.

Text becomes tokens as in lm-eval's own model for Transformers, so that figures compare: context and continuation are
encoded together and parted, what is too long loses its beginning, and documents are cut into windows of the trained
length. Text that spells a special token stays text, but for the chat format's own.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from internlm2_records import Message
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from internlm2_core.evaluation.harness.prompts import ChatText
from internlm2_core.evaluation.likelihood import Continuation
from internlm2_core.evaluation.subject import Scored, Subject
from internlm2_core.generation import Sampling
from internlm2_core.text.tokenizer import special_ids

MAX_NEW_TOKENS = 256
"""Tokens of an answer where a task does not say, as in lm-eval."""

LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names that tasks give to the most tokens of an answer."""

PASSED = ("top_p", "top_k", "repetition_penalty")
"""Settings of tasks that `Sampling` has under the same name."""

IGNORED = {"do_sample", "temperature", "until", "num_beams"}
"""Settings that are read apart."""

Asked = Callable[[str, int, int], None]
"""Called with the kind of request, how many are answered, and how many there are."""


def nobody(kind: str, done: int, total: int) -> None:
    """Tell nobody.

    Args:
        kind: Kind of request.
        done: How many are answered.
        total: How many there are.
    """


class HarnessModel(TemplateLM):
    """A `Subject` as lm-eval's ``LM``.

    Args:
        subject: The model.
        max_length: Tokens that the model reads. None takes its trained length.
        seed: Seed of what is drawn where a task samples.
        prefix: Name of the token before text that nothing comes before. None takes ``<s>``, or ``</s>`` without it.
        chat: Whether prompts are conversations, in which `apply_chat_template` has spelt out tokens.
        told: Called as answers come.
    """

    def __init__(
        self,
        subject: Subject,
        max_length: int | None = None,
        seed: int = 1,
        prefix: str | None = None,
        chat: bool = False,
        told: Asked = nobody,
    ) -> None:
        super().__init__()
        self.subject, self.seed, self.told, self.has_chat = subject, seed, told, chat
        self.max_length = max_length or subject.net.size.max_positions
        self.special = special_ids(subject.tokenizer)
        self.chat = ChatText(self.special)
        self.prefix = self.special[prefix] if prefix else self.special.get("<s>", self.special["</s>"])
        self.ends = tuple(self.special[name] for name in ("</s>", "<|im_end|>") if name in self.special)
        # A question is encoded again for each of its choices.
        self._encoded = lru_cache(maxsize=8)(self._encode)

    @property
    def eot_token_id(self) -> int:
        """Id of the token that ends a text."""
        return self.special["</s>"]

    @property
    def prefix_token_id(self) -> int:
        """Id of the token before text that nothing comes before."""
        return self.prefix

    @property
    def tokenizer_name(self) -> str:
        """Where the tokenizer comes from."""
        return str(self.subject.tokenizer.path)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Name of the chat format."""
        return "ChatML" if chat_template else None

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """A conversation as text in which the chat format's tokens are spelt out.

        Args:
            chat_history: The turns.
            add_generation_prompt: Open an assistant turn at the end. Without it the last turn is left open.
        """
        return self.chat.spelt(chat_history, add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a prompt, behind the ids that every text begins with.

        Args:
            string: The prompt. Tokens of the chat format may be spelt out by `apply_chat_template`.
            add_special_tokens: False leaves out what every text begins with.
            kwargs: Not used.
        """
        ids = self._encoded(string)
        return [*(() if add_special_tokens is False else self.subject.tokenizer.begin), *ids]

    def _encode(self, string: str) -> tuple[int, ...]:
        encode = self.subject.tokenizer.encode
        return tuple(self.chat.encode(string, encode) if self.has_chat else encode(string))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether the model would say it.

        Args:
            requests: Contexts and continuations.
            disable_tqdm: Show no bar.
        """
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return answers

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        asked: list[Continuation] = []
        for (_, words), context, ids in requests:
            if not 0 < len(ids) <= self.max_length:
                raise ValueError(
                    f"The continuation {words[:80]!r} has {len(ids)} tokens, but must have 1 to {self.max_length}."
                )
            kept = (context + ids)[-(self.max_length + 1) :]
            asked.append(Continuation(kept[: -len(ids)], ids))
        found = self.subject.likelihoods(asked, lambda done: self.told("continuations", done, len(asked)))
        return [(likelihood.logprob, likelihood.is_greedy) for likelihood in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of each document, in windows that do not overlap.

        Args:
            requests: Documents.
            disable_tqdm: Show no bar.
        """
        owners: list[int] = []
        windows: list[Scored] = []
        for index, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            for pair in get_rolling_token_windows(ids, self.prefix, self.max_length, 1):
                context, scored = make_disjoint_window(pair)
                windows.append(Scored([*context, *scored], [False] * len(context) + [True] * len(scored)))
                owners.append(index)
        losses = self.subject.document_losses(windows, lambda done: self.told("windows", done, len(windows)))
        sums = [0.0] * len(requests)
        for owner, loss in zip(owners, losses, strict=True):
            sums[owner] -= loss.nats
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """An answer to each prompt, without the string that ended it.

        Args:
            requests: Prompts and how to answer them.
            disable_tqdm: Show no bar.
        """
        groups: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            groups[json.dumps(request.args[1], sort_keys=True)].append(index)
        answers, before = [""] * len(requests), 0
        for settings, members in groups.items():
            sampling, strings = self._sampling(json.loads(settings))
            room = self.max_length - sampling.max_new_tokens
            if room < 1:
                raise ValueError(
                    f"max_gen_toks={sampling.max_new_tokens} must be below max_length={self.max_length}, the tokens "
                    "that the model reads."
                )
            prompts = [self.tok_encode(requests[index].args[0])[-room:] for index in members]
            told = lambda done, before=before: self.told("answers", before + done, len(requests))  # noqa: E731
            for index, ids in zip(members, self.subject.answers(prompts, sampling, told), strict=True):
                answers[index] = self._text(ids, strings)
            before += len(members)
        return answers

    def _sampling(self, settings: Mapping[str, Any]) -> tuple[Sampling, list[str]]:
        until = settings.get("until") or []
        strings = [string for string in ([until] if isinstance(until, str) else until) if string]
        limits = [int(settings[name]) for name in LIMITS if settings.get(name) is not None]
        unknown = {name for name in settings if name not in (*LIMITS, *PASSED, *IGNORED)}
        if unknown or settings.get("num_beams", 1) != 1:
            names = ", ".join(sorted(unknown or {"num_beams"}))
            raise ValueError(f"A task sets {names} for its answers, which engines here do not have.")
        does_sample = settings.get("do_sample", float(settings.get("temperature") or 0) > 0)
        sampling = Sampling(
            max_new_tokens=limits[0] if limits else MAX_NEW_TOKENS,
            temperature=float(settings.get("temperature") or 1.0) if does_sample else 0.0,
            stop_ids=tuple(dict.fromkeys((*self.ends, *(self.special[s] for s in strings if s in self.special)))),
            stop=tuple(string for string in strings if string not in self.special),
            seed=self.seed if does_sample else None,
            **({name: settings[name] for name in PASSED if name in settings} if does_sample else {}),
        )
        return sampling, strings

    def _text(self, ids: Sequence[int], strings: Sequence[str]) -> str:
        hidden = set(self.special.values())
        text = self.subject.tokenizer.decode([id_ for id_ in ids if id_ not in hidden])
        for string in strings:
            text = text.partition(string)[0]
        return text
