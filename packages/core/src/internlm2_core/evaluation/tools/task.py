"""Use of tools, step by step: instruct, plan, reason, retrieve, understand, review (T-Eval, Chen et al. 2024)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar

from internlm2_core.evaluation.records import evenly, placed_records
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.evaluation.tools.scoring import Similarity, overlap, score
from internlm2_core.evaluation.tools.transcripts import ABILITIES, place_of
from internlm2_core.text import ChatFormat

CHUNK = 128
"""Prompts between two movements of the progress bar."""


class Transcripts:
    """Asks for the next step at places of reference transcripts and scores it by rule.

    Args:
        records: Places (see `internlm2_core.evaluation.tools.transcripts`).
        max_new_tokens: The most tokens of a reply.
        limit: Places that are asked, spread evenly. None asks all.
        similarity: Compares thoughts and steps of plans. The published figures are of the cosine of sentence embeddings
            (``all-mpnet-base-v2``), which takes a model of its own.
    """

    kind: ClassVar[str] = "tool_transcripts"
    version: ClassVar[int] = 1

    def __init__(
        self, records: str, max_new_tokens: int = 512, limit: int | None = None, similarity: Similarity = overlap
    ) -> None:
        self.records, self.max_new_tokens, self.limit, self.similarity = records, max_new_tokens, limit, similarity

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Ask, score, count."""
        places = evenly([placed.parse(place_of) for placed in placed_records(self.records)], self.limit)
        chat = ChatFormat(subject.tokenizer)
        samples: list[dict[str, Any]] = []
        for start in range(0, len(places), CHUNK):
            progress(start, len(places))
            chunk = places[start : start + CHUNK]
            replies = subject.greedy([chat.prompt(p.messages) for p in chunk], self.max_new_tokens, ("<|im_end|>",))
            for place, reply in zip(chunk, replies, strict=True):
                about = {"id": place.id, "language": place.language, "format": place.format}
                samples += [
                    {**about, "ability": ability, "reference": dict(place.reference), "answer": reply}
                    | score(place, ability, reply, self.similarity)
                    for ability in place.abilities
                ]
        progress(len(places), len(places))
        name = getattr(self.similarity, "__name__", type(self.similarity).__name__)
        return Result({**figures(samples), "similarity": name}, samples)


def figures(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores by ability, and over all. An ability is the mean of its formats, all is the mean of the abilities.

    Args:
        samples: With ``ability``, ``format``, ``language``, ``score`` and ``parsed``.
    """
    languages = sorted({sample["language"] for sample in samples})
    by_language = {name: _scores([s for s in samples if s["language"] == name]) for name in languages}
    return {**_scores(samples), "languages": by_language}


def _scores(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    groups: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        groups[sample["ability"]][sample["format"]].append(sample)
    abilities: dict[str, dict[str, Any]] = {}
    for ability in sorted(groups, key=ABILITIES.index):
        formats: dict[str, dict[str, Any]] = {
            name: {
                "score": fmean(s["score"] for s in own),
                "parsed": fmean(s["parsed"] for s in own),
                "count": len(own),
            }
            for name, own in sorted(groups[ability].items())
        }
        abilities[ability] = {"score": fmean(part["score"] for part in formats.values()), "formats": formats}
    return {
        "score": fmean(part["score"] for part in abilities.values()),
        "count": len(samples),
        "abilities": abilities,
    }
