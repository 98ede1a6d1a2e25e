"""One round after another, each in a folder of its own. What is done is not done again.

round-1/ppo       PPO with the reward model given (or a finished PPO run taken over)
round-1/audit     replies.jsonl, fast.jsonl, slow.jsonl, metrics.json
round-2/reward    trained from SFT on all preferences there are by now
round-2/ppo       PPO from SFT with it
...
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from internlm2_core.evaluation.written import write_json, write_jsonl
from internlm2_records import read_objects

from internlm2_align.labelling.annotator import NEEDS, Annotator, Record
from internlm2_align.online.hacking import Audit, Pattern, frequency
from internlm2_align.online.preferences import fast_pairs, slow_pairs
from internlm2_align.online.replies import Probe, Reply
from internlm2_align.preferences.preference import to_record
from internlm2_align.reward.model import RewardModel


class Run(Protocol):
    """A job as a function: `ppo` or `reward`, with everything said that is the same in each round."""

    def __call__(self, **keys: Any) -> Any:
        """Run it to its end, or resume it. It leaves ``OUTPUT/metrics.json``.

        Args:
            **keys: What differs in this round: ``checkpoint``, ``output``, and ``reward`` of `ppo`, ``data.added`` of
                `reward`.
        """


@dataclass(frozen=True)
class Rounds:
    """How rounds are run.

    Attributes:
        checkpoint: Folder of the SFT model, from which every round starts.
        instructions: File of instruction records whose prompts the models reply to after a round.
        domains: Domain by task of the instructions.
        ppo: Runs PPO and keeps an early actor.
        reward: Trains a reward model.
        probe: How replies are drawn after a round.
        audit: Thresholds of the search for hacking patterns.
        annotator: Labels.
        prompts: Instruction records that the models reply to after a round.
        least_fast: Pairs that the fast path wants (report 4.2.2).
        most_fast: Pairs that it takes at most (report 4.2.2).
        repeat_fast: Times that a fast pair is shown to reward training, since few pairs face very many.
        min_gap: Least difference of the annotator's scores in the slow path.
        budget_tokens: Tokens scored at once.
        max_tokens: Longest conversation that is scored.
        seed: Of what is drawn.
    """

    checkpoint: str
    instructions: str
    domains: Mapping[str, str]
    ppo: Run
    reward: Run
    probe: Probe
    audit: Audit
    annotator: Annotator
    prompts: int = 1000
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

    def train_reward(self, audits: Sequence[Path], folder: Path) -> dict[str, Any]:
        """A reward model from all preferences there are.

        Args:
            audits: Folders of the audits of all rounds before.
            folder: Of the run.
        """
        if not finished(folder):
            added = [path for audit in audits for path in self.added(audit)]
            self.reward(checkpoint=self.checkpoint, output=str(folder), **{"data.added": added})
        return written(folder)

    def added(self, audit: Path) -> list[str]:
        """The files of pairs that a round has added, as often as they are shown. Empty ones are left out."""
        files = [audit / "fast.jsonl"] * self.repeat_fast + [audit / "slow.jsonl"]
        return [str(file) for file in files if file.stat().st_size]

    def run_audit(self, reward: str | Path, ppo: Path, folder: Path, number: int) -> dict[str, Any]:
        """Both paths after a round: replies, patterns, pairs.

        Args:
            reward: Folder of the round's reward model.
            ppo: Folder of its PPO run.
            folder: Of the audit.
            number: Of the round.
        """
        if figures := finished(folder):
            return figures
        records = self._records(number)
        model = RewardModel.load(reward, max_tokens=self.max_tokens)
        models: dict[str, str | Path] = {"sft": self.checkpoint, "early": early_actor(ppo), "late": ppo / "last"}
        probe = replace(self.probe, seed=self.probe.seed + number)
        scorer = model.scorer(self.budget_tokens)
        replies = probe.replies(list(records.values()), models, self.domains, scorer, self.annotator)
        patterns = self.audit.patterns(replies)
        limits = {"least": self.least_fast, "most": self.most_fast, "seed": self.seed}
        fast = fast_pairs(patterns, replies, records, self.annotator, **limits)
        slow = slow_pairs(replies, records, self.annotator, min_gap=self.min_gap, seed=self.seed)
        write_jsonl(folder / "replies.jsonl", map(asdict, replies))
        write_jsonl(folder / "fast.jsonl", map(to_record, fast))
        write_jsonl(folder / "slow.jsonl", map(to_record, slow))
        figures = {
            "patterns": [asdict(pattern) for pattern in patterns],
            "fast_pairs": len(fast),
            "fast_pairs_written": sum(bool(pair.meta["written"]) for pair in fast),
            "slow_pairs": len(slow),
            "models": {name: _means(replies, name) for name in models},
        }
        write_json(folder / "metrics.json", figures)
        return figures

    def _records(self, number: int) -> dict[str, Record]:
        known = [record for record in read_objects(self.instructions, NEEDS) if record["task"] in self.domains]
        # Other prompts in every round, until all were asked.
        random.Random(self.seed).shuffle(known)
        start = (number - 1) * self.prompts
        places = range(start, start + min(self.prompts, len(known)))
        return {record["id"]: record for record in (known[place % len(known)] for place in places)}


def written(folder: Path) -> dict[str, Any]:
    """What a finished part has written last."""
    figures = finished(folder)
    assert figures is not None
    return figures


def finished(folder: Path) -> dict[str, Any] | None:
    """What a finished part has written last, or None."""
    file = folder / "metrics.json"
    if not file.is_file():
        return None
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
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


def pattern_course(patterns: Sequence[Mapping[str, Any]], replies: Path) -> list[dict[str, Any]]:
    """How often the replies of a later round still show the patterns of an earlier one.

    Args:
        patterns: Records of `Pattern`.
        replies: ``replies.jsonl`` of the later round.
    """
    found = [Reply(**record) for record in read_objects(replies)]
    course = []
    for record in patterns:
        pattern = Pattern(**record)
        shares = {model: frequency(pattern, found, model) for model in ("sft", "early", "late")}
        course.append({"domain": pattern.domain, "kind": pattern.kind, "value": pattern.value, **shares})
    return course


def _means(replies: Sequence[Reply], model: str) -> dict[str, float]:
    own = [reply for reply in replies if reply.model == model]
    return {
        "reward": sum(reply.reward for reply in own) / len(own),
        "judged": sum(reply.judged for reply in own) / len(own),
        "characters": sum(len(reply.text) for reply in own) / len(own),
    }
