"""What COOL RLHF is compared with on the same data: DPO from the preferences, RLOO from the reward model."""

from internlm2_align.baselines.dpo import DPO
from internlm2_align.baselines.rloo import RLOOSystem

__all__ = ["DPO", "RLOOSystem"]
