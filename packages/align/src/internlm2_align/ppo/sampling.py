"""Sampling responses and scoring them under the condition of their domain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from internlm2_core.generation import Engine, Sampling
from torch import Tensor

from internlm2_align.ppo.prompts import Prompt
from internlm2_align.ppo.responses import Responses
from internlm2_align.reward.scoring import Scorer


@dataclass(frozen=True)
class Scored:
    """Sampled responses with their scores. B responses.

    Attributes:
        responses: The token ids.
        texts: The replies as text, without the end of turn.
        scores: [B] float32, penalties included.
        finished: [B] bool, whether the response ended by itself.
    """

    responses: Responses
    texts: list[str]
    scores: Tensor
    finished: Tensor


def sample_and_score(
    prompts: Sequence[Prompt],
    engine: Engine,
    sampling: Sampling,
    scorer: Scorer,
    *,
    seed: int,
    truncation_penalty: float = 0.0,
) -> Scored:
    """One response to each prompt.

    The condition prompt comes before query and response for the reward model alone. The engine never sees it.

    Args:
        prompts: What to answer.
        engine: Answers with the actor's weights.
        sampling: How to sample. The stop token is set here.
        scorer: The frozen reward model.
        seed: Of the sampling.
        truncation_penalty: Taken off the score of responses that did not end by themselves.
    """
    encoder = scorer.encoder
    end = encoder.chat.end
    completions = engine.generate([prompt.ids for prompt in prompts], replace(sampling, stop_ids=(end,), seed=seed))
    replies = [completion.ids for completion in completions]
    finished = torch.tensor([completion.finish == "stop" for completion in completions])
    groups = [
        encoder.group_of_ids(prompt.ids, reply, prompt.domain, prompt.language)
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    scores = torch.tensor([score for (score,) in scorer.scores(groups)])
    device = scorer.net.v_head.weight.device
    return Scored(
        responses=Responses([prompt.ids for prompt in prompts], replies),
        texts=[encoder.tokenizer.decode([id_ for id_ in reply if id_ != end]) for reply in replies],
        scores=(scores - truncation_penalty * ~finished).to(device),
        finished=finished.to(device),
    )
