"""One round after another, each in a folder of its own. What is done is not done again.

round-1/ppo           PPO with the reward model given (or a finished PPO run taken over)
round-1/audit         replies.jsonl, comparisons.jsonl, metrics.json
round-1/labels        judgements.jsonl and what else the annotator keeps. People may take days
round-1/preferences   fast.jsonl, slow.jsonl, heldout.jsonl, metrics.json
round-2/reward        trained from SFT on all preferences there are by now
round-2/ppo           PPO from SFT with it
...
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from internlm2_core.evaluation.written import write_json, write_jsonl
from internlm2_records import read_objects

from internlm2_align.labelling.annotator import Annotator
from internlm2_align.labelling.enough import Least, missing
from internlm2_align.labelling.instructions import ScoringAnnotator
from internlm2_align.labelling.labels import Labels, label
from internlm2_align.online.comparisons import distinct, fast_comparisons, slow_comparisons
from internlm2_align.online.hacking import Audit, Pattern, frequency
from internlm2_align.online.preferences import fast_pairs, slow_pairs, wins
from internlm2_align.online.replies import Probe, Reply, name_of
from internlm2_align.online.state import finished
from internlm2_align.online.witnesses import PairLabels
from internlm2_align.ppo.data import PromptData
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.preferences.comparison import comparison_record, read_comparisons
from internlm2_align.preferences.preference import to_record
from internlm2_align.preferences.sources import File
from internlm2_align.preferences.splits import split_by_question
from internlm2_align.reward.model import RewardModel

T = TypeVar("T")


class Run(Protocol):
    """A job as a function: `ppo` or `reward`, with everything said that is the same in each round."""

    def __call__(self, **keys: Any) -> Any:
        """Run it to its end, or resume it. It leaves ``OUTPUT/metrics.json``.

        Args:
            **keys: What differs in this round: ``checkpoint``, ``output``, and ``reward`` of `ppo`, ``data.added`` and
                ``heldout`` of `reward`.
        """


@dataclass(frozen=True)
class Rounds:
    """How rounds are run.

    Attributes:
        checkpoint: Folder of the SFT model, from which every round starts.
        data: The prompts of PPO. Models reply to some of its training prompts after a round.
        ppo: Runs PPO and keeps an early actor.
        reward: Trains a reward model.
        probe: How replies are drawn after a round.
        audit: Thresholds of the search for hacking patterns.
        annotator: Labels.
        heldout: Files of held-out preferences. Held-out labels of rounds join them.
        least: Labels without which a round waits, see `missing`.
        heldout_share: Share of the questions whose labels measure reward models and train none.
        prompts_per_round: Prompts that the models reply to after a round.
        per_prompt: Pairs of replies to a prompt that are labelled in each domain.
        least_fast: Pairs that the fast path wants of each pattern (report 4.2.2).
        most_fast: Pairs of a pattern that it takes at most (report 4.2.2).
        repeat_fast: Times that a fast pair is shown to reward training, since few pairs face very many.
        min_gap: Least difference between the scores of an annotator that scores.
        budget_tokens: Tokens scored at once.
        max_tokens: Longest conversation that is scored.
        seed: Of what is drawn.
    """

    checkpoint: str
    data: PromptData
    ppo: Run
    reward: Run
    probe: Probe
    audit: Audit
    annotator: Annotator
    heldout: Sequence[File] = ()
    least: Least = None
    heldout_share: float = 0.1
    prompts_per_round: int = 1000
    per_prompt: int = 2
    least_fast: int = 20
    most_fast: int = 100
    repeat_fast: int = 1
    min_gap: float = 0.15
    budget_tokens: int = 16_384
    max_tokens: int = 8192
    seed: int = 1

    def run_ppo(self, reward: str | Path, folder: Path) -> dict[str, Any]:
        """PPO of a round."""
        if not finished(folder):
            self.ppo(checkpoint=self.checkpoint, reward=str(reward), output=str(folder))
        return written(folder)

    def train_reward(self, rounds: Sequence[Path], folder: Path) -> dict[str, Any]:
        """A reward model from all preferences there are.

        Args:
            rounds: Folders of the preferences of all rounds before.
            folder: Of the run.
        """
        if not finished(folder):
            added = [file for past in rounds for file in self.added(past)]
            held = [*self.heldout, *(file for past in rounds for file in files_of(past, "heldout"))]
            self.reward(checkpoint=self.checkpoint, output=str(folder), **{"data.added": added, "heldout": held})
        return written(folder)

    def added(self, preferences: Path) -> list[str]:
        """The files of pairs that a round has added, as often as they are shown. Empty ones are left out."""
        return files_of(preferences, "fast") * self.repeat_fast + files_of(preferences, "slow")

    def run_audit(self, reward: str | Path, ppo: Path, folder: Path, number: int) -> dict[str, Any]:
        """What a round asks its annotator: replies, suspected patterns, comparisons of both paths.

        Args:
            reward: Folder of the round's reward model.
            ppo: Folder of its PPO run.
            folder: Of the audit.
            number: Of the round.
        """
        if figures := finished(folder):
            return figures
        prompts = {name_of(prompt): prompt for prompt in self.asked(number)}
        scorer = RewardModel.load(reward, max_tokens=self.max_tokens).scorer(self.budget_tokens)
        models: dict[str, str | Path] = {"sft": self.checkpoint, "early": early_actor(ppo), "late": ppo / "last"}
        probe = replace(self.probe, seed=self.probe.seed + number)
        replies = probe.replies(list(prompts.values()), models, scorer, self.annotator)
        scores = isinstance(self.annotator, ScoringAnnotator)
        patterns = self.audit.patterns(replies) if scores else self.audit.suspects(replies)
        limits = {"least": self.least_fast, "most": self.most_fast, "seed": self.seed}
        fast = fast_comparisons(patterns, replies, prompts, self.annotator, **limits)
        slow = slow_comparisons(
            replies, prompts, self.annotator, min_gap=self.min_gap, per_domain=self.per_prompt, seed=self.seed
        )
        write_jsonl(folder / "replies.jsonl", map(asdict, replies))
        asked = ({"record": name, "messages": list(prompt.messages)} for name, prompt in prompts.items())
        write_jsonl(folder / "prompts.jsonl", asked)
        write_jsonl(folder / "comparisons.jsonl", map(comparison_record, distinct([*fast, *slow])))
        figures = {
            "patterns": [pattern_record(pattern) for pattern in patterns],
            "fast_comparisons": len(fast),
            "slow_comparisons": len(slow),
            "models": {name: self._means(replies, name) for name in models},
        }
        write_json(folder / "metrics.json", figures)
        return figures

    def asked(self, number: int) -> list[Prompt]:
        """The prompts that models reply to after a round: other ones in every round, until all were asked.

        Args:
            number: Of the round, from 1.
        """
        self.data.setup()
        return of_round(self.data.prompts, number, self.prompts_per_round, self.seed)

    def label(self, audit: Path, folder: Path) -> tuple[Labels, dict[str, tuple[int, int]]]:
        """Have the annotator judge, and say what is missing.

        Args:
            audit: Folder of the audit.
            folder: Of the labels.

        Returns:
            The labels by now, and see `missing`.
        """
        labels = label(self.annotator, read_comparisons(audit / "comparisons.jsonl"), folder)
        return labels, missing(labels, self.least)

    def add_preferences(self, audit: Path, labels: Labels, folder: Path) -> dict[str, Any]:
        """The pairs of a round that is labelled.

        Args:
            audit: Folder of the audit.
            labels: Of its comparisons.
            folder: Of the preferences.
        """
        if figures := finished(folder):
            return figures
        patterns = [Pattern(**record) for record in written(audit)["patterns"]]
        if not isinstance(self.annotator, ScoringAnnotator):
            # What pays was known before. Now those who only compare can say whether it is worth it.
            wanted = labels.wanted()
            said = [judgement for id_, judgement in labels.judgements.items() if id_ in wanted]
            witness = PairLabels.judged(wanted, said, self.annotator.name)
            patterns = self.audit.patterns(read_replies(audit), witness)
        shown = {(pattern.domain, pattern.name) for pattern in patterns}
        fast = [pair for pair in fast_pairs(labels) if (pair.domain, pair.meta["pattern"]) in shown]
        slow, held = split_by_question(slow_pairs(labels), self.heldout_share, self.seed)
        for name, pairs in (("fast", fast), ("slow", slow), ("heldout", held)):
            write_jsonl(folder / f"{name}.jsonl", map(to_record, pairs))
        figures = {
            "patterns": [pattern_record(pattern) for pattern in patterns],
            "fast_pairs": len(fast),
            "fast_pairs_written": sum(bool(pair.meta["written"]) for pair in fast),
            "slow_pairs": len(slow),
            "heldout_pairs": len(held),
            "labels": labels.counts([*labels.wanted()]) | {"annotators": labels.by_annotator()},
            "wins": wins(labels),
        }
        write_json(folder / "metrics.json", figures)
        return figures

    def _means(self, replies: Sequence[Reply], model: str) -> dict[str, float]:
        own = [reply for reply in replies if reply.model == model]
        means = {
            "reward": sum(reply.reward for reply in own) / len(own),
            "characters": sum(len(reply.text) for reply in own) / len(own),
        }
        if isinstance(self.annotator, ScoringAnnotator):
            means["judged"] = sum(reply.judged for reply in own) / len(own)
        return means


def of_round(items: Sequence[T], number: int, count: int, seed: int) -> list[T]:
    """Some of all items: other ones in every round, until all were taken.

    Args:
        items: All there are.
        number: Of the round, from 1.
        count: How many are taken.
        seed: Of the order.
    """
    order = list(items)
    random.Random(seed).shuffle(order)
    start = (number - 1) * count
    return [order[place % len(order)] for place in range(start, start + min(count, len(order)))]


def files_of(preferences: Path, name: str) -> list[str]:
    """A file of pairs, or nothing if it is empty.

    Args:
        preferences: Folder of the preferences of a round.
        name: Of the file: ``fast``, ``slow`` or ``heldout``.
    """
    file = preferences / f"{name}.jsonl"
    return [str(file)] if file.stat().st_size else []


def written(folder: Path) -> dict[str, Any]:
    """What a finished part has written last."""
    figures = finished(folder)
    assert figures is not None
    return figures


def early_actor(ppo: Path) -> Path:
    """The earliest snapshot of a PPO run.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = sorted((ppo / "snapshots").glob("iteration-*"), key=lambda path: int(path.name.split("-")[1]))
    if not found:
        raise FileNotFoundError(f"{ppo} has no snapshots. Run `internlm2 ppo` with snapshots=[ITERATION].")
    return found[0]


def read_replies(audit: Path) -> list[Reply]:
    """The replies that an audit has drawn."""
    return [Reply(**record) for record in read_objects(audit / "replies.jsonl")]


def pattern_record(pattern: Pattern) -> dict[str, Any]:
    """The JSON form of a pattern. An end of an interval that is not known is null."""
    record = asdict(pattern)
    for name in ("rise_interval", "reward_interval", "judged_interval"):
        record[name] = [end if math.isfinite(end) else None for end in record[name]]
    return record


def pattern_course(patterns: Sequence[Mapping[str, Any]], replies: Path) -> list[dict[str, Any]]:
    """How often the replies of a later round still show the patterns of an earlier one.

    Args:
        patterns: Records of `Pattern`.
        replies: Folder of the audit of the later round.
    """
    found = read_replies(replies)
    course = []
    for record in patterns:
        pattern = Pattern(**record)
        shares = {model: frequency(pattern, found, model) for model in ("sft", "early", "late")}
        course.append({"domain": pattern.domain, "kind": pattern.kind, "value": pattern.value, **shares})
    return course
