"""A BERT with a head of one number a target, fine-tuned (report section 3.1.1). Needs the extra `transformer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Split = tuple[list[str], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class TransformerClassifier:
    """Scores texts with a Transformers model.

    Attributes:
        targets: What it scores.
        model: A sequence classification model with a logit a target.
        tokenizer: Its tokenizer.
        max_tokens: Longer texts are cut.
    """

    targets: tuple[str, ...]
    model: Any
    tokenizer: Any
    max_tokens: int = 512

    def scores(self, texts: Sequence[str], batch: int = 32) -> npt.NDArray[np.float64]:
        """See `Classifier`."""
        import torch

        self.model.eval()
        # Texts of like length together: padding is what costs.
        order = np.argsort([len(text) for text in texts], kind="stable")
        out = np.empty((len(texts), len(self.targets)))
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                places = order[start : start + batch]
                out[places] = torch.sigmoid(self.logits([texts[i] for i in places])).double().cpu().numpy()
        return out

    def logits(self, texts: Sequence[str]) -> Any:
        """Logits [texts, targets] on the model's device."""
        inputs = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt"
        )
        return self.model(**inputs.to(self.model.device)).logits

    def save(self, folder: Path) -> None:
        """See `Classifier`."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> "TransformerClassifier":
        """Read what `save` wrote. Code that comes with a model is not run."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        names = [model.config.id2label[i] for i in range(model.config.num_labels)]
        return cls(tuple(names), model, tokenizer, int(model.config.max_position_embeddings))


@dataclass(frozen=True)
class FitTransformer:
    """Fine-tunes a BERT. Of its epochs the one with the least validation loss is kept.

    Attributes:
        base: Folder or name of a pretrained model.
        epochs: Passes over the texts.
        batch_size: Texts of a step.
        learning_rate: Peak. Warm-up over a tenth of the steps, then linear decay.
        max_tokens: Longer texts are cut.
        seed: Of order and head.
    """

    base: str
    epochs: int = 2
    batch_size: int = 32
    learning_rate: float = 5e-5
    max_tokens: int = 512
    seed: int = 0

    def __call__(self, train: Split, validation: Split, targets: Sequence[str]) -> TransformerClassifier:
        """Fit it."""
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        torch.manual_seed(self.seed)
        names = dict(enumerate(targets))
        model = AutoModelForSequenceClassification.from_pretrained(
            self.base,
            num_labels=len(targets),
            problem_type="multi_label_classification",
            id2label=names,
            label2id={name: number for number, name in names.items()},
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
        )
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        tokenizer = AutoTokenizer.from_pretrained(self.base, trust_remote_code=False)
        limit = min(self.max_tokens, int(model.config.max_position_embeddings))
        made = TransformerClassifier(tuple(targets), model, tokenizer, limit)
        self._train(made, train, validation)
        return made

    def _train(self, made: TransformerClassifier, train: Split, validation: Split) -> None:
        import torch

        optimizer = torch.optim.AdamW(made.model.parameters(), lr=self.learning_rate, weight_decay=0.01)
        steps = self.epochs * -(-len(train[0]) // self.batch_size)
        warmup = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        )
        best, kept = float("inf"), {}
        for epoch in range(self.epochs):
            made.model.train()
            for places in _batches(len(train[0]), self.batch_size, self.seed + epoch):
                loss = _loss(made, train, places)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(made.model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
            value = _validation_loss(made, validation)
            if value < best:
                best, kept = value, {name: tensor.detach().clone() for name, tensor in made.model.state_dict().items()}
        made.model.load_state_dict(kept)


def _batches(count: int, size: int, seed: int) -> list[npt.NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(count)
    return [order[start : start + size] for start in range(0, count, size)]


def _loss(made: TransformerClassifier, split: Split, places: npt.NDArray[np.int64]) -> Any:
    import torch

    truth = torch.tensor(split[1][places], dtype=torch.float32, device=made.model.device)
    logits = made.logits([split[0][i] for i in places])
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), truth)


def _validation_loss(made: TransformerClassifier, split: Split) -> float:
    scores = np.clip(made.scores(split[0]), 1e-6, 1 - 1e-6)
    return float(-(split[1] * np.log(scores) + (1 - split[1]) * np.log(1 - scores)).mean())
