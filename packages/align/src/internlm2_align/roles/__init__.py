"""The four models of PPO and where they come from (report section 4.2.3).

actor and reference start as the SFT model, critic and reward as the reward model. Actor and critic are trained,
reference and reward stay frozen. All four are of one size.
"""

from internlm2_align.roles.local import Roles, local_roles

__all__ = ["Roles", "local_roles"]
