import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from internlm2_core import LanguageModel, ModelSize
from internlm2_core.generation import Completion, LocalEngine, Sampling
from internlm2_core.jobs import generate
from internlm2_core.jobs.chat import HELP, Conversation, chat
from internlm2_core.jobs.tools import tools_of
from internlm2_core.text import load_tokenizer


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


def test_tools_come_from_a_file_and_results_from_a_command(
    tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, prompts = tmp_path / "tools.json", []
    file.write_text(json.dumps([{"name": "weather"}]))
    tokenizer = load_tokenizer(tokenizer_file)
    special = tokenizer.special

    class Scripted:
        def generate(self, asked: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
            prompts.append(tokenizer.decode(asked[0]))
            call = [special("<|action_start|>"), special("<|plugin|>"), *tokenizer.encode("\n{}")]
            return [Completion([*call, special("<|action_end|>"), special("<|im_end|>")])]

    words = iter(["Weather?", "/result rain", "/result", "/quit"])
    monkeypatch.setattr("builtins.input", lambda *_: next(words))
    chat(str(tokenizer_file), None, Sampling(), lambda _: Scripted(), str(file))
    assert ['system name=<|plugin|>\n[{"name": "weather"}]' in prompt for prompt in prompts] == [True, True]
    assert "<|im_start|>environment name=<|plugin|>\nrain<|im_end|>" in prompts[1]
    assert "<|action_start|><|plugin|>" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (None, FileNotFoundError, r"tools=.*tools\.json does not exist"),
        ("[", ValueError, r"tools=.*tools\.json is not JSON"),
        ('{"name": "weather"}', ValueError, r"tools=.*tools\.json must be a list of functions"),
        ("[1]", ValueError, r"tools=.*tools\.json must be a list of functions"),
    ],
)
def test_files_that_list_no_tools(tmp_path: Path, words: str | None, error: type[Exception], message: str) -> None:
    file = tmp_path / "tools.json"
    if words is not None:
        file.write_text(words)
    with pytest.raises(error, match=message):
        tools_of(str(file))
