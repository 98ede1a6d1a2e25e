from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from internlm2_core import LanguageModel, ModelSize
from internlm2_core.generation import Completion, LocalEngine, Sampling
from internlm2_core.jobs import generate
from internlm2_core.jobs.chat import HELP, Conversation, TextStream, chat
from internlm2_core.text import ByteTokenizer, load_tokenizer


def test_characters_wait_until_they_are_whole() -> None:
    tokenizer, shown = ByteTokenizer(), []
    end = tokenizer.special("<|im_end|>")
    stream = TextStream(tokenizer, (end,), shown.append)
    for id_ in [*tokenizer.encode("a你"), end]:
        stream(id_)
    assert shown == ["a", "你"]
    assert stream.text == "a你"


def test_a_conversation_remembers_and_forgets() -> None:
    net = LanguageModel(ModelSize(1, 16, 1, 2, 24, vocab_size=ByteTokenizer().vocab_size, head_dim=8))
    net.init_weights(torch.Generator().manual_seed(0))
    conversation = Conversation(LocalEngine(net), ByteTokenizer(), Sampling(max_new_tokens=3, seed=1), system="be kind")
    shown: list[str] = []
    answer = conversation.answer("hi", shown.append)
    assert "".join(shown) == answer
    assert [message["role"] for message in conversation.messages] == ["system", "user", "assistant"]
    conversation.reset("other")
    assert conversation.messages == [{"role": "system", "content": "other"}]


def test_commands_are_not_said_to_the_model(
    tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = iter(["/rest", "/reset", "/system be kind", "/quit"])
    monkeypatch.setattr("builtins.input", lambda *_: next(words))
    net = LanguageModel(ModelSize(1, 16, 1, 2, 24, vocab_size=512, head_dim=8))
    monkeypatch.setattr(Conversation, "answer", lambda *_: pytest.fail("a command was said"))
    chat(str(tokenizer_file), None, Sampling(), lambda _: LocalEngine(net))
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count(HELP) == 2 and "conversation is forgotten" in shown and "system prompt is set" in shown


@pytest.mark.parametrize("stop", ["cat", ["cat"]])
def test_one_stop_string_is_no_list_of_letters(tokenizer_file: Path, stop: str | list[str]) -> None:
    tokenizer = load_tokenizer(tokenizer_file)

    class Scripted:
        def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
            assert sampling.stop == ("cat",)
            return [Completion(tokenizer.encode("act on a cat"))]

    assert generate(str(tokenizer_file), "?", False, None, Sampling(), stop, lambda _: Scripted()) == "act on a "


def test_an_engine_that_does_not_stream_is_shown_when_it_is_done() -> None:
    tokenizer, shown = ByteTokenizer(), []

    class Whole:
        def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
            assert tokenizer.decode(prompts[0]).endswith("hi<|im_end|>\n<|im_start|>assistant\n")
            return [Completion([*tokenizer.encode("yes"), sampling.stop_ids[0]])]

    conversation = Conversation(Whole(), tokenizer, Sampling(), system=None)
    assert conversation.answer("hi", shown.append) == "yes" == "".join(shown)
