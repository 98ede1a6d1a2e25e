"""Labels: what annotators said of some comparisons, kept in a file as it comes.

``FOLDER/judgements.jsonl`` holds every answer, one a line, in the order in which they came. The last one to a
comparison counts. A failure is asked again by the next run, a judgement is not: it was paid for. One that its annotator
takes back is asked again too. Gold questions (``meta["gold"]``) are checks of annotators. They are judged too, count
for nothing and become no pair.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from internlm2_align.labelling.annotator import Annotator, Answer, Failure, Reconsiders, TakenBack
from internlm2_align.preferences.comparison import Comparison, Judgement

FILE = "judgements.jsonl"
KINDS: Mapping[str, Callable[..., Answer]] = {"reason": Failure, "taken_back": TakenBack}
"""By a key that their records alone have."""


@dataclass(frozen=True)
class Labels:
    """The answers that count, by id of the comparison.

    Attributes:
        comparisons: What was asked, by id.
        judgements: Where somebody judged.
        failures: Where nobody could.
    """

    comparisons: Mapping[str, Comparison]
    judgements: dict[str, Judgement] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    def add(self, answer: Answer) -> bool:
        """Take an answer up.

        Returns:
            Whether it says something new.
        """
        if isinstance(answer, TakenBack):
            return self.judgements.pop(answer.comparison, None) is not None
        if isinstance(answer, Failure):
            is_new = answer.comparison not in self.judgements
            if is_new:
                self.failures[answer.comparison] = answer
            return is_new
        self.failures.pop(answer.comparison, None)
        is_new = self.judgements.get(answer.comparison) != answer
        self.judgements[answer.comparison] = answer
        return is_new

    def open(self) -> list[Comparison]:
        """Comparisons without a judgement, failed ones too."""
        return [comparison for id_, comparison in self.comparisons.items() if id_ not in self.judgements]

    def wanted(self) -> dict[str, Comparison]:
        """All comparisons but gold questions, by id."""
        return {id_: each for id_, each in self.comparisons.items() if "gold" not in each.meta}

    def gold(self) -> dict[str, dict[str, int]]:
        """Gold questions ``judged`` and those of them that were judged ``right``, by annotator."""
        found: dict[str, dict[str, int]] = {}
        for id_ in (self.comparisons.keys() - self.wanted().keys()) & self.judgements.keys():
            judgement, gold = self.judgements[id_], self.comparisons[id_].meta["gold"]
            counts = found.setdefault(judgement.annotator, {"judged": 0, "right": 0})
            counts["judged"] += 1
            counts["right"] += judgement.verdict == gold
        return dict(sorted(found.items()))

    def counts(self, ids: Sequence[str]) -> dict[str, Any]:
        """What became of some comparisons.

        Args:
            ids: Their ids.

        Returns:
            ``comparisons``, and ``pairs``, ``ties``, ``both_bad``, ``skipped``, ``failed`` (by reason) and ``open``,
            which add up to it.
        """
        said = Counter(self.judgements[id_].verdict for id_ in ids if id_ in self.judgements)
        failed = Counter(self.failures[id_].reason for id_ in ids if id_ in self.failures)
        return {
            "comparisons": len(ids),
            "pairs": said["first"] + said["second"],
            "ties": said["tie"],
            "both_bad": said["both_bad"],
            "skipped": said["skip"],
            "failed": dict(sorted(failed.items())),
            "open": len(ids) - said.total() - failed.total(),
        }

    def by_annotator(self) -> dict[str, int]:
        """Judgements that count, by who judged."""
        wanted = self.wanted()
        said = Counter(each.annotator for id_, each in self.judgements.items() if id_ in wanted)
        return dict(sorted(said.items()))


def label(annotator: Annotator, comparisons: Sequence[Comparison], folder: Path) -> Labels:
    """Have comparisons judged. What was judged before is not asked again.

    Args:
        annotator: Who judges.
        comparisons: All that are wanted.
        folder: Where the answers are kept.

    Raises:
        ValueError: If a comparison asks something else than when it was judged.
    """
    labels = Labels({comparison.id: comparison for comparison in comparisons})
    for answer in read_answers(folder, labels.comparisons):
        labels.add(answer)
    keep = partial(_keep, labels=labels, file=folder / FILE)
    if isinstance(annotator, Reconsiders):
        keep(annotator.reconsidered(labels.judgements, folder))
    open_ = labels.open()
    if any("gold" not in comparison.meta for comparison in open_):
        folder.mkdir(parents=True, exist_ok=True)
        keep(annotator.judge(open_, folder))
        if isinstance(annotator, Reconsiders):  # while it judged, it may have undone what it had said before
            keep(annotator.reconsidered(labels.judgements, folder))
    return labels


def _keep(answers: Iterator[Answer], labels: Labels, file: Path) -> None:
    """Take answers up, and write each that says something new as it comes."""
    for answer in answers:
        # People may have been asked more by another run. That stays in their queue.
        if answer.comparison in labels.comparisons and labels.add(answer):
            record = answer_record(answer, labels.comparisons[answer.comparison])
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())


def answer_record(answer: Answer, comparison: Comparison) -> dict[str, Any]:
    """The JSON form of an answer, which `read_answers` reads.

    Args:
        answer: What was said.
        comparison: Of what. The record names its content, so that it is not taken for another one of the same id.
    """
    kept = {name: value for name, value in asdict(answer).items() if value not in ("", {}, 0.0)}
    return kept | {"content": comparison.content}


def read_answers(folder: Path, comparisons: Mapping[str, Comparison]) -> Iterator[Answer]:
    """The answers of a folder to some comparisons. None where nobody has answered yet.

    Args:
        folder: Where `label` keeps them.
        comparisons: By id. Answers to others are left alone.

    Raises:
        ValueError: If a line is broken, or a comparison asks something else than when it was judged.
    """
    file = folder / FILE
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        # A killed process left half a line. Nothing may be appended to it.
        text = text[: text.rfind("\n") + 1]
        os.truncate(file, len(text.encode()))
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            record = json.loads(line)
            id_, content = record["comparison"], record.pop("content", None)
            kind = next((kind for name, kind in KINDS.items() if name in record), Judgement)
            answer = kind(**record)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file}, line {number} is not a judgement: {error}.") from error
        if id_ not in comparisons:
            continue
        if content not in (None, comparisons[id_].content):
            raise ValueError(
                f"{file}, line {number}: comparison {id_} asks something else now than when it was judged. Give it "
                "another id, or label into another folder."
            )
        yield answer
