"""Open an exported folder with Transformers and compare: ids of texts and conversations, logits, greedy words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from internlm2_records import Message

from internlm2_core.checkpoint.any_layout import layout_of, load_model
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.text import ChatFormat, Tokenizer, load_tokenizer
from internlm2_core.text.tokenizer import special_ids

TEXTS = ("The river is long.", "  two spaces", "你好，世界", "def f(x):\n    return x + 1\n", "\n\nline breaks\n")
CONVERSATION: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "\nWhat is 你好?"},
    {"role": "assistant", "content": "A greeting."},
    {"role": "user", "content": "  Thanks. "},
]


def verify_export(checkpoint: str, max_difference: float = 1e-3, max_new_tokens: int = 16) -> dict[str, float]:
    """Compare what Transformers makes of a folder with what this package makes of it, both in float32.

    Args:
        checkpoint: A language model in Llama's layout, as ``convert format=llama`` writes it.
        max_difference: Largest difference of a logit, as a share of the largest logit.
        max_new_tokens: Tokens that both generate greedily.

    Returns:
        ``logit_difference``, the share, and ``texts``, the number of texts and conversations with equal ids.

    Raises:
        ModuleNotFoundError: If Transformers is not installed.
        ValueError: If the layout is another one, or anything differs.
    """
    if (layout := layout_of(checkpoint)) != "llama":
        raise ValueError(
            f"checkpoint={checkpoint} has the {layout} layout. Transformers reads a language model of Llama's layout "
            f"without remote code: `internlm2 convert from={checkpoint} to=FOLDER format=llama`."
        )
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("transformers is not installed: pip install transformers.") from error
    ours = load_tokenizer(Path(checkpoint))
    theirs = transformers.AutoTokenizer.from_pretrained(checkpoint)
    prompts = _equal_ids(ours, theirs, checkpoint)
    net = load_model(checkpoint).float().eval()
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    difference = 0.0
    for ids in prompts:
        with torch.no_grad():
            mine, other = net(torch.tensor([ids])), model(torch.tensor([ids])).logits
        difference = max(difference, float((mine - other).abs().max() / other.abs().max()))
    if not difference <= max_difference:
        raise ValueError(f"Logits of {checkpoint} differ by {difference:.2g}, more than {max_difference=:g}.")
    sampling = Sampling(temperature=0.0, max_new_tokens=max_new_tokens)
    [said] = LocalEngine(net).generate([prompts[0]], sampling)
    asked = torch.tensor([prompts[0]])
    greedy = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "max_new_tokens": max_new_tokens}
    generated = model.generate(asked, attention_mask=torch.ones_like(asked), **greedy)[0, asked.shape[1] :].tolist()
    if said.ids != generated:
        raise ValueError(f"Greedy tokens of {checkpoint} differ: {said.ids} here, {generated} in Transformers.")
    print(
        f"{checkpoint}: Transformers {transformers.__version__} gives equal ids of {len(prompts)} texts, logits within "
        f"{difference:.1e} and the same {max_new_tokens} greedy tokens."
    )
    return {"logit_difference": difference, "texts": float(len(prompts))}


def _equal_ids(ours: Tokenizer, theirs: Any, checkpoint: str) -> list[list[int]]:
    """Ids of the texts, and of the conversation where the vocabulary has ChatML.

    Raises:
        ValueError: If ids differ.
    """
    found: list[list[int]] = []
    for text in TEXTS:
        found.append([*ours.begin, *ours.encode(text)])
        _compare(found[-1], theirs.encode(text), repr(text), checkpoint)
    if "<|im_start|>" in special_ids(ours) and theirs.chat_template:
        found.append(ChatFormat(ours).prompt(CONVERSATION))
        spelt = theirs.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
        _compare(found[-1], theirs.encode(spelt, add_special_tokens=False), "the conversation", checkpoint)
    return found


def _compare(ours: Sequence[int], theirs: Sequence[int], what: str, checkpoint: str) -> None:
    if list(ours) != list(theirs):
        raise ValueError(f"Ids of {what} differ in {checkpoint}: {list(ours)} here, {list(theirs)} in Transformers.")
