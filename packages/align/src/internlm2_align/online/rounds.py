"""One round after another, each in a folder of its own; what is done is not done again.

round-1/ppo       PPO with the reward model given (or a finished PPO run taken over)
round-1/audit     replies.jsonl, fast.jsonl, slow.jsonl, metrics.json
round-2/reward    trained from SFT on all preferences there are by now
round-2/ppo       PPO from SFT with it
...
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.records import evenly, read_records
from internlm2_core.evaluation.written import write_json, write_jsonl

from internlm2_align.labelling.annotator import Annotator, Record
from internlm2_align.online.hacking import Audit, Pattern, frequency
from internlm2_align.online.preferences import fast_pairs, slow_pairs
from internlm2_align.online.replies import Probe, Reply
from internlm2_align.ppo.recipe import PPORecipe
from internlm2_align.preferences.preference import Preference, to_record
from internlm2_align.preferences.sources import read_preferences
from internlm2_align.preferences.splits import without_questions
from internlm2_align.reward.model import RewardModel
from internlm2_align.reward.recipe import RewardRecipe

NEEDS = ("id", "task", "language", "messages", "check")


@dataclass(frozen=True)
class OnlineRecipe:
    """How rounds are run.

    Attributes:
        reward: How reward models are trained.
        ppo: How PPO is run; its early snapshot is set here.
        probe: How replies are drawn after a round.
        audit: Thresholds of the search for hacking patterns.
        annotator: Labels; simulated.
        rounds: Rounds of PPO.
        early_share: Where in the actor's iterations the early actor is taken.
        prompts: Instruction records that the models reply to after a round.
        least_fast: Pairs that the fast path wants.
        most_fast: Pairs that it takes at most.
        repeat_fast: Times that a fast pair is shown to reward training, since few pairs face very many.
        min_gap: Least difference of the annotator's scores in the slow path.
        seed: Of what is drawn.

    Raises:
        ValueError: If there is no round.
    """

    reward: RewardRecipe
    ppo: PPORecipe
    probe: Probe
    audit: Audit
    annotator: Annotator
    rounds: int = 3
    early_share: float = 0.2
    prompts: int = 1000
    least_fast: int = 20
    most_fast: int = 100
    repeat_fast: int = 1
    min_gap: float = 0.15
    seed: int = 1

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}; at least 1 is needed (rounds=2).")

    def run_ppo(self, checkpoint: str, reward: str | Path, folder: Path) -> dict[str, Any]:
        """PPO of a round, with its early snapshot."""
        if figures := finished(folder):
            return figures
        warmup = self.ppo.settings.warmup_iterations
        early = warmup + max(1, round(self.early_share * (self.ppo.iterations - warmup)))
        figures = replace(self.ppo, snapshots=(early,)).run(checkpoint, reward, folder)
        write_json(folder / "metrics.json", figures)
        return figures

    def run_audit(self, checkpoint: str, reward: str | Path, ppo: Path, folder: Path, number: int) -> dict[str, Any]:
        """Both paths after a round: replies, patterns, pairs."""
        if figures := finished(folder):
            return figures
        records = self._records(number)
        model = RewardModel.load(reward, max_tokens=self.ppo.max_tokens)
        models: dict[str, str | Path] = {"sft": checkpoint, "early": early_actor(ppo), "late": ppo / "last"}
        scorer = model.scorer(self.reward.batches.budget_tokens)
        probe = replace(self.probe, seed=self.probe.seed + number)
        replies = probe.replies(list(records.values()), models, self.ppo.domains, scorer, self.annotator)
        patterns = self.audit.patterns(replies)
        limits = {"least": self.least_fast, "most": self.most_fast, "seed": self.seed}
        fast = fast_pairs(patterns, replies, records, self.annotator, **limits)
        slow = slow_pairs(replies, records, self.annotator, min_gap=self.min_gap, seed=self.seed)
        write_jsonl(folder / "replies.jsonl", map(asdict, replies))
        write_jsonl(folder / "fast.jsonl", map(to_record, fast))
        write_jsonl(folder / "slow.jsonl", map(to_record, slow))
        figures = {
            "patterns": [pattern.to_record() for pattern in patterns],
            "fast_pairs": len(fast),
            "fast_pairs_written": sum(bool(pair.meta["written"]) for pair in fast),
            "slow_pairs": len(slow),
            "models": {name: _means(replies, name) for name in models},
        }
        write_json(folder / "metrics.json", figures)
        return figures

    def train_reward(
        self, checkpoint: str, pairs: Sequence[Preference], held: Sequence[Preference], folder: Path
    ) -> dict[str, Any]:
        """A reward model from all preferences there are."""
        if figures := finished(folder):
            return figures
        counts: Counter[str] = Counter()
        measured = self.reward.encode(held, self.reward.encoder(checkpoint), Counter())
        trained = self.reward.train(checkpoint, without_questions(pairs, held, counts), folder, counts)
        heldout = self.reward.measure(trained.folder, measured)
        figures = {"pairs": trained.counts, **trained.figures, "heldout": heldout}
        write_json(folder / "metrics.json", figures)
        return figures

    def added_pairs(self, audit: Path) -> list[Preference]:
        """The pairs that a round has added."""
        fast, slow = (list(read_preferences(audit / f"{name}.jsonl")) for name in ("fast", "slow"))
        return fast * self.repeat_fast + slow

    def _records(self, number: int) -> dict[str, Record]:
        known = [r for r in read_records(self.ppo.instructions, NEEDS) if r["task"] in self.ppo.domains]
        # Other prompts in every round.
        start = (number * self.prompts) % max(1, len(known))
        chosen = evenly(known[start:] + known[:start], self.prompts)
        return {record["id"]: record for record in chosen}


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
        raise FileNotFoundError(f"{ppo} holds no snapshots; run `internlm2 ppo` with snapshots=[ITERATION].")
    return found[0]


def pattern_course(patterns: Sequence[Mapping[str, Any]], replies: Path) -> list[dict[str, Any]]:
    """How often the replies of a later round still show the patterns of an earlier one.

    Args:
        patterns: Records of `Pattern`.
        replies: ``replies.jsonl`` of the later round.
    """
    found = [Reply(**record) for record in read_records(replies)]
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
