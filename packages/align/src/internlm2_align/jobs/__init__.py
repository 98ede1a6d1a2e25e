"""What the commands do: plain functions of objects, paths and numbers."""

from internlm2_align.jobs.dpo import dpo
from internlm2_align.jobs.label import label
from internlm2_align.jobs.online_rlhf import online_rlhf
from internlm2_align.jobs.ppo import ppo
from internlm2_align.jobs.replay import replay
from internlm2_align.jobs.reward import reward
from internlm2_align.jobs.score import score

__all__ = ["dpo", "label", "online_rlhf", "ppo", "replay", "reward", "score"]
