"""Has the model seen the test set? Loss on train, test and a look-alike reference set (report section 5).

delta1 = L_test - L_reference: low (negative) where the test set leaked into training.
delta2 = L_test - L_train: high where the model is over-fitted to the training set.
Published for the 7B model on GSM8K: 1.14 on train, 1.48 on test, 1.46 on the reference: 0.02 and 0.34.
"""

import math
from collections.abc import Sequence
from functools import partial
from statistics import stdev
from typing import Any, ClassVar

from internlm2_records import Record, conversation_of

from internlm2_core.evaluation.records import placed_records
from internlm2_core.evaluation.subject import LossSum, Scored, Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.text import ChatFormat

SETS = ("train", "test", "reference")


class Contamination:
    """Mean loss per token of three sets, and their differences.

    Args:
        train: Records that the model was trained on: documents (``text``) or conversations (``messages``, or any other
            form that `internlm2_records` reads).
        test: Records of the same kind that it should not have seen.
        reference: Records of the same kind that it cannot have seen, made to look like the test set.
        limit: Records of each set, spread evenly. None takes all.
        train_roles: Whose words count in a conversation.
    """

    kind: ClassVar[str] = "contamination"
    version: ClassVar[int] = 1

    def __init__(
        self,
        train: str,
        test: str,
        reference: str,
        limit: int | None = 500,
        train_roles: Sequence[str] = ("assistant",),
    ) -> None:
        self.paths = dict(zip(SETS, (train, test, reference), strict=True))
        self.limit, self.train_roles = limit, tuple(train_roles)

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Score the three sets."""
        figures: dict[str, Any] = {}
        for done, (name, path) in enumerate(self.paths.items()):
            progress(done, len(SETS))
            read = [placed.parse(partial(self._scored, subject)) for placed in placed_records(path, self.limit)]
            figures[name] = set_figures(subject.document_losses(read))
        progress(len(SETS), len(SETS))
        loss = {name: figures[name]["nats_per_token"] for name in SETS}
        deltas = {"delta1": loss["test"] - loss["reference"], "delta2": loss["test"] - loss["train"]}
        return Result({"sets": figures} | deltas)

    def _scored(self, subject: Subject, record: Record) -> Scored:
        if isinstance(text := record.get("text"), str) and "messages" not in record:
            begin = subject.tokenizer.begin
            ids = [*subject.tokenizer.encode(text), subject.tokenizer.special("</s>")]
            return Scored([*begin, *ids], [False] * len(begin) + [True] * len(ids))
        chat = ChatFormat(subject.tokenizer).encode(conversation_of(record), self.train_roles)
        return Scored(chat.ids, chat.loss_mask)


def set_figures(losses: Sequence[LossSum]) -> dict[str, Any]:
    """Mean loss per token of a set, and its standard error over documents (ratio estimator)."""
    tokens = sum(loss.tokens for loss in losses)
    mean = sum(loss.nats for loss in losses) / tokens
    residuals = [loss.nats - mean * loss.tokens for loss in losses]
    error = stdev(residuals) * math.sqrt(len(losses)) / tokens if len(losses) > 1 else None
    return {"nats_per_token": mean, "standard_error": error, "tokens": tokens, "documents": len(losses)}
