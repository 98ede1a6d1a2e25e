"""PeopleAnnotator: people judge, on a page of their browsers."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from internlm2_align.labelling.annotator import TakenBack, now
from internlm2_align.people import Queue, label_by_people
from internlm2_align.people.store import FILE
from internlm2_align.preferences.comparison import Comparison, Judgement
from internlm2_align.reward.conditions import load_conditions


class PeopleAnnotator:
    """People, who share a queue in the folder of the labels.

    Args:
        serve: Whether the page is served until enough is labelled, or until Ctrl-C. Otherwise comparisons are put into
            the queue, and what people have decided by now is taken from it.
        port: Port of the page. 0 takes a free one.
        host: Address to listen at. The default is reached from this machine alone.
        token: What the page must know. None makes one.
        least: Decided comparisons of each domain after which the page stops by itself. None serves until Ctrl-C.
        annotators_per: How many people judge each comparison.
        overlap: Share of the comparisons that one more person judges.
        gold_share: Share of gold questions among what a person sees.
        conditions: File of condition prompts that the page shows. None takes the built-in ones.
        names: Further names that the machine is called by, for browsers elsewhere.
    """

    name = "people"

    def __init__(
        self,
        serve: bool = True,
        port: int = 0,
        host: str = "127.0.0.1",
        token: str | None = None,
        least: int | None = None,
        annotators_per: int | None = None,
        overlap: float | None = None,
        gold_share: float | None = None,
        conditions: str | Path | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self.serve = serve
        shares: dict[str, Any] = {"annotators_per": annotators_per, "overlap": overlap, "gold_share": gold_share}
        self.queue = partial(Queue, **shares)
        self.page = partial(
            label_by_people,
            **shares,
            port=port,
            token=token,
            host=host,
            least=least,
            conditions=load_conditions(conditions),
            names=names,
        )

    def judge(self, comparisons: Sequence[Comparison], folder: Path) -> Iterator[Judgement]:
        """What people have decided by the end. The name of a judgement's annotator is the person's.

        Args:
            comparisons: Put into the queue, where they are not in it.
            folder: Holds ``labels.sqlite``.
        """
        queue = (self.page if self.serve else self.queue)(folder=folder, comparisons=comparisons)
        yield from queue.decided().values()

    def reconsidered(self, judgements: Mapping[str, Judgement], folder: Path) -> Iterator[Judgement | TakenBack]:
        """What people have undone, decided otherwise, or disagree about since.

        Args:
            judgements: Those that count by now, by id of the comparison.
            folder: Holds ``labels.sqlite``.
        """
        if not (folder / FILE).is_file():
            return
        queue = self.queue(folder=folder)
        decided = queue.decided()
        spoke = {(said.judgement.comparison, said.judgement.annotator) for said in queue.judgements()}
        for id_, judgement in list(judgements.items()):
            is_theirs = all((id_, name) in spoke for name in judgement.annotator.split(", "))
            if is_theirs and decided.get(id_) != judgement:
                yield decided.get(id_) or TakenBack(id_, now())
