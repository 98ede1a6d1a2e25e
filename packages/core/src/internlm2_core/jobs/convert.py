"""From one layout to another, tensor by tensor: never a second copy of the model in memory."""

import shutil
from pathlib import Path
from typing import Literal

from internlm2_core.checkpoint.any_layout import layout_of, read_model
from internlm2_core.checkpoint.configs import CONDITIONS_FILE
from internlm2_core.checkpoint.folder import checked, new_folder
from internlm2_core.checkpoint.llama import has_tied_head, save_llama
from internlm2_core.checkpoint.released import read_size, save_released, tensor_shapes


def convert(source: str, to: str, format: Literal["released", "llama", "reward"]) -> None:
    """Write the model of ``source`` in another layout; the source's layout is recognised.

    A reward model's condition table goes along. The head of a Llama that is tied becomes a copy of the embedding.

    Args:
        source: a model folder.
        to: the new folder.
        format: ``released`` and ``llama`` for language models, ``reward`` for reward models in released layout;
            a reward model in Llama's layout becomes a sequence classifier.

    Raises:
        ValueError: an unknown format; a reward model asked to be a language model or the reverse; equal folders; a
            missing, surplus or misshapen tensor.
    """
    if format not in ("released", "llama", "reward"):
        raise ValueError(f"format={format!r} is none of released, llama, reward; set format= to one of them.")
    if Path(source).resolve() == Path(to).resolve():
        raise ValueError(f"from and to are both {source}; set to= to another folder.")
    layout, size = layout_of(source), read_size(source)
    is_reward = layout.endswith("reward")
    if is_reward and format == "released":
        raise ValueError(f"{source} is a reward model, which has no head for words; set format=reward or format=llama.")
    if format == "reward" and not is_reward:
        raise ValueError(f"{source} has no v_head; train one with `internlm2 reward checkpoint={source}`.")
    save = save_llama if format == "llama" else save_released
    table = Path(source) / CONDITIONS_FILE
    with new_folder(to) as draft:
        tensors = checked(read_model(source), tensor_shapes(size, is_reward), source)
        save(draft, size, tensors, source, is_reward=is_reward)
        if is_reward and table.is_file():
            shutil.copyfile(table, draft / CONDITIONS_FILE)
    untied = ", its tied head as a copy of the embedding" if layout == "llama" and has_tied_head(Path(source)) else ""
    print(f"{to}: {format} layout of {source}{untied}")
