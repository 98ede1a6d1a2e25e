"""Published figures of the released reward models, in percent.

RewardBench: cards of internlm/internlm2-*-reward, which say that condition prompts were left out. Their score is the
mean of four sections. The other figures of the 20B model were measured by others, without conditions too. Nobody has
published figures with them.
"""

from collections.abc import Mapping

SMALL, MIDDLE, LARGE = (f"InternLM2-{size}-Reward" for size in ("1.8B", "7B", "20B"))

PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "RewardBench": {
        SMALL: {"score": 80.6, "Chat": 95.0, "Chat Hard": 58.1, "Safety": 81.8, "Reasoning": 87.4},
        MIDDLE: {"score": 86.6, "Chat": 98.6, "Chat Hard": 66.7, "Safety": 88.3, "Reasoning": 92.8},
        LARGE: {"score": 89.5, "Chat": 98.6, "Chat Hard": 74.1, "Safety": 89.4, "Reasoning": 95.7},
    },
    "RewardBench 2": {LARGE: {"score": 56.3}},
    "PPE": {LARGE: {"preference": 61.0, "correctness": 63.0}},
    "RMB": {LARGE: {"score": 62.9}},
    "RM-Bench": {LARGE: {"score": 68.3}},
    "JudgeBench": {LARGE: {"score": 64.3}},
}
"""Figures by benchmark and model. The names are those of a benchmark's figures."""
