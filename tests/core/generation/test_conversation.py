"""What a conversation remembers: the ids that were generated, and calls of tools as calls."""

from collections.abc import Sequence

import pytest
import torch
from internlm2_core import LanguageModel, LocalEngine, ModelSize
from internlm2_core.generation import Completion, Sampling
from internlm2_core.generation.conversation import Conversation
from internlm2_core.text import ByteTokenizer, ChatFormat
from internlm2_records import TOOLS, Message

TOKENIZER = ByteTokenizer()
FUNCTIONS = [{"name": "weather", "parameters": {"city": "string"}}]
PLUGIN = TOOLS[0]


class Scripted:
    """Says what it was given, in turn, and notes the prompts."""

    def __init__(self, *answers: list[int]) -> None:
        self.answers, self.prompts = list(answers), []

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        self.prompts.append(list(prompts[0]))
        return [Completion(self.answers.pop(0))]


def text(words: str) -> list[int]:
    return [*TOKENIZER.encode(words), TOKENIZER.special("<|im_end|>")]


def call(words: str, arguments: str) -> list[int]:
    special = TOKENIZER.special
    opened = [*TOKENIZER.encode(words), special("<|action_start|>"), special(PLUGIN)]
    return [*opened, *TOKENIZER.encode(f"\n{arguments}"), special("<|action_end|>"), special("<|im_end|>")]


def test_a_conversation_remembers_and_forgets() -> None:
    net = LanguageModel(ModelSize(1, 16, 1, 2, 24, vocab_size=TOKENIZER.vocab_size, head_dim=8))
    net.init_weights(torch.Generator().manual_seed(0))
    conversation = Conversation(LocalEngine(net), TOKENIZER, Sampling(max_new_tokens=3, seed=1), system="be kind")
    shown: list[str] = []
    answer = conversation.answer("hi", shown.append)
    assert "".join(shown) == answer
    assert [message["role"] for message in conversation.messages] == ["system", "user", "assistant"]
    conversation.reset("other")
    assert conversation.messages == [{"role": "system", "content": "other"}]


def test_an_engine_that_does_not_stream_is_shown_when_it_is_done() -> None:
    shown, engine = [], Scripted(text("yes"))
    conversation = Conversation(engine, TOKENIZER, Sampling(), system=None)
    assert conversation.answer("hi", shown.append) == "yes" == "".join(shown)
    assert TOKENIZER.decode(engine.prompts[0]).endswith("hi<|im_end|>\n<|im_start|>assistant\n")


def test_calls_results_and_tools() -> None:
    engine = Scripted(call("I look.", '{"city": "Oslo"}'), text("Rain."), text("Bye."))
    conversation = Conversation(engine, TOKENIZER, Sampling(), None, FUNCTIONS)
    for ask, words in ((conversation.answer, "Weather?"), (conversation.result, "rain"), (conversation.answer, "Bye")):
        ask(words, lambda _: None)
    messages: list[Message] = [
        {"role": "system", "name": PLUGIN, "content": '[{"name": "weather", "parameters": {"city": "string"}}]'},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_call": {"tool": PLUGIN, "content": '{"city": "Oslo"}'},
        },
        {"role": "environment", "name": PLUGIN, "content": "rain"},
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "Bye"},
    ]
    assert conversation.messages == [*messages, {"role": "assistant", "content": "Bye."}]
    assert engine.prompts[-1] == ChatFormat(TOKENIZER).prompt(messages)
    conversation.reset("be kind")
    assert [message["content"] for message in conversation.messages] == ["be kind", messages[0]["content"]]


def test_a_result_without_a_call_is_refused() -> None:
    conversation = Conversation(Scripted(text("yes")), TOKENIZER, Sampling(), None)
    for _ in range(2):
        with pytest.raises(ValueError, match="The last turn called no tool"):
            conversation.result("7", lambda _: None)
        if not conversation.messages:
            conversation.answer("hi", lambda _: None)


def test_what_was_generated_stays_as_it_was() -> None:
    """A model may spell a text with other ids than the tokenizer, half a character included."""

    class Merging(ByteTokenizer):
        """Encodes two bytes as one where it can: id 300 is "ab"."""

        def encode(self, words: str) -> list[int]:
            return [300 if part == "\0" else ord(part) for part in words.replace("ab", "\0")]

        def decode(self, ids: Sequence[int]) -> str:
            return super().decode([byte for id_ in ids for byte in ((97, 98) if id_ == 300 else (id_,))])

    said = [97, 98, 0xE4, 0xBD, TOKENIZER.special("<|im_end|>")]
    engine = Scripted(list(said), text("more"))
    conversation = Conversation(engine, Merging(), Sampling(), None)
    assert conversation.answer("hi", lambda _: None) == "ab\ufffd"
    conversation.answer("go", lambda _: None)
    prompt = engine.prompts[1]
    assert prompt[: len(engine.prompts[0])] == engine.prompts[0]
    assert prompt[len(engine.prompts[0]) :][: len(said)] == said


@pytest.mark.parametrize("end", ["</s>", None])
def test_a_turn_that_did_not_end_is_ended(end: str | None) -> None:
    engine = Scripted([*TOKENIZER.encode("yes"), *([TOKENIZER.special(end)] if end else [])], text("more"))
    conversation = Conversation(engine, TOKENIZER, Sampling(), None)
    conversation.answer("hi", lambda _: None)
    conversation.answer("go", lambda _: None)
    turns: list[Message] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go"},
    ]
    assert engine.prompts[1] == ChatFormat(TOKENIZER).prompt(turns)
