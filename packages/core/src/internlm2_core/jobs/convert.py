"""From one layout to another, tensor by tensor: never a second copy of the model in memory."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from torch import Tensor

from internlm2_core.checkpoint.any_layout import layout_of
from internlm2_core.checkpoint.folder import read_tensors
from internlm2_core.checkpoint.llama import from_llama, save_llama
from internlm2_core.checkpoint.released import read_size, save_released


def convert(source: str, to: str, format: Literal["released", "llama", "reward"]) -> None:
    """Write the model of ``source`` in another layout; the source's layout is recognised.

    Args:
        source: a model folder.
        to: the new folder.
        format: ``released`` and ``llama`` for language models, ``reward`` for reward models in released layout;
            a reward model in Llama's layout becomes a sequence classifier.

    Raises:
        ValueError: an unknown format; a reward model asked to be a language model or the reverse; equal folders.
    """
    if format not in ("released", "llama", "reward"):
        raise ValueError(f"format={format!r} is none of released, llama, reward; set format= to one of them.")
    if Path(source).resolve() == Path(to).resolve():
        raise ValueError(f"from and to are both {source}; set to= to another folder.")
    layout, size = layout_of(source), read_size(source)
    tensors: Iterable[tuple[str, Tensor]] = read_tensors(Path(source))
    if layout.startswith("llama"):
        tensors = from_llama(tensors, size)
    is_reward = layout.endswith("reward")
    if is_reward and format == "released":
        raise ValueError(f"{source} is a reward model, which has no head for words; set format=reward or format=llama.")
    if format == "reward" and not is_reward:
        raise ValueError(f"{source} has no v_head; train one with `internlm2 reward init_from={source}`.")
    if format == "llama":
        save_llama(to, size, tensors, source, is_reward)
    else:
        architecture = "InternLM2ForRewardModel" if is_reward else "InternLM2ForCausalLM"
        save_released(to, size, tensors, source, architecture)
    print(f"{to}: {format} layout of {source}")
