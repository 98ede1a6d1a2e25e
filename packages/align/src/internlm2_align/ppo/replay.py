"""An iteration once more, from what was stored of it: the same arithmetic, other networks, the best and worst replies.

Shape suffixes: B responses, R response tokens (padded on the right).
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from internlm2_core.nn.language_model import LanguageModel
from torch import Tensor

from internlm2_align.ppo.advantages import gae
from internlm2_align.ppo.losses import policy_loss, value_loss
from internlm2_align.ppo.responses import token_logprobs
from internlm2_align.ppo.rewards import token_rewards
from internlm2_align.ppo.rollout import Forward
from internlm2_align.ppo.store import Stored
from internlm2_align.reward.scoring import Scorer


def advantages_again(stored: Stored, scores_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Advantages and returns, [B, R] each, computed anew.

    Args:
        stored: The iteration.
        scores_B: Other scores, [B]. None takes the stored ones.
    """
    settings, mask_BR = stored.about["settings"], stored.responses.mask()
    rewards_BR = token_rewards(
        stored.scores if scores_B is None else scores_B,
        stored.padded("logprobs"),
        stored.padded("reference_logprobs"),
        mask_BR,
        kl_coefficient=stored.about["figures"].get("train/kl_coefficient", settings["kl_coefficient"]),
        kl_estimator=settings["kl_estimator"],
    )
    return gae(rewards_BR, stored.padded("values"), mask_BR, gamma=settings["gamma"], lam=settings["lam"])


def losses_again(stored: Stored, scores_B: Tensor | None = None) -> dict[str, Any]:
    """What the arithmetic of the iteration gives now, beside what was stored and logged.

    Losses are those of the first step, in which the policy is still the one that sampled. With one step an iteration
    they are the logged ones.

    Args:
        stored: The iteration.
        scores_B: Other scores, [B]. None takes the stored ones.

    Returns:
        ``{"policy_loss", "value_loss", "reward"}`` now, ``logged`` as far as they can be compared, and the largest
        ``difference`` of an advantage and a return from the stored ones.
    """
    advantages_BR, returns_BR = advantages_again(stored, scores_B)
    mask_BR, logprobs_BR = stored.responses.mask(), stored.padded("logprobs")
    tokens, clip = stored.responses.tokens, stored.about["settings"]["clip"]
    policy = policy_loss(logprobs_BR, logprobs_BR, advantages_BR, mask_BR, tokens=tokens, clip=clip)
    value = value_loss(stored.padded("values"), returns_BR, mask_BR, tokens=tokens)
    settings, figures = stored.about["settings"], stored.about["figures"]
    is_one_step = settings["mini_batches"] * settings["epochs"] == 1
    names = ("reward", "policy_loss", "value_loss") if is_one_step else ("reward",)
    scores = stored.scores if scores_B is None else scores_B
    return {
        "reward": float(scores.mean()),
        "policy_loss": float(policy),
        "value_loss": float(value),
        "logged": {name: figures[f"train/{name}"] for name in names if f"train/{name}" in figures},
        "difference": {
            "advantages": float((advantages_BR - stored.padded("advantages")).abs().max()),
            "returns": float((returns_BR - stored.padded("returns")).abs().max()),
        },
    }


def scores_again(stored: Stored, scorer: Scorer) -> Tensor:
    """Scores of the stored replies by another reward model, penalties included, [B].

    Args:
        stored: The iteration.
        scorer: The other model. It must know the domains.

    Raises:
        UnknownDomainError: If it does not.
    """
    groups = [
        scorer.encoder.group(json.loads(row["prompt"]), [row["reply"]], row["domain"], row["language"])
        for row in stored.rows
    ]
    found = torch.tensor([score for (score,) in scorer.scores(groups)])
    is_cut_B = torch.tensor([not row["finished"] for row in stored.rows])
    return found - stored.about["settings"]["truncation_penalty"] * is_cut_B


def scores_compared(stored: Stored, scores_B: Tensor) -> dict[str, float]:
    """How two reward models differ on the same replies.

    Args:
        stored: The iteration, with the scores of the one.
        scores_B: Of the other, [B].

    Returns:
        Means of both, the mean ``difference`` without sign, and the share of ``pairs_turned``: of all pairs of replies
        with other scores, those that the other model orders the other way round.
    """
    before_B = stored.scores
    turned_BB = (before_B[:, None] - before_B) * (scores_B[:, None] - scores_B) < 0
    pairs = (before_B[:, None] != before_B).sum()
    return {
        "before": float(before_B.mean()),
        "now": float(scores_B.mean()),
        "difference": float((scores_B - before_B).abs().mean()),
        "pairs_turned": float(turned_BB.sum() / pairs.clamp(min=1)),
    }


@torch.no_grad()
def logprobs_compared(stored: Stored, actor: LanguageModel, micro_batch_tokens: int = 16_384) -> dict[str, float]:
    """How far an actor is from the one that sampled, in nats per token.

    Args:
        stored: The iteration.
        actor: Such as the snapshot of the iteration before, which should not be off at all.
        micro_batch_tokens: Tokens computed at once.
    """
    temperature = stored.about["temperature"]
    forward = Forward(stored.responses, micro_batch_tokens, actor.output.weight.device)
    [logprobs_BR] = forward(actor, lambda net, packed: token_logprobs(net, packed, temperature))
    gaps = (logprobs_BR.cpu() - stored.padded("logprobs"))[stored.responses.mask()].abs()
    return {"mean": float(gaps.mean()), "largest": float(gaps.max())}


def extremes(stored: Stored, count: int, scores_B: Tensor | None = None) -> list[tuple[str, Any]]:
    """The best and the worst replies, the best first, as (word, row) pairs.

    Args:
        stored: The iteration.
        count: Of each.
        scores_B: Order by these, [B]. None takes the stored ones.
    """
    order = (stored.scores if scores_B is None else scores_B).argsort(descending=True, stable=True).tolist()
    count = min(count, len(order) // 2 or 1)
    best, worst = order[:count], order[count:][-count:]
    return [("best", stored.rows[row]) for row in best] + [("worst", stored.rows[row]) for row in worst]


HEADER = ("", "score", "domain", "tokens", "prompt", "reply")


def table_rows(chosen: Sequence[tuple[str, Any]], width: int = 200) -> list[list[str]]:
    """Cells under `HEADER`.

    Args:
        chosen: From `extremes`.
        width: Most letters of a prompt or a reply.
    """

    def short(text: str) -> str:
        line = " ".join(text.split())
        return line if len(line) <= width else f"{line[: width - 1]}…"

    def asked(row: Any) -> str:
        return short(json.loads(row["prompt"])[-1]["content"]) if json.loads(row["prompt"]) else ""

    return [
        [word, f"{row['score']:+.2f}", row["domain"], str(len(row["reply_ids"])), asked(row), short(row["reply"])]
        for word, row in chosen
    ]


HARMLESS = str.maketrans({letter: f"&#{ord(letter)};" for letter in "\\`*_[]<>|&#~$"})


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown. What a model has written stays text: nothing in it is markup or HTML.

    Args:
        rows: Cells under `HEADER`.
    """
    lines = [HEADER, ["---"] * len(HEADER), *([cell.translate(HARMLESS) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
