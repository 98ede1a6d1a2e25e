"""Replies of a model to instruction records, for the annotator to judge."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.generation import Engine, LocalEngine, Sampling
from internlm2_core.line_progress import LineProgress
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text.chat import ChatFormat
from internlm2_core.text.tokenizer import load_tokenizer

from internlm2_align.labelling.annotator import Record

CHUNK = 256


class ReplySampler:
    """A model that replies.

    Args:
        checkpoint: Folder of the model.
        sampling: How to sample. The stop token is set here.
        engine: Makes the engine, given the network.
        name: Shown in the progress bar.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        sampling: Sampling,
        engine: Callable[[LanguageModel], Engine] = LocalEngine,
        name: str = "model",
    ) -> None:
        self.engine = engine(load_model(checkpoint))
        self.chat = ChatFormat(load_tokenizer(checkpoint))
        self.sampling = replace(sampling, stop_ids=(self.chat.end,))
        self.name = name

    def replies(self, records: Sequence[Record], samples: int, seed: int) -> dict[str, list[str]]:
        """Sampled replies by record id, ``samples`` to each.

        Replies that did not end by themselves are kept: annotators see them too.
        """
        result: dict[str, list[str]] = {record["id"]: [] for record in records}
        jobs = [record for record in records for _ in range(samples)]
        with LineProgress() as progress:
            for start in progress.track(range(0, len(jobs), CHUNK), description=f"replies of {self.name}"):
                part = jobs[start : start + CHUNK]
                prompts = [self.chat.prompt(record["messages"][:-1]) for record in part]
                completions = self.engine.generate(prompts, replace(self.sampling, seed=seed * 1_000_003 + start))
                for record, completion in zip(part, completions, strict=True):
                    ids = [id_ for id_ in completion.ids if id_ != self.chat.end]
                    result[record["id"]].append(self.chat.tokenizer.decode(ids))
        return result
