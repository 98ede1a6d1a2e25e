"""The tokenizer's files in a model folder: what Transformers and the engines need to give the ids of training."""

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as TokenizersTokenizer
from tokenizers import processors

from internlm2_core.checkpoint.folder import read_json, write_json
from internlm2_core.text.pieces import tokenizer_of_pieces
from internlm2_core.text.said import CONFIG_KEYS, spelling
from internlm2_core.text.template import CHAT_TEMPLATE
from internlm2_core.text.tokenizer import Tokenizer, special_ids

CONFIG, GENERATION, TEMPLATE = "tokenizer_config.json", "generation_config.json", "chat_template.jinja"
CARRIED = (GENERATION, TEMPLATE, "special_tokens_map.json", "added_tokens.json")
"""Files that say how a model is used. `convert` copies them."""


def ids_of_config(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids that ``config.json`` names. Padding is ``</s>``."""
    ids, names = special_ids(tokenizer), {"bos": "<s>", "eos": "</s>", "pad": "</s>"}
    return {f"{key}_token_id": ids[name] for key, name in names.items() if name in ids}


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer's file and the configs with which Transformers loads it, chat template included.

    A SentencePiece file is copied, and written as ``tokenizer.json`` beside it.

    Args:
        folder: The model folder.
        tokenizer: One that has a file.
    """
    source = tokenizer.path
    assert source is not None
    if (pieces := source.with_name("tokenizer.model")).is_file() or source.suffix == ".model":
        shutil.copyfile(source if source.suffix == ".model" else pieces, folder / "tokenizer.model")
    made = TokenizersTokenizer.from_file(str(source)) if source.suffix == ".json" else tokenizer_of_pieces(source)
    if tokenizer.begin and made.encode("a").ids[:1] != [*tokenizer.begin]:
        [begin] = tokenizer.begin
        name = made.id_to_token(begin)
        made.post_processor = processors.TemplateProcessing(
            single=[name, "$A"], pair=[name, "$A", name, "$B:1"], special_tokens=[(name, begin)]
        )
    made.save(str(folder / "tokenizer.json"))
    write_json(folder / CONFIG, tokenizer_config(tokenizer))
    write_json(folder / GENERATION, generation_config(tokenizer))


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """``tokenizer_config.json``. The template is there if the vocabulary has the tokens of ChatML."""
    ids, pieces = special_ids(tokenizer), tokenizer.pieces()
    spelt = {key: pieces[ids[name]] for name, key in CONFIG_KEYS.items() if name in ids}
    if "</s>" in ids:
        spelt["pad_token"] = pieces[ids["</s>"]]
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(id_): {"content": pieces[id_], **flags} for id_ in sorted(ids.values())}
    opening = "{{- bos_token -}}" if tokenizer.begin else ""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(tokenizer.begin),
        **spelt,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": added,
        **({"chat_template": opening + CHAT_TEMPLATE} if "<|im_start|>" in ids else {}),
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """A turn ends at ``<|im_end|>``, a document at ``</s>``."""
    ids = special_ids(tokenizer)
    ends = [ids[name] for name in ("</s>", "<|im_end|>") if name in ids]
    return ids_of_config(tokenizer) | {"eos_token_id": ends}


def carry(source: Path, folder: Path) -> None:
    """Let a converted folder say of its use what the source says: ids, added tokens, templates and generation.

    Remote code (``auto_map``) is left out.

    Args:
        source: The model folder that was read.
        folder: The new one, with its configs.
    """
    for name in CARRIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    theirs, ours = (read_json(where / "config.json") for where in (source, folder))
    write_json(folder / "config.json", ours | {key: theirs[key] for key in theirs if key.endswith("_token_id")})
    if (source / CONFIG).is_file():
        theirs, ours = (json.loads((where / CONFIG).read_text(encoding="utf-8")) for where in (source, folder))
        kept = {key: spelling(value) for key, value in theirs.items() if key != "auto_map"}
        fixed = {key: ours[key] for key in ("tokenizer_class", "add_bos_token")}
        added = ours["added_tokens_decoder"] | theirs.get("added_tokens_decoder", {})
        write_json(folder / CONFIG, ours | kept | fixed | {"added_tokens_decoder": added})
