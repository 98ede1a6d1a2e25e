"""The queue of comparisons that people judge, in one SQLite file that survives a killed process.

    add ──► open ──next──► (a seat holds it) ──judge──► decided ──► preference pairs
                 ◄──undo──                          └─► disagreed ──next(role="resolution")──► decided

A seat is one tab of one annotator's browser: what it holds is not given to others for a while, so that two tabs, or two
people, do not judge the same comparison by accident. Nothing is ever deleted: a judgement that is taken back is marked.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from internlm2_align.people.rows import by_comparison, comparison_with, hold, resettle, said_of, take_back
from internlm2_align.people.store import (
    FILE,
    comparison_in,
    create,
    said_in,
    set_setting,
    setting,
    snapshot,
    transaction,
)
from internlm2_align.people.votes import Role, Said, settle
from internlm2_align.preferences.comparison import VERDICTS, Comparison, Judgement, comparison_record

SEAT_S = 900.0
"""How long a comparison that was shown and not judged is kept from others."""

NEXT = """
SELECT id FROM comparisons AS asked WHERE state = :state
    AND NOT EXISTS (SELECT 1 FROM judgements WHERE undone = '' AND comparison = asked.id AND annotator = :annotator
                    AND role = :role)
    AND NOT EXISTS (SELECT 1 FROM seats WHERE comparison = asked.id AND annotator = :annotator AND role = :role)
    AND (SELECT COUNT(*) FROM judgements WHERE undone = '' AND comparison = asked.id AND role = :role
         AND verdict != 'skip')
      + (SELECT COUNT(*) FROM seats WHERE comparison = asked.id AND role = :role)
      < CASE :state WHEN 'open' THEN wanted WHEN 'gold' THEN 1e9 ELSE 1 END
ORDER BY position LIMIT 1
"""
HELD = "SELECT comparison FROM seats WHERE annotator = ? AND role = ? AND seat = ? ORDER BY since DESC LIMIT 1"


class Queue:
    """Comparisons, who said what of them, and what is still to be judged.

    Opening a folder again keeps what it holds. Threads and processes may use one folder at the same time.

    Args:
        folder: Holds ``labels.sqlite``. It is made if it is missing.
        comparisons: Added, see `add`.
        annotators_per: How many people judge each comparison. None keeps what the folder says, at first 1.
        overlap: Share of the comparisons that one more person judges, which agreement is measured on. None keeps what
            the folder says, at first 0.
        gold_share: Share of gold questions among what an annotator sees, as long as there are any. None keeps what the
            folder says, at first 0.1.

    Raises:
        ValueError: If a share is outside [0, 1], ``annotators_per`` is below 1, a comparison is refused, or the file is
            of another schema.
    """

    def __init__(
        self,
        folder: str | Path,
        comparisons: Iterable[Comparison] = (),
        annotators_per: int | None = None,
        overlap: float | None = None,
        gold_share: float | None = None,
    ) -> None:
        if annotators_per is not None and annotators_per < 1:
            raise ValueError(f"annotators_per={annotators_per} must be 1 or more.")
        for name, share in (("overlap", overlap), ("gold_share", gold_share)):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name}={share} must be from 0 to 1.")
        self.file = Path(folder) / FILE
        create(self.file)
        with transaction(self.file) as database:
            salt = setting(database, "salt") or secrets.token_hex(8)
            before = setting(database, "annotators_per", 1), setting(database, "overlap", 0.0)
            self.salt = salt
            self.annotators_per = before[0] if annotators_per is None else annotators_per
            self.overlap = before[1] if overlap is None else overlap
            self.gold_share = setting(database, "gold_share", 0.1) if gold_share is None else gold_share
            for name in ("salt", "annotators_per", "overlap", "gold_share"):
                set_setting(database, name, getattr(self, name))
            if before != (self.annotators_per, self.overlap):
                for row in database.execute("SELECT id FROM comparisons WHERE state != 'gold'").fetchall():
                    resettle(database, row["id"], self.wanted(row["id"]))
        self.add(comparisons)

    def add(self, comparisons: Iterable[Comparison]) -> int:
        """Put comparisons behind those that are there. One that is there already is left as it is.

        A comparison whose ``meta`` has ``gold`` is a gold question: everybody may be asked it, and it never becomes a
        pair.

        Returns:
            How many are new.

        Raises:
            ValueError: If an id is there with another content, or ``gold`` is not a verdict. Nothing is added then.
        """
        added = 0
        with transaction(self.file) as database:
            for comparison in comparisons:
                gold = comparison.meta.get("gold")
                if gold is not None and gold not in VERDICTS[:-1]:
                    raise ValueError(f"gold={gold!r} of {comparison.id} must be one of {', '.join(VERDICTS[:-1])}.")
                record = json.dumps(comparison_record(comparison), sort_keys=True)
                row = database.execute("SELECT record FROM comparisons WHERE id = ?", (comparison.id,)).fetchone()
                if row is not None and row["record"] != record:
                    raise ValueError(f"id={comparison.id!r} is in {self.file} with another content.")
                if row is None:
                    state, wanted = "open" if gold is None else "gold", self.wanted(comparison.id)
                    values = (comparison.id, comparison.domain, record, gold, wanted, state)
                    database.execute(
                        "INSERT INTO comparisons (id, domain, record, gold, wanted, state) VALUES (?, ?, ?, ?, ?, ?)",
                        values,
                    )
                    added += 1
        return added

    def wanted(self, id_: str) -> int:
        """How many people judge a comparison. It depends on its id alone, not on what else is there."""
        return self.annotators_per + (self._draw("overlap", id_) < self.overlap)

    def first_is_left(self, id_: str, annotator: str) -> bool:
        """Whether an annotator sees the first reply on the left. It is random, and the same after a reload.

        Args:
            id_: Of the comparison.
            annotator: Who looks at it.
        """
        return self._draw("side", id_, annotator) < 0.5

    def next(self, annotator: str, seat: str = "", role: Role = "label") -> Comparison | None:
        """What an annotator is to judge now. It is held for the seat, which gets the same one again until it judges.

        Args:
            annotator: Who.
            seat: Which tab of theirs.
            role: ``label``, or ``resolution`` for what people disagree about.

        Returns:
            A comparison. None if nothing is left that others do not hold.
        """
        with transaction(self.file) as database:
            database.execute("DELETE FROM seats WHERE since < ?", (time.time() - SEAT_S,))
            row = database.execute(HELD, (annotator, role, seat)).fetchone()
            if row is not None:
                return comparison_with(database, row["comparison"])
            for state in self._states(database, annotator, role):
                row = database.execute(NEXT, {"state": state, "annotator": annotator, "role": role}).fetchone()
                if row is not None:
                    hold(database, row["id"], annotator, role, seat)
                    return comparison_with(database, row["id"])
        return None

    def judge(
        self,
        judgement: Judgement,
        role: Role = "label",
        first_is_left: bool | None = None,
        seconds: float | None = None,
        request: str | None = None,
    ) -> None:
        """Keep a judgement. It is on disk when this returns. It replaces what its annotator said of it before.

        Args:
            judgement: What is said.
            role: ``label``, or ``resolution`` for the last word on a disagreement.
            first_is_left: Whether the first reply was shown on the left. None if it was not shown by a page.
            seconds: From the first look to the answer.
            request: Names this call: a second one with the same name changes nothing, so that a caller who has got no
                answer can call again.

        Raises:
            ValueError: If the comparison is not in the queue, or ``annotator`` is empty.
        """
        if not judgement.annotator.strip():
            raise ValueError(f"annotator={judgement.annotator!r} must be a name.")
        with transaction(self.file) as database:
            known = database.execute("SELECT 1 FROM comparisons WHERE id = ?", (judgement.comparison,)).fetchone()
            if known is None:
                raise ValueError(f"comparison={judgement.comparison!r} is not in {self.file}.")
            request = request or uuid4().hex
            if database.execute("SELECT 1 FROM judgements WHERE request = ?", (request,)).fetchone():
                return
            mine, shown = (judgement.comparison, judgement.annotator, role), (first_is_left, seconds)
            take_back(database, "comparison = ? AND annotator = ? AND role = ?", mine)
            database.execute(
                "INSERT INTO judgements (request, comparison, annotator, role, verdict, margin, remark, time, "
                "first_is_left, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (request, *mine, judgement.verdict, judgement.margin, judgement.remark, judgement.time, *shown),
            )
            database.execute("DELETE FROM seats WHERE comparison = ? AND annotator = ? AND role = ?", mine)
            resettle(database, judgement.comparison)

    def undo(self, annotator: str, seat: str = "") -> Said | None:
        """Take back the last thing that an annotator said. The seat gets its comparison next.

        Args:
            annotator: Who.
            seat: Which tab of theirs.

        Returns:
            What was taken back. None if there is nothing.
        """
        with transaction(self.file) as database:
            row = database.execute(
                "SELECT * FROM judgements WHERE annotator = ? AND undone = '' ORDER BY number DESC LIMIT 1",
                (annotator,),
            ).fetchone()
            if row is None:
                return None
            take_back(database, "number = ?", (row["number"],))
            hold(database, row["comparison"], annotator, row["role"], seat)
            resettle(database, row["comparison"])
            return said_in(row)

    def comparisons(self) -> dict[str, Comparison]:
        """Everything that is to be judged, by id, gold questions too."""
        with snapshot(self.file) as database:
            rows = database.execute("SELECT * FROM comparisons ORDER BY position")
            return {row["id"]: comparison_in(row) for row in rows}

    def domains(self) -> dict[str, tuple[str, str | None]]:
        """Domain and gold verdict of each comparison, by id. The verdict of an ordinary one is None."""
        with snapshot(self.file) as database:
            return {
                id_: (domain, gold)
                for id_, domain, gold in database.execute("SELECT id, domain, gold FROM comparisons")
            }

    def judgements(self) -> list[Said]:
        """Everything that was ever said, in the order of saying. What was taken back says when (``undone``)."""
        with snapshot(self.file) as database:
            return [said_in(row) for row in database.execute("SELECT * FROM judgements ORDER BY number")]

    def decided(self) -> dict[str, Judgement]:
        """The judgement that counts, by id of the comparison: see `settle`. It leaves gold questions out."""
        with snapshot(self.file) as database:
            found = ((id_, settle(said, wanted)[1]) for id_, wanted, said in by_comparison(database, "decided"))
            return {id_: judgement for id_, judgement in found if judgement is not None}

    def disagreements(self) -> dict[str, list[Said]]:
        """What people disagree about, with what each of them says, by id of the comparison."""
        with snapshot(self.file) as database:
            return {id_: said for id_, _, said in by_comparison(database, "disagreed")}

    def said_of(self, id_: str) -> list[Said]:
        """What counts of what was said of one comparison."""
        with snapshot(self.file) as database:
            return said_of(database, id_)

    def count_of(self, annotator: str) -> int:
        """How much an annotator has said that counts, gold questions and skips too."""
        with snapshot(self.file) as database:
            return _count_of(database, annotator)

    def progress(self) -> dict[str, tuple[int, int]]:
        """Decided comparisons and all comparisons of each domain, without gold questions."""
        return {domain: (states.get("decided", 0), sum(states.values())) for domain, states in self.states().items()}

    def states(self) -> dict[str, dict[str, int]]:
        """Comparisons by domain and state, ``open``, ``decided`` and ``disagreed``. Gold questions are left out."""
        counts: dict[str, dict[str, int]] = {}
        with snapshot(self.file) as database:
            for row in database.execute(
                "SELECT domain, state, COUNT(*) AS count FROM comparisons WHERE state != 'gold' "
                "GROUP BY state, domain ORDER BY domain"
            ):
                counts.setdefault(row["domain"], {})[row["state"]] = row["count"]
        return counts

    def _draw(self, *names: str) -> float:
        """A number in [0, 1) that depends on the queue and the names alone."""
        digest = sha256("\0".join((self.salt, *names)).encode()).digest()
        return int.from_bytes(digest[:6]) / 2**48

    def _states(self, database: sqlite3.Connection, annotator: str, role: Role) -> tuple[str, ...]:
        """From where the next comparison is taken, in order."""
        if role == "resolution":
            return ("disagreed",)
        count = str(_count_of(database, annotator))
        return ("gold", "open") if self._draw("gold", annotator, count) < self.gold_share else ("open",)


def _count_of(database: sqlite3.Connection, annotator: str) -> int:
    (count,) = database.execute(
        "SELECT COUNT(*) FROM judgements WHERE annotator = ? AND undone = ''", (annotator,)
    ).fetchone()
    return int(count)
