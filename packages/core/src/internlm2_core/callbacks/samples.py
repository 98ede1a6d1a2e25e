"""What the model says to a few prompts while it is trained."""

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_records import Message

from internlm2_core.callbacks.export import is_last_step
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.lm import LM
from internlm2_core.shares import SaysHowWeightsLie
from internlm2_core.text import ChatFormat, Tokenizer


class SampleAnswers(L.Callback):
    """Answers to fixed prompts, as lines of ``FOLDER/samples.jsonl`` (step, prompt, answer) and as text in TensorBoard.

    Every rank answers, since a strategy may gather weights from all of them. The first one writes.

    Args:
        prompts: What a user says, by the name it is logged under.
        tokenizer: The model's.
        folder: Where the lines go.
        every_steps: Optimizer steps between two rounds of answers. The last step is followed by one too.
        max_new_tokens: Of an answer.

    Raises:
        ValueError: If there is no prompt, or ``every_steps`` is below 1.
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
                f"SampleAnswers needs prompts, of which there are {len(prompts)}, and every_steps={every_steps} must "
                "be 1 or more."
            )
        self.prompts, self.tokenizer, self.file = dict(prompts), tokenizer, Path(folder) / "samples.jsonl"
        self.chat, self.every_steps = ChatFormat(tokenizer), every_steps
        self.ends = (self.chat.end, tokenizer.special("</s>"))
        # Nothing stops an answer: ranks that gather weights for each other must take equally many steps.
        self.sampling = Sampling(max_new_tokens, temperature=0)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse layouts in which no rank can put a network together to answer with.

        Raises:
            ValueError: If rows, stages or matrices are split over ranks.
        """
        how = trainer.strategy
        if isinstance(how, SaysHowWeightsLie) and (how.splits_layers or how.splits_rows or how.has_stages):
            raise ValueError(
                "SampleAnswers needs whole layers on each rank, which this strategy spreads over ranks. Leave the "
                "callback out, or shard by rows (ddp, zero1, fsdp)."
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Answer, where it is time."""
        assert isinstance(pl_module, LM)
        if trainer.global_step % self.every_steps and not is_last_step(trainer):
            return
        answers = self._answers(pl_module)
        if trainer.is_global_zero:
            self._write(trainer, answers)

    def _write(self, trainer: L.Trainer, answers: Sequence[str]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as lines:
            for name, answer in zip(self.prompts, answers, strict=True):
                line = {"step": trainer.global_step, "name": name, "prompt": self.prompts[name], "answer": answer}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._show(trainer, name, answer)

    def _answers(self, module: LM) -> Sequence[str]:
        asked: list[list[Message]] = [[{"role": "user", "content": text}] for text in self.prompts.values()]
        completions = LocalEngine(module.net).generate([self.chat.prompt(turns) for turns in asked], self.sampling)
        return [
            self.tokenizer.decode(list(takewhile(lambda id_: id_ not in self.ends, completion.ids)))
            for completion in completions
        ]

    def _show(self, trainer: L.Trainer, name: str, answer: str) -> None:
        for logger in trainer.loggers:
            writer: Any = getattr(logger, "experiment", None)
            if hasattr(writer, "add_text"):
                writer.add_text(f"samples/{name}", answer, trainer.global_step)
