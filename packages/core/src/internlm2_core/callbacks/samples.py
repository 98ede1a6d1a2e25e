"""What the model says to a few prompts while it is trained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.lm import LM
from internlm2_core.text import ChatFormat, Message, Tokenizer


class SampleAnswers(L.Callback):
    """Answers to fixed prompts, as lines of ``FOLDER/samples.jsonl`` (step, prompt, answer) and as text in TensorBoard.

    For strategies that keep the network whole on a rank; the first rank answers.

    Args:
        prompts: what a user says, by the name it is logged under.
        tokenizer: the model's.
        folder: where the lines go.
        every_steps: optimizer steps between two rounds of answers.
        max_new_tokens: of an answer.

    Raises:
        ValueError: no prompt, or ``every_steps`` below 1.
    """

    def __init__(
        self,
        prompts: Mapping[str, str],
        tokenizer: Tokenizer,
        folder: str | Path,
        every_steps: int = 100,
        max_new_tokens: int = 64,
    ) -> None:
        if not prompts or every_steps < 1:
            raise ValueError(
                f"samples need prompts and every_steps={every_steps} of 1 or more: "
                "set callbacks.samples.prompts={NAME: TEXT}."
            )
        self.prompts, self.tokenizer, self.file = dict(prompts), tokenizer, Path(folder) / "samples.jsonl"
        self.chat, self.every_steps = ChatFormat(tokenizer), every_steps
        self.sampling = Sampling(max_new_tokens, temperature=0, stop_ids=(self.chat.end, tokenizer.special("</s>")))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Answer, where it is time."""
        assert isinstance(pl_module, LM)
        if trainer.global_step % self.every_steps or not trainer.is_global_zero:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as lines:
            for name, answer in zip(self.prompts, self._answers(pl_module), strict=True):
                line = {"step": trainer.global_step, "name": name, "prompt": self.prompts[name], "answer": answer}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._show(trainer, name, answer)

    def _answers(self, module: LM) -> Sequence[str]:
        asked: list[list[Message]] = [[{"role": "user", "content": text}] for text in self.prompts.values()]
        completions = LocalEngine(module.net).generate([self.chat.prompt(turns) for turns in asked], self.sampling)
        ends = self.sampling.stop_ids
        return [self.tokenizer.decode([id_ for id_ in completion.ids if id_ not in ends]) for completion in completions]

    def _show(self, trainer: L.Trainer, name: str, answer: str) -> None:
        for logger in trainer.loggers:
            writer: Any = getattr(logger, "experiment", None)
            if hasattr(writer, "add_text"):
                writer.add_text(f"samples/{name}", answer, trainer.global_step)
