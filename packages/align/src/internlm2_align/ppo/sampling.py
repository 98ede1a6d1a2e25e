"""Sampling responses and scoring them under the condition of their domain."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from internlm2_core.generation import Engine, Sampling
from torch import Tensor

from internlm2_align.ppo.prompt import Prompt
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
        temperature: At which they were sampled. Greedy replies count as sampled at 1.
        engine_logprobs: What the engine says of each token, in nats, at temperature 1. Empty rows if it says nothing.
    """

    responses: Responses
    texts: list[str]
    scores: Tensor
    finished: Tensor
    temperature: float = 1.0
    engine_logprobs: Sequence[Sequence[float]] = field(default_factory=lambda: [[]])


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

    The condition prompt comes before query and response for the reward model alone. The engine never sees it. A reply
    is scored as the text that it is, encoded as the reward model has learned it: the score is the one that an audit of
    the text finds, and no odd cut of a text into tokens and no special token inside of it pays.

    Args:
        prompts: What to answer.
        engine: Answers with the actor's weights.
        sampling: How to sample. The stop token is set here, and special tokens are never chosen.
        scorer: The frozen reward model.
        seed: Of the sampling.
        truncation_penalty: Taken off the score of responses that did not end by themselves.
    """
    encoder = scorer.encoder
    never = tuple({*sampling.never_ids, *encoder.unspoken})
    sampling = replace(sampling, stop_ids=(encoder.chat.end,), never_ids=never, seed=seed)
    completions = engine.generate([prompt.ids for prompt in prompts], sampling)
    finished = torch.tensor([completion.finish == "stop" for completion in completions])
    groups = [
        encoder.group_of_ids(prompt.ids, completion.ids, prompt.domain, prompt.language)
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    # Ranks decide together what happens where one is not finite.
    scores = torch.tensor([score for (score,) in scorer.scores(groups, must_be_finite=False)])
    device = scorer.net.device
    return Scored(
        responses=Responses([prompt.ids for prompt in prompts], [completion.ids for completion in completions]),
        texts=[encoder.text_of(completion.ids) for completion in completions],
        scores=(scores - truncation_penalty * ~finished).to(device),
        finished=finished.to(device),
        temperature=sampling.temperature or 1.0,
        engine_logprobs=[completion.logprobs for completion in completions],
    )
