"""EndpointAnnotator: a model behind an OpenAI-compatible chat endpoint judges."""

import math
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from internlm2_align.labelling.annotator import Answer, Failure, now
from internlm2_align.labelling.client import AskError, ChatClient
from internlm2_align.labelling.rubrics import asked, load_rubrics, verdict_in
from internlm2_align.preferences.comparison import Comparison, Judgement

WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]")
ANSWER_TOKENS = 60
"""A reason of one sentence and a verdict, for the estimate."""
MOST_LOST = 20
"""Comparisons in a row that the endpoint could not be reached for, after which the others are not tried."""


class EndpointAnnotator:
    """Judges by the rubric of the domain, each pair in both orders. Two verdicts that differ are a tie.

    Models prefer what they see first, or last. A preference that does not survive the other order is none.

    Args:
        base_url: Address, such as ``http://127.0.0.1:8000/v1``.
        model: Name of the model.
        key_variable: Environment variable that holds the key. None sends none.
        rubrics: YAML of your own, see `load_rubrics`. None takes the built-in ones.
        max_requests: Requests of one run, two for each comparison. Where more are needed, nothing is asked. Repeated
            ones count when they are sent.
        concurrency: Comparisons that are asked at once.
        price_in: Price of a million tokens that are read, for the estimate.
        price_out: Price of a million tokens that are written.
        retries: Times that a request is repeated.
        first_wait_s: Seconds before the first repetition. Each later one waits twice as long.
        timeout_s: Seconds without an answer after which a request has failed.
        max_tokens: Tokens of an answer at most.

    Raises:
        ValueError: If a number is out of range, the address is not one of HTTP, or the variable holds no key.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        key_variable: str | None = "OPENAI_API_KEY",
        rubrics: str | Path | None = None,
        max_requests: int = 1000,
        concurrency: int = 8,
        price_in: float | None = None,
        price_out: float | None = None,
        retries: int = 5,
        first_wait_s: float = 1.0,
        timeout_s: float = 120.0,
        max_tokens: int = 512,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency} must be 1 or more.")
        self.client = ChatClient(
            base_url, model, key_variable, max_requests, retries, first_wait_s, timeout_s, max_tokens
        )
        self.rubrics, self.concurrency = load_rubrics(rubrics), concurrency
        self.price_in, self.price_out = price_in, price_out

    @property
    def name(self) -> str:
        """Model and address."""
        return f"{self.client.model} at {self.client.base_url}"

    def judge(self, comparisons: Sequence[Comparison], folder: Path) -> Iterator[Answer]:
        """Judge at once, many at a time. Says first what it will take.

        A comparison without an answer fails with the reason of `ChatClient.ask`, as ``no_rubric`` where none is known
        for its domain, and as ``no_verdict`` where an answer holds none.

        Args:
            comparisons: Those to judge.
            folder: Nothing is kept there.

        Raises:
            ValueError: If more requests are needed than are allowed, or the endpoint refuses all or is gone.
        """
        if not comparisons:
            return
        able = [comparison for comparison in comparisons if comparison.domain in self.rubrics.domains]
        estimate = self.estimate(able)
        if 2 * len(able) > self.client.max_requests:
            raise ValueError(f"max_requests={self.client.max_requests} is too few. {estimate} Nothing was asked.")
        print(estimate, flush=True)
        for comparison in comparisons:
            if comparison.domain not in self.rubrics.domains:
                detail = f"There is no rubric for {comparison.domain}. Known are {', '.join(self.rubrics.domains)}."
                yield Failure(comparison.id, "no_rubric", self.name, now(), detail)
        self.client.sent = 0
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            in_a_row = 0
            for done in as_completed([pool.submit(self._judge, comparison) for comparison in able]):
                answer = done.result()
                yield answer
                is_lost = isinstance(answer, Failure) and answer.reason == "unreachable"
                in_a_row = in_a_row + 1 if is_lost else 0
                if isinstance(answer, Failure) and in_a_row == MOST_LOST:
                    raise ValueError(f"base_url={self.client.base_url} cannot be reached: {answer.detail}.")
        finally:
            pool.shutdown(cancel_futures=True)

    def estimate(self, comparisons: Sequence[Comparison]) -> str:
        """What some comparisons will take, in a sentence.

        Tokens are counted as a quarter of the characters, and one for each Chinese, Japanese or Korean one.

        Args:
            comparisons: To be asked, each twice.
        """
        tokens_in = 2 * sum(
            tokens(turn["content"]) for each in comparisons for turn in asked(each, self.rubrics, False)
        )
        tokens_out = 2 * ANSWER_TOKENS * len(comparisons)
        cost = ""
        if self.price_in is not None and self.price_out is not None:
            cost = f", at a cost of about {(tokens_in * self.price_in + tokens_out * self.price_out) / 1e6:.2f}"
        return (
            f"{self.name} judges {len(comparisons)} comparisons with {2 * len(comparisons)} requests, about "
            f"{tokens_in} tokens in and {tokens_out} out{cost}."
        )

    def _judge(self, comparison: Comparison) -> Answer:
        raw: list[str] = []
        verdicts = []
        for turned in (False, True):
            try:
                raw.append(self.client.ask(asked(comparison, self.rubrics, turned)))
            except AskError as error:
                return Failure(comparison.id, error.reason, self.name, now(), str(error), {"raw": raw})
            if (verdict := verdict_in(raw[-1], turned)) is None:
                detail = f"no verdict in {raw[-1][:200]!r}"
                return Failure(comparison.id, "no_verdict", self.name, now(), detail, {"raw": raw})
            verdicts.append(verdict)
        meta = {"raw": raw, "verdicts": verdicts}
        if verdicts[0] != verdicts[1]:
            remark = "The two orders disagree."
            return Judgement(comparison.id, "tie", self.name, now(), remark=remark, meta=meta)
        return Judgement(comparison.id, verdicts[0], self.name, now(), meta=meta)


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    wide = len(WIDE.findall(text))
    return wide + math.ceil((len(text) - wide) / 4)
