"""Means over sampled responses, by domain: what validation looks at.

A judge (here the simulated annotator) may look at every response. What it says enters these means and nothing else.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from internlm2_align.ppo.prompt import Prompt


class Judge(Protocol):
    """Judges a reply in text, in [0, 1]. Training never sees it."""

    def __call__(self, prompt: Prompt, reply: str) -> float:
        """1 is best."""
        ...


class SampleMeans:
    """Sums by domain of named figures, added up over batches and ranks.

    Args:
        domains: Known domains.
        names: Figures, in the order in which `add` gets them.
    """

    def __init__(self, domains: Sequence[str], names: Sequence[str]) -> None:
        self.domains, self.names = tuple(domains), tuple(names)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        # Plain numbers: validation runs in inference mode, whose tensors may not be added to outside of it.
        self.sums = [[0.0] * (len(self.names) + 1) for _ in self.domains]

    def add(self, domain: str, values: Sequence[float]) -> None:
        """Count one response."""
        row = self.domains.index(domain)
        self.sums[row] = [total + value for total, value in zip(self.sums[row], [*values, 1.0], strict=True)]

    def compute(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means over all responses as ``NAME``, and by domain seen as ``NAME/DOMAIN``.

        Args:
            reduce: Adds a tensor up over ranks.
        """
        sums = reduce(torch.tensor(self.sums, dtype=torch.float64))
        rows = {f"/{domain}": sums[index] for index, domain in enumerate(self.domains)} | {"": sums.sum(0)}
        return {
            f"{name}{suffix}": (row[place] / row[-1]).item()
            for suffix, row in rows.items()
            if row[-1] > 0
            for place, name in enumerate(self.names)
        }
