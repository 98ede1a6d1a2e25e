"""Where comparisons come from: files of them, prompts that a model replies to, or instruction records."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from internlm2_core.evaluation.records import evenly
from internlm2_core.generation import Engine, LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_records import read_objects

from internlm2_align.labelling.annotator import Annotator
from internlm2_align.labelling.candidates import Writer, at_hand
from internlm2_align.labelling.instructions import NEEDS, Record, ScoringAnnotator, question_of
from internlm2_align.labelling.pairs import PairRules, random_pairs, scored_pairs
from internlm2_align.labelling.samples import ReplySampler
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompt_files import File, prompt_files, read_prompts
from internlm2_align.preferences.comparison import Comparison, read_comparisons
from internlm2_align.preferences.splits import split_by_question, without_questions

SIDES = ("train", "heldout")
SAMPLING = Sampling(max_new_tokens=512)
RULES = PairRules()


@dataclass(frozen=True)
class Asked:
    """Comparisons, training and held-out ones apart by question.

    Attributes:
        sides: Those of ``train`` and of ``heldout``.
        counts: What was read and left out, for each side.
    """

    sides: dict[str, list[Comparison]] = field(default_factory=lambda: {side: [] for side in SIDES})
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {side: Counter() for side in SIDES})


class Source(Protocol):
    """Gives the comparisons that are to be judged."""

    drawn: bool
    """Whether it draws them. Then they are kept, so that a second run asks the same ones."""

    def comparisons(self, annotator: Annotator) -> Asked:
        """The comparisons.

        Args:
            annotator: Who is to judge them.
        """


def split(found: Sequence[Comparison], held: Sequence[Comparison], share: float, seed: int, asked: Asked) -> None:
    """Put comparisons on their sides.

    Args:
        found: To train on, but for those that are held out.
        held: Held out.
        share: Of the questions of ``found``, held out too.
        seed: Another one holds out others.
        asked: Gets both sides, and counts ``question_is_held_out`` in training.
    """
    train, also_held = split_by_question(found, share, seed)
    asked.sides["heldout"] = [*held, *also_held]
    asked.sides["train"] = list(without_questions(train, asked.sides["heldout"], asked.counts["train"]))


@dataclass(frozen=True)
class Files:
    """Comparisons of one's own.

    Attributes:
        input: File or files of comparisons, see `internlm2_align.preferences.comparison`.
        heldout: Files of held-out ones.
        heldout_share: Share of the questions of ``input`` that is held out too.
        heldout_seed: Another one holds out others.
    """

    input: str | Sequence[str]
    heldout: str | Sequence[str] = ()
    heldout_share: float = 0.0
    heldout_seed: int = 0
    drawn = False

    def comparisons(self, annotator: Annotator) -> Asked:
        """Those of the files.

        Args:
            annotator: Who is to judge them.

        Raises:
            ValueError: If a record does not fit, there is none, or two comparisons have the same id.
        """
        asked = Asked()
        found, held = (
            [each for file in ([files] if isinstance(files, str) else files) for each in read_comparisons(file)]
            for files in (self.input, self.heldout)
        )
        if not found:
            raise ValueError(f"input={self.input} holds no comparison.")
        for id_, times in Counter(each.id for each in (*found, *held)).items():
            if times > 1:
                raise ValueError(f"id={id_!r} is in more than one file of input={self.input}, heldout={self.heldout}.")
        split(found, held, self.heldout_share, self.heldout_seed, asked)
        return asked


@dataclass(frozen=True)
class Prompts:
    """Prompts of one's own. A model replies several times to each, and its replies are paired at random.

    Attributes:
        prompts: Files of prompts, as for PPO.
        checkpoint: Folder of the model.
        heldout: Files of held-out prompts.
        heldout_share: Share of the questions of ``prompts`` that is held out too.
        heldout_seed: Another one holds out others.
        domains: Domain by ``task`` of records that name no domain.
        sampling: How the model samples.
        samples: Replies to each prompt.
        rules: How many pairs of a prompt.
        max_prompt_tokens: Longer prompts are left out.
        engine: Makes the engine, given the network.
        seed: Of the sampling.

    Raises:
        ValueError: If ``samples`` is below 2.
    """

    prompts: File | Sequence[File]
    checkpoint: str | Path
    heldout: File | Sequence[File] = ()
    heldout_share: float = 0.0
    heldout_seed: int = 0
    domains: Mapping[str, str] | None = None
    sampling: Sampling = SAMPLING
    samples: int = 2
    rules: PairRules = RULES
    max_prompt_tokens: int = 2048
    engine: Callable[[LanguageModel], Engine] = LocalEngine
    seed: int = 1
    drawn = True

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"samples={self.samples} must be 2 or more, since two replies make a comparison.")

    def comparisons(self, annotator: Annotator) -> Asked:
        """Pairs of replies. A prompt whose replies are all the same gives none, and is counted as ``no_pair``.

        Args:
            annotator: Who is to judge them.

        Raises:
            ValueError: If no pair is left.
        """
        asked = Asked()
        sampler = ReplySampler(self.checkpoint, self.sampling, self.engine)
        found, held = (
            self._pairs(sampler, files, asked.counts[side])
            for side, files in zip(SIDES, (self.prompts, self.heldout), strict=True)
        )
        split(found, held, self.heldout_share, self.heldout_seed, asked)
        if not found and not held:
            left_out = ", ".join(f"{count} {reason}" for reason, count in asked.counts["train"].most_common())
            raise ValueError(f"No comparison is left of prompts={self.prompts}: {left_out or 'there is no prompt'}.")
        return asked

    def _pairs(self, sampler: ReplySampler, files: File | Sequence[File], counts: Counter[str]) -> list[Comparison]:
        read = read_prompts(prompt_files(files), sampler.chat, self.domains or {}, self.max_prompt_tokens, counts)
        prompts: list[Prompt] = list(read)
        counts["prompts"] = len(prompts)
        replies = sampler.replies([prompt.messages for prompt in prompts], self.samples, self.seed)
        pairs: list[Comparison] = []
        for prompt, texts in zip(prompts, replies, strict=True):
            rng = random.Random(f"{self.seed}:{prompt.ids}")
            meta = meta_of(prompt) | {"slices": ["policy"]}
            made = random_pairs(prompt.messages, prompt.domain, texts, self.rules.per_domain, rng, **meta)
            counts["no_pair"] += not made
            pairs += made
        return pairs


def meta_of(prompt: Prompt) -> dict[str, Any]:
    """What a comparison keeps of a prompt: its language, and the question that its record names."""
    meta = prompt.record.get("meta")
    named = meta.get("question") if isinstance(meta, Mapping) else None
    return {"language": prompt.language} | ({} if named is None else {"question": named})


@dataclass(frozen=True)
class Instructions:
    """Instruction records, for an annotator that scores replies to them: the simulated one.

    Attributes:
        instructions: Records for training.
        heldout: Records for held-out pairs. Their questions are left out of training.
        rules: How many pairs, and how clear.
        responses: Files of replies to be judged too: JSON lines ``{"id", "replies": [...]}``.
        checkpoint: A model whose replies are sampled and judged too.
        sampling: How to sample.
        samples: Replies sampled for each record.
        limit: Records taken for training, evenly spread. None takes all.
        heldout_limit: The same for held-out records.
        seed: Of the sampling.
        candidates: Makes what gives the candidates of a record, of all records and a seed. None takes the reference
            reply and the replies of models.
    """

    instructions: str
    heldout: str
    rules: PairRules = RULES
    responses: Sequence[str] = ()
    checkpoint: str | None = None
    sampling: Sampling = SAMPLING
    samples: int = 2
    limit: int | None = None
    heldout_limit: int | None = None
    seed: int = 1
    candidates: Callable[[Sequence[Record], int], Writer] | None = None
    drawn = True

    def comparisons(self, annotator: Annotator) -> Asked:
        """Clear pairs of candidates.

        Args:
            annotator: Scores candidates, and judges the pairs.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If the annotator does not score, a file is empty, a record lacks a key, or responses belong to
                no record.
        """
        if not isinstance(annotator, ScoringAnnotator):
            raise ValueError(
                f"instructions={self.instructions} needs an annotator that scores replies by the records' own checks, "
                f"which {annotator.name} does not. Give the same file as prompts."
            )
        asked = Asked()
        all_held, all_found = read_objects(self.heldout, NEEDS), read_objects(self.instructions, NEEDS)
        held, found = evenly(all_held, self.heldout_limit), evenly(all_found, self.limit)
        questions = {question_of(record) for record in all_held}
        training = [record for record in found if question_of(record) not in questions]
        asked.counts["train"]["question_is_held_out"] = len(found) - len(training)
        given = replies_by_id(self.responses, {record["id"] for record in [*all_held, *all_found]})
        if self.checkpoint is not None:
            sampler = ReplySampler(self.checkpoint, self.sampling, name="SFT model")
            for records in (training, held):
                prompts = [record["messages"][:-1] for record in records]
                for record, replies in zip(records, sampler.replies(prompts, self.samples, self.seed), strict=True):
                    given[record["id"]] = [*given.get(record["id"], []), *replies]
        for side, records in zip(SIDES, (training, held), strict=True):
            counts = asked.counts[side]
            pairs = scored_pairs(records, annotator, self.rules, given, self.candidates or at_hand, counts)
            asked.sides[side] = list({pair.id: pair for pair in pairs}.values())
            counts["records"] = len(records)
            counts["repeated"] = len(pairs) - len(asked.sides[side])
        return asked


def replies_by_id(files: Sequence[str], known: Set[Any]) -> dict[str, Sequence[str]]:
    """Replies of files by the id of the record that they answer.

    Args:
        files: JSON lines ``{"id", "replies": [...]}``.
        known: Ids of the records.

    Raises:
        ValueError: If the replies of a record are not a list of texts, or none of a file belongs to a record.
    """
    given: dict[str, Sequence[str]] = {}
    for path in files:
        records = read_objects(path, ("id", "replies"))
        if not any(record["id"] in known for record in records):
            raise ValueError(
                f"responses={path} belong to other records: none of its ids is among the instructions. Its first is "
                f"{records[0]['id']!r}."
            )
        for number, record in enumerate(records, 1):
            replies = record["replies"]
            if not isinstance(replies, list) or not all(isinstance(reply, str) for reply in replies):
                raise ValueError(f"Record {number} of {path} has replies={replies!r}, which must be a list of texts.")
            given[record["id"]] = [*given.get(record["id"], []), *replies]
    return given
