"""Logistic regression over hashed runs of one to three tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled.features import rows_of, score_all
from internlm2_data.dedup.signing import pack

DIMS = 1 << 20
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearClassifier:
    """Scores texts linearly.

    Attributes:
        targets: What it scores.
        weights: Float32 [dims, targets].
        biases: Float64 [targets].
        scales: Float64 [2, targets]: slope and shift that make scores probabilities (Platt).
    """

    targets: tuple[str, ...]
    weights: npt.NDArray[np.float32]
    biases: Numbers
    scales: Numbers

    def scores(self, texts: Sequence[str], batch: int = 256) -> Numbers:
        """See `Classifier`."""
        raw = self.raw_scores(texts)
        return 1 / (1 + np.exp(-(self.scales[0] * raw + self.scales[1])))

    def raw_scores(self, texts: Sequence[str]) -> Numbers:
        """Before scaling."""
        data, offsets = pack(texts)
        out = np.empty((len(texts), len(self.targets)))
        score_all(data, offsets, self.weights, self.biases, out)
        return out

    def save(self, folder: Path) -> None:
        """See `Classifier`."""
        used = np.flatnonzero(np.any(self.weights != 0, axis=1))
        np.savez_compressed(
            folder / "weights.npz",
            targets=np.array(self.targets),
            dims=np.array(len(self.weights)),
            used=used.astype(np.uint32),
            weights=self.weights[used],
            biases=self.biases,
            scales=self.scales,
        )

    @classmethod
    def load(cls, folder: Path) -> "LinearClassifier":
        """Read what `save` wrote."""
        with np.load(folder / "weights.npz", allow_pickle=False) as file:
            weights = np.zeros((int(file["dims"]), len(file["targets"])), np.float32)
            weights[file["used"]] = file["weights"]
            return cls(tuple(map(str, file["targets"])), weights, file["biases"], file["scales"])


def fit_linear(
    texts: Sequence[str],
    labels: Numbers,
    targets: Sequence[str],
    validation: tuple[Sequence[str], Numbers],
    penalties: Sequence[float] = (3.0, 30.0),
    dims: int = DIMS,
) -> LinearClassifier:
    """Fit one logistic regression a target. The penalty is the one with the best average precision on validation.

    Args:
        texts: To train on.
        labels: 0 or 1, [texts, targets].
        targets: Their names.
        validation: Texts and labels to choose the penalty and the scales on.
        penalties: Inverse strengths to choose from.
        dims: Size of the hashed space.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    train, held = (_matrix(part, dims, csr_matrix) for part in (texts, validation[0]))
    weights = np.zeros((dims, len(targets)), np.float32)
    biases, scales = np.zeros(len(targets)), np.ones((2, len(targets)))
    for target in range(len(targets)):
        truth, best = validation[1][:, target], (-1.0, None)
        for penalty in penalties:
            model = LogisticRegression(
                C=penalty, class_weight="balanced", solver="liblinear", max_iter=200, random_state=0
            ).fit(train, labels[:, target])
            score = float(average_precision_score(truth, model.decision_function(held)))
            best = max(best, (score, model), key=lambda pair: pair[0])
        model = best[1]
        assert model is not None
        weights[:, target], biases[target] = model.coef_[0], model.intercept_[0]
        platt = LogisticRegression(C=1e6).fit(model.decision_function(held)[:, None], truth)
        scales[:, target] = platt.coef_[0, 0], platt.intercept_[0]
    return LinearClassifier(tuple(targets), weights, biases, scales)


def _matrix(texts: Sequence[str], dims: int, matrix: type) -> object:
    data, offsets = pack(texts)
    extents, columns, values = rows_of(data, offsets, dims)
    return matrix((values, columns.astype(np.int32), extents), shape=(len(texts), dims))
