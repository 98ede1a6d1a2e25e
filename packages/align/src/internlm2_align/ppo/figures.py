"""Figures of a rollout: sums that ranks can add up, and the means that are logged of them.

Shape suffixes: B responses, R response tokens (padded on the right).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from internlm2_align.ppo.rewards import token_kl
from internlm2_align.ppo.rollout import Rollout

WORDS = 4
"""Tokens in a row that count as said again."""


def sums_of(rollout: Rollout) -> dict[str, Tensor]:
    """Scalars in float64, each a sum over responses or tokens. Added up over ranks they give `figures`."""
    mask = rollout.mask
    returns_N, errors_N = rollout.returns[mask].double(), (rollout.returns - rollout.values)[mask].double()
    computed_N = rollout.computed[:, None].expand_as(mask)[mask]
    lengths_B = mask.sum(1).double()
    replies = rollout.responses.responses
    found = {
        "responses": torch.tensor(len(rollout.scores)),
        "tokens": mask.sum(),
        "scores": rollout.scores.sum(),
        "finished": rollout.finished.sum(),
        "squared_lengths": lengths_B.square().sum(),
        "repetition": torch.tensor(sum(map(repetition, replies))),
        "entropy": rollout.entropies[mask][computed_N].sum(),
        "computed": computed_N.sum(),
        "returns": returns_N.sum(),
        "squared_returns": returns_N.square().sum(),
        "errors": errors_N.sum(),
        "squared_errors": errors_N.square().sum(),
    }
    for estimator in ("k1", "k2", "k3"):
        found[estimator] = token_kl(rollout.logprobs, rollout.reference_logprobs, mask, estimator).double().sum()
    if rollout.engine_gaps is not None:
        gaps_N = rollout.engine_gaps[mask][computed_N].double()
        found |= {"engine_gap": gaps_N.abs().sum(), "engine_ratio": gaps_N.exp().sum()}
    return {name: value.double().to(mask.device) for name, value in found.items()}


def repetition(ids: Sequence[int]) -> float:
    """Share of the runs of four tokens of a response that it has said before. 0 where it is shorter.

    Args:
        ids: Token ids of the response.
    """
    runs = [tuple(ids[start : start + WORDS]) for start in range(len(ids) - WORDS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def figures(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Means to log, of the responses of all ranks. `docs/ppo.md` has a table of them.

    Args:
        sums: Those of `sums_of`, added up over ranks, or averaged.
    """
    responses, tokens, computed = sums["responses"], sums["tokens"], sums["computed"]
    variance = sums["squared_returns"] / tokens - (sums["returns"] / tokens).square()
    unexplained = sums["squared_errors"] / tokens - (sums["errors"] / tokens).square()
    length = tokens / responses
    found = {
        "reward": sums["scores"] / responses,
        "kl": sums["k1"] / responses,
        "kl_k2": sums["k2"] / responses,
        "kl_k3": sums["k3"] / responses,
        "length": length,
        "length_deviation": (sums["squared_lengths"] / responses - length.square()).clamp(min=0).sqrt(),
        "finished": sums["finished"] / responses,
        "repetition": sums["repetition"] / responses,
        "entropy": sums["entropy"] / computed,
        "return": sums["returns"] / tokens,
        "explained_variance": 1 - unexplained / variance.clamp(min=1e-8),
    }
    if "engine_gap" in sums:
        found |= {
            "engine_mismatch": sums["engine_gap"] / computed,
            "engine_ratio": sums["engine_ratio"] / computed,
        }
    return {name: value.item() for name, value in found.items()}
