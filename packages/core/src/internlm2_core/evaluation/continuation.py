"""Loss of texts after contexts, for filters that ask how much one text helps to predict the next."""

from collections.abc import Sequence
from pathlib import Path

import torch

from internlm2_core.checkpoint import load_model
from internlm2_core.evaluation.subject import Scored, Subject
from internlm2_core.generation import LocalEngine
from internlm2_core.text import load_tokenizer


class ContinuationLoss:
    """Scores texts with a language model. It loads the model when it is first asked, and pickles without it.

    Args:
        checkpoint: A model folder.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        batch_tokens: Tokens scored at once, padding included.
        max_tokens: The most tokens of context and text together. What is more is cut from the beginning of the context
            and from the end of the text. None takes the model's trained length.

    Raises:
        FileNotFoundError: If the folder is not there.
    """

    def __init__(
        self, checkpoint: str, device: str = "auto", batch_tokens: int = 16_384, max_tokens: int | None = None
    ) -> None:
        folder = Path(checkpoint)
        if not folder.is_dir():
            raise FileNotFoundError(f"checkpoint={checkpoint} is not a model folder.")
        self.checkpoint, self.max_tokens = checkpoint, max_tokens
        # Another model in the same folder is another scorer.
        stamps = sorted((path.name, path.stat()) for path in folder.iterdir())
        self.files = [(name, stamp.st_size, stamp.st_mtime_ns) for name, stamp in stamps]
        self._device, self._batch_tokens = device, batch_tokens
        self._subject: Subject | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_subject": None}

    def losses(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
        """Nats of each text after its context, and how many of its tokens were predicted.

        The first token of a text is not counted, so that the same tokens count with and without a context.

        Args:
            pairs: Context, which may be empty, and text.
        """
        if self._subject is None:
            self._subject = self._loaded()
        documents = [self._scored(self._subject, *pair) for pair in pairs]
        long = [number for number, document in enumerate(documents) if any(document.counts[1:])]
        sums: list[tuple[float, int]] = [(0.0, 0)] * len(documents)
        for number, (nats, tokens) in zip(
            long, self._subject.document_losses([documents[number] for number in long]), strict=True
        ):
            sums[number] = (nats, tokens)
        return sums

    def _loaded(self) -> Subject:
        device = self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        net = load_model(self.checkpoint).to(device).eval()
        return Subject(net, load_tokenizer(self.checkpoint), LocalEngine(net), self._batch_tokens)

    def _scored(self, subject: Subject, context: str, text: str) -> Scored:
        begin, ids = subject.tokenizer.begin, subject.tokenizer.encode(text)
        limit = (self.max_tokens or subject.net.size.max_positions) - len(begin)
        ids = ids[:limit]
        before = subject.tokenizer.encode(context) if context else []
        before = [*begin, *before[max(0, len(before) + len(ids) - limit) :]]
        counts = [False] * (len(before) + 1) + [True] * (len(ids) - 1)
        return Scored([*before, *ids], counts[: len(before) + len(ids)])
