"""A BERT with a head of one number a target, fine-tuned (report section 3.1.1). Needs the extra `transformer`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from internlm2_records.progress import LineProgress

from internlm2_data.classifiers.splits import Split
from internlm2_data.document import content_id
from internlm2_data.fingerprint import fingerprint


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

    After each epoch it saves itself. Started again on the same texts with the same settings, it resumes there.

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

    def __call__(self, train: Split, validation: Split, targets: Sequence[str], folder: Path) -> TransformerClassifier:
        """Fit it.

        Args:
            train: Texts to train on, and their labels.
            validation: Texts that say which epoch is best.
            targets: Names of the labels.
            folder: Where it keeps ``epoch.pt`` meanwhile.
        """
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
        work = fingerprint(
            self, list(targets), *(content_id(*texts, str(labels.tolist())) for texts, labels in (train, validation))
        )
        Training(self, made, folder / "epoch.pt", work).run(train, validation)
        return made


class Training:
    """Epochs of a fine-tuning, each saved when it is done.

    Args:
        settings: How to train.
        made: What is trained.
        file: Where to save.
        work: Fingerprint of settings and texts, by which a saved epoch is known to be of this training.
    """

    def __init__(self, settings: FitTransformer, made: TransformerClassifier, file: Path, work: str) -> None:
        self.settings, self.made, self.file, self.work = settings, made, file, work
        self.epoch, self.best = 0, float("inf")
        self.kept: dict[str, Any] = {}

    def run(self, train: Split, validation: Split) -> None:
        """Train to the end, and leave the best weights in the model.

        Args:
            train: Texts to train on, and their labels.
            validation: Texts that say which epoch is best.
        """
        import torch

        settings, model = self.settings, self.made.model
        batches = -(-len(train[0]) // settings.batch_size)
        steps = settings.epochs * batches
        warmup = max(1, steps // 10)
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        )
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        self._resume(parts)
        with LineProgress() as progress:
            for epoch in range(self.epoch, settings.epochs):
                task = progress.add_task(f"epoch {epoch + 1} of {settings.epochs}", total=batches)
                model.train()
                torch.manual_seed(settings.seed + epoch)
                for places in _batches(len(train[0]), settings.batch_size, settings.seed + epoch):
                    loss = _loss(self.made, train, places)
                    optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
                    progress.advance(task)
                self._judge(_validation_loss(self.made, validation))
                self._save(parts)
        model.load_state_dict(self.kept)
        self.file.unlink()

    def _judge(self, value: float) -> None:
        self.epoch += 1
        print(f"epoch {self.epoch} of {self.settings.epochs}: validation loss {value:.4f}")
        if value < self.best:
            weights = self.made.model.state_dict()
            self.best, self.kept = value, {name: tensor.detach().clone() for name, tensor in weights.items()}

    def _save(self, parts: Mapping[str, Any]) -> None:
        import torch

        states = {name: part.state_dict() for name, part in parts.items()}
        saved = {"work": self.work, "epoch": self.epoch, "best": self.best, "kept": self.kept, **states}
        part = self.file.with_name(self.file.name + ".part")
        torch.save(saved, part)
        part.replace(self.file)

    def _resume(self, parts: Mapping[str, Any]) -> None:
        import torch

        if not self.file.is_file():
            return
        saved = torch.load(self.file, map_location=self.made.model.device, weights_only=True)
        if saved["work"] != self.work:
            print(f"{self.file} is of other texts or settings: trains from the beginning.")
            return
        print(f"Resumes after epoch {saved['epoch']} of {self.settings.epochs}.")
        self.epoch, self.best, self.kept = saved["epoch"], saved["best"], saved["kept"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])


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
