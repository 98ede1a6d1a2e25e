"""Replies of several models to the same prompts: what both paths of a round look at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from internlm2_core.generation import Engine, LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel

from internlm2_align.labelling.annotator import Annotator
from internlm2_align.labelling.instructions import ScoringAnnotator
from internlm2_align.labelling.samples import ReplySampler
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.reward.scoring import Scorer


@dataclass(frozen=True)
class Reply:
    """A reply with what is said of it.

    Attributes:
        record: Names the prompt, see `name_of`.
        model: Who replied: ``sft``, ``early`` or ``late``.
        domain: Preference that it was scored by.
        text: The reply.
        reward: The reward model's score.
        judged: The annotator's score, in [0, 1]. 0 where it only compares.
    """

    record: str
    model: str
    domain: str
    text: str
    reward: float
    judged: float = 0.0


def name_of(prompt: Prompt) -> str:
    """What tells a prompt apart from others: 16 hexadecimal digits."""
    return sha256(repr((prompt.domain, prompt.ids)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Probe:
    """How replies are drawn.

    Attributes:
        sampling: How the models sample.
        samples: Replies of each model to each prompt.
        engine: Makes the engine, given the network.
        seed: Of the sampling.
    """

    sampling: Sampling
    samples: int = 2
    engine: Callable[[LanguageModel], Engine] = LocalEngine
    seed: int = 1

    def replies(
        self, prompts: Sequence[Prompt], models: Mapping[str, str | Path], scorer: Scorer, annotator: Annotator
    ) -> list[Reply]:
        """Scored replies.

        Args:
            prompts: What is asked.
            models: Folder of each model by name.
            scorer: The reward model of the round.
            annotator: Scores beside it, if it is a `ScoringAnnotator`.
        """
        drawn: list[tuple[Prompt, str, str]] = []
        for name, folder in models.items():
            sampler = ReplySampler(folder, self.sampling, self.engine, name)
            replies = sampler.replies([prompt.messages for prompt in prompts], self.samples, self.seed)
            drawn += [(prompt, name, text) for prompt, texts in zip(prompts, replies, strict=True) for text in texts]
        groups = [
            scorer.encoder.group(prompt.messages, [text], prompt.domain, prompt.language) for prompt, _, text in drawn
        ]
        found = []
        for (prompt, model, text), (reward,) in zip(drawn, scorer.scores(groups), strict=True):
            judged = 0.0
            if isinstance(annotator, ScoringAnnotator):
                judged = annotator.score(prompt.record, text, prompt.domain)
            found.append(Reply(name_of(prompt), model, prompt.domain, text, reward, judged))
        return found
