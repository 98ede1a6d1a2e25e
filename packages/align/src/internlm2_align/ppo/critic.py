"""The critic: the reward model without its linear head, then trained alone before the actor moves (report 4.2.3).

The trunk has learned to tell good conversations from bad ones, which is most of what a critic must know. What its new
head must learn in the first iterations is where a score will end up. The head starts at zero, so every estimate does.
The report compares this with a critic that starts from the SFT model (figure 9): any model folder will do.
"""

from pathlib import Path

import torch

from internlm2_align.reward.network import RewardNetwork, start_reward


def start_critic(folder: str | Path) -> RewardNetwork:
    """A critic from the folder of a reward or language model.

    It has torch's default dtype, which the Trainer's precision sets.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If tensors do not fit, or it holds a model of another family.
    """
    return without_head(start_reward(folder))


def without_head(net: RewardNetwork) -> RewardNetwork:
    """The same network, its head set to zero in place."""
    if (whole := net.initial_weights) is not None:
        net.initial_weights = lambda: (
            (name, torch.zeros_like(tensor) if name == "v_head.weight" else tensor) for name, tensor in whole()
        )
    else:
        net.v_head.weight.data.zero_()
    return net
