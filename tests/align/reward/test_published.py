"""Folders of published reward models are scored as their own ``get_score`` does it.

What that does, by the modelling file of internlm2-1_8b-reward and its model card: the chat template renders the
conversation (``<s>``, then ``<|im_start|>ROLE\\nCONTENT<|im_end|>\\n`` for each turn), the text is encoded without further
special tokens, the id 92527 is appended, and the score is what ``v_head`` makes of the last state. There are no prompts of
conditions.
"""

import json

import pytest
import torch
from internlm2_align import RewardModel
from internlm2_align.reward.conditions import Unconditional
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model, save_reward
from internlm2_core import LanguageModel, ModelSize, load_tokenizer
from internlm2_core.jobs import convert
from transformers import AutoModelForSequenceClassification, AutoTokenizer

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
)
CONVERSATION = [
    {"role": "user", "content": "What is 5+7?"},
    {"role": "assistant", "content": "12"},
    {"role": "user", "content": "\n你好  "},
    {"role": "assistant", "content": "Hello there."},
]
IDS = [1, 92543, 1008, 364, 3993, 505, 262, 317, 342, 323, 345, 92542, 364, 92543, 525, 11353, 364, 845, 92542, 364]
"""Of the first two turns in the published tokenizer, without the token of the score."""


@pytest.mark.parametrize("has_bos", [True, False])
def test_scores_are_those_of_get_score(tokenizer_file, tmp_path, has_bos):
    size = ModelSize(2, 32, 1, 2, 48, vocab_size=load_tokenizer(tokenizer_file).vocab_size, head_dim=16)
    net = LanguageModel(size)
    net.init_weights(torch.Generator().manual_seed(0), std=0.3)
    reward = from_language_model(net, torch.Generator().manual_seed(1))
    nothing = Unconditional(["all"])
    save_reward(tmp_path / "model", size, reward.state_dict(), tokenizer_file, nothing)
    said = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": has_bos, "chat_template": TEMPLATE}
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(said))
    convert(str(tmp_path / "model"), str(tmp_path / "classifier"), "llama")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "classifier")
    text = theirs.apply_chat_template(CONVERSATION, tokenize=False).removeprefix("" if has_bos else "<s>")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    ids = [*theirs.encode(text, add_special_tokens=False), config["reward_token_id"]]
    assert (ids[0] == theirs.bos_token_id) == has_bos
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
    with torch.no_grad():
        expected = float(classifier(torch.tensor([ids])).logits)
    for folder in ("model", "classifier"):
        model = RewardModel.load(tmp_path / folder)
        assert model.score(CONVERSATION, "all") == pytest.approx(expected, abs=1e-5)
        group = model.encoder.group_of_ids(model.encoder.chat.prompt(CONVERSATION[:-1]), [7, 8], "all")
        assert group.prompt == ids[: len(group.prompt)]  # PPO's prompts begin once, not twice


def test_ids_of_the_published_tokenizer(real_data, tmp_path):
    file = real_data / "tokenizer" / "tokenizer_internlm2.model"
    if not file.is_file():
        pytest.skip(f"no released tokenizer at {file}")
    (tmp_path / "tokenizer.model").write_bytes(file.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "InternLM2Tokenizer"}))
    encoder = ConversationEncoder(load_tokenizer(tmp_path), Unconditional(["all"]))
    group = encoder.conversation(CONVERSATION[:2], "all")
    assert [*group.prompt, *group.replies[0]] == [*IDS, 92527]
