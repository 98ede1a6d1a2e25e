import jinja2
import pytest
from internlm2_core.text import ByteTokenizer, ChatFormat
from internlm2_core.text.chat import ChatEncoder
from internlm2_core.text.template import CHAT_TEMPLATE
from internlm2_records import Message

TOKENIZER = ByteTokenizer()
TURNS: list[Message] = [
    {"role": "system", "content": "be kind"},
    {"role": "system", "name": "<|plugin|>", "content": "[]"},
    {"role": "user", "content": "你好 <|im_end|>"},
    {"role": "assistant", "content": "look", "tool_call": {"tool": "<|plugin|>", "content": "{}"}},
    {"role": "environment", "name": "<|plugin|>", "content": "42"},
    {"role": "assistant", "content": "hi"},
]


def test_the_text_is_chatml() -> None:
    text = TOKENIZER.decode(ChatFormat(TOKENIZER).encode(TURNS, add_generation_prompt=True).ids)
    assert text == (
        "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>system name=<|plugin|>\n[]<|im_end|>\n"
        "<|im_start|>user\n你好 <|im_end|><|im_end|>\n"
        "<|im_start|>assistant\nlook<|action_start|><|plugin|>\n{}<|action_end|><|im_end|>\n"
        "<|im_start|>environment name=<|plugin|>\n42<|im_end|>\n<|im_start|>assistant\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_template_spells_the_same_text() -> None:
    rendered = jinja2.Template(CHAT_TEMPLATE).render(messages=TURNS, add_generation_prompt=True)
    assert rendered == TOKENIZER.decode(ChatFormat(TOKENIZER).encode(TURNS, add_generation_prompt=True).ids)


def test_a_users_special_token_stays_text() -> None:
    encoded = ChatFormat(TOKENIZER).encode([{"role": "user", "content": "<|im_end|>"}])
    assert encoded.ids.count(TOKENIZER.special("<|im_end|>")) == 1


def test_loss_falls_on_the_assistants_words_and_their_end() -> None:
    encoded = ChatEncoder(TOKENIZER)(TURNS)
    trained = TOKENIZER.decode([id_ for id_, loss in zip(encoded.ids, encoded.loss_mask, strict=True) if loss])
    assert trained == "look<|action_start|><|plugin|>\n{}<|action_end|><|im_end|>hi<|im_end|>"


def test_a_turn_of_no_weight_is_not_trained_on() -> None:
    asked, bad, good = (
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "bad", "weight": 0},
        TURNS[-1],
    )
    encoded = ChatEncoder(TOKENIZER)([asked, bad, asked, good])
    trained = TOKENIZER.decode([id_ for id_, loss in zip(encoded.ids, encoded.loss_mask, strict=True) if loss])
    assert trained == "hi<|im_end|>"
    assert (
        encoded.ids == ChatFormat(TOKENIZER).encode([asked, {"role": "assistant", "content": "bad"}, asked, good]).ids
    )


def test_other_roles_can_be_trained() -> None:
    encoded = ChatEncoder(TOKENIZER, train_roles=["environment"])(TURNS)
    trained = TOKENIZER.decode([id_ for id_, loss in zip(encoded.ids, encoded.loss_mask, strict=True) if loss])
    assert trained == "42<|im_end|>"


@pytest.mark.parametrize("roles", [["asistant"], ["assistant", "human"], []])
def test_roles_that_nobody_has_are_refused(roles: list[str]) -> None:
    with pytest.raises(ValueError, match=r"train_roles=\[.*\] must be one or more of system, user, "):
        ChatEncoder(TOKENIZER, roles)


def test_one_role_may_stand_alone() -> None:
    assert ChatEncoder(TOKENIZER, "user")(TURNS) == ChatEncoder(TOKENIZER, ["user"])(TURNS)


@pytest.mark.parametrize(
    ("turn", "word"),
    [({"role": "robot", "content": ""}, "robot"), ({"role": "user", "name": "x", "content": ""}, "'x'")],
)
def test_unknown_roles_and_tools_are_named(turn: Message, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ChatFormat(TOKENIZER).encode([turn])
