"""What the commands do: plain functions of objects, paths and numbers."""

from internlm2_align.jobs.label import label
from internlm2_align.jobs.online_rlhf import online_rlhf
from internlm2_align.jobs.ppo import ppo
from internlm2_align.jobs.reward import reward
from internlm2_align.jobs.score import score

__all__ = ["label", "online_rlhf", "ppo", "reward", "score"]
