"""The conditional reward model and online RLHF (COOL RLHF) of InternLM2, as LightningModules.

=============  ===================================================================================================
`preferences`  pairs of ours and of others, read, split by question and kept once
`reward`       condition prompts, losses, padding-free pairs, `RewardModel`
`ppo`          rewards, advantages and losses as pure functions, rollouts, `PPOSystem`
`baselines`    DPO and RLOO on the same data
`roles`        the four models of PPO and where they come from
`labelling`    comparisons and who judges them: `Annotator`, a protocol, with people, models and endpoints behind it
`people`       labels by people: a queue on disk, a page in the browser, agreement
`miniature`    the toy run's annotator: rules, and no person
`online`       rounds of online RLHF: the audit for reward hacking (fast path), fresh preferences (slow path)
`jobs`         one plain function a job of the `internlm2` command
=============  ===================================================================================================
"""

from internlm2_align.labelling.annotator import Annotator
from internlm2_align.ppo.data import PromptData
from internlm2_align.ppo.system import PPOSystem
from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.conditions import Conditions, Unconditional, load_conditions
from internlm2_align.reward.data import PreferenceData
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.model import RewardModel
from internlm2_align.reward.scoring import Scorer

__all__ = [
    "Annotator",
    "Conditions",
    "ConversationEncoder",
    "PPOSystem",
    "Preference",
    "PreferenceData",
    "PromptData",
    "RewardModel",
    "Scorer",
    "Unconditional",
    "load_conditions",
]
