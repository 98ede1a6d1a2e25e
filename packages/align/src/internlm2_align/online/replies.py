"""Judged replies of several models to the same prompts: what both paths of a round look at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm2_core.generation import Engine, LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel

from internlm2_align.labelling.annotator import Annotator, Record
from internlm2_align.labelling.samples import ReplySampler
from internlm2_align.reward.scoring import Scorer


@dataclass(frozen=True)
class Reply:
    """A reply with what reward model and annotator say of it.

    Attributes:
        record: Id of the instruction record.
        model: Who replied: ``sft``, ``early`` or ``late``.
        domain: Preference that it was scored by.
        text: The reply.
        reward: The reward model's score.
        judged: The annotator's score, in [0, 1].
    """

    record: str
    model: str
    domain: str
    text: str
    reward: float
    judged: float


@dataclass(frozen=True)
class Probe:
    """How replies are drawn.

    Attributes:
        sampling: How the models sample.
        samples: Replies of each model to each record.
        engine: Makes the engine, given the network.
        seed: Of the sampling.
    """

    sampling: Sampling
    samples: int = 2
    engine: Callable[[LanguageModel], Engine] = LocalEngine
    seed: int = 1

    def replies(
        self,
        records: Sequence[Record],
        models: Mapping[str, str | Path],
        domains: Mapping[str, str],
        scorer: Scorer,
        annotator: Annotator,
    ) -> list[Reply]:
        """Judged replies.

        Args:
            records: Instruction records.
            models: Folder of each model by name.
            domains: Domain by task of a record.
            scorer: The reward model of the round.
            annotator: Judges beside it.
        """
        drawn: list[tuple[Record, str, str]] = []
        for name, folder in models.items():
            sampler = ReplySampler(folder, self.sampling, self.engine, name)
            replies = sampler.replies(records, self.samples, self.seed)
            drawn += [(record, name, text) for record in records for text in replies[record["id"]]]
        groups = [
            scorer.encoder.group(record["messages"][:-1], [text], domains[record["task"]], record["language"])
            for record, _, text in drawn
        ]
        found = []
        for (record, model, text), (reward,) in zip(drawn, scorer.scores(groups), strict=True):
            domain = domains[record["task"]]
            judged = annotator.score(record, text, domain)
            found.append(Reply(record["id"], model, domain, text, reward, judged))
        return found
