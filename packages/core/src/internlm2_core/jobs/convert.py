"""From one layout to another, tensor by tensor: never a second copy of the model in memory."""

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from internlm2_core.cards import About, measured, write_model_card
from internlm2_core.checkpoint.any_layout import layout_of, read_model
from internlm2_core.checkpoint.chat_names import grown, rows_for, write_with_names
from internlm2_core.checkpoint.configs import CONDITIONS_FILE
from internlm2_core.checkpoint.folder import checked, read_json, tensor_files
from internlm2_core.checkpoint.llama import has_tied_head, save_llama
from internlm2_core.checkpoint.released import read_size, save_released, tensor_shapes
from internlm2_core.checkpoint.replacing import check_place
from internlm2_core.checkpoint.tokenizer_files import carry
from internlm2_core.text import load_tokenizer

Format = Literal["released", "llama", "reward"]


def convert(source: str, to: str, format: Format, chat_names: bool = False, card: About | None = None) -> None:
    """Write the model of ``source`` in another layout. The layout of ``source`` is recognised.

    A reward model's condition table goes along, and what the source says of its use: ids of special tokens, added
    tokens, chat template and generation. Remote code does not. A tied head of a Llama becomes a copy of the embedding.

    Args:
        source: A model folder.
        to: The new folder. It must be absent, empty, or an older model, which is replaced.
        format: ``released`` and ``llama`` for language models, ``reward`` for reward models in released layout.
            A reward model in Llama's layout becomes a sequence classifier.
        chat_names: Give the vocabulary the tokens of the chat format that it lacks. Embedding and head grow, and the
            template is that of the chat format.
        card: What the card of the new folder says beside what the folders and the run say.

    Raises:
        FileNotFoundError: If an evaluation of the card is missing.
        ValueError: If the format is not known or does not fit the kind of model, ``to`` would destroy something
            else than a model, a tensor is missing, surplus or misshapen, or an evaluation is of another model.
    """
    if format not in get_args(Format):
        raise ValueError(f"format={format!r} must be one of {', '.join(get_args(Format))}.")
    card = card or About()
    check_place(to, source)
    measured(card.evaluations, [Path(to), Path(source)])
    layout, size = layout_of(source), read_size(source)
    is_reward = layout.endswith("reward")
    if is_reward and format == "released":
        raise ValueError(f"format={format!r} must be reward or llama: {source} holds a reward model.")
    if format == "reward" and not is_reward:
        raise ValueError(f"format={format!r} must be released or llama: {source} holds a language model.")
    save = save_llama if format == "llama" else save_released
    table = Path(source) / CONDITIONS_FILE

    def beside(draft: Path) -> None:
        if not chat_names:
            carry(Path(source), draft)
        if is_reward and table.is_file():
            shutil.copyfile(table, draft / CONDITIONS_FILE)

    tensors = checked(read_model(source), tensor_shapes(size, is_reward), source)
    with TemporaryDirectory() as scratch:
        tokenizer = Path(source)
        if chat_names:
            tokenizer = write_with_names(tokenizer, Path(scratch))
            size = replace(size, vocab_size=rows_for(load_tokenizer(tokenizer).vocab_size, size.vocab_size))
            tensors = grown(tensors, size.vocab_size)
        # Files as large as those that are read: what fits in memory there fits here.
        shard_bytes = max(file.stat().st_size for file in tensor_files(Path(source)).values())
        save(to, size, tensors, tokenizer, is_reward=is_reward, shard_bytes=shard_bytes, beside=beside)
    write_model_card(to, card, source)
    untied = ", its tied head as a copy of the embedding" if layout == "llama" and has_tied_head(Path(source)) else ""
    remote = ", without its remote code (auto_map)" if "auto_map" in read_json(Path(source) / "config.json") else ""
    print(f"{to}: {format} layout of {source}{untied}{remote}")
