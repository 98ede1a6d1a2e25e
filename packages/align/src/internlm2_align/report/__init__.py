"""What alignment shows in the report of a run: labels, reward model, PPO, rounds of online RLHF."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from internlm2_records.report import Part, Section, json_reader

from internlm2_align.report.benchmarks import show_benchmarks
from internlm2_align.report.policy import read_ppo, show_ppo
from internlm2_align.report.reward import show_reward
from internlm2_align.report.rounds import read_rounds, show_rounds


def schemas() -> Mapping[str, Any]:
    """JSON Schema of the figures by kind."""
    read: dict[str, Any] = json.loads((files("internlm2_align") / "report/schema.json").read_text(encoding="utf-8"))
    return read


PART = Part(
    {
        "labels": json_reader("annotator", "sets", schema="internlm2/align/label/1"),
        "reward": json_reader("heldout", "conditional", schema="internlm2/align/reward/1"),
        "ppo": read_ppo,
        "online_rlhf": read_rounds,
    },
    [
        Section("reward", "Reward model", 70, ("labels", "reward"), show_reward),
        Section("benchmarks", "Reward benchmarks", 75, ("evaluation",), show_benchmarks, optional=True),
        Section("ppo", "PPO", 80, ("ppo",), show_ppo),
        Section("online_rlhf", "Rounds of online RLHF", 90, ("online_rlhf",), show_rounds),
    ],
    schemas(),
)
