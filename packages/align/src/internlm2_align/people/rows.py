"""Reads and changes of single comparisons and judgements, inside a transaction of `Queue`."""

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

from internlm2_align.people.store import comparison_in, said_in
from internlm2_align.people.votes import Role, Said, State, settle
from internlm2_align.preferences.comparison import Comparison


def now() -> str:
    """The time as a judgement gives it, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def comparison_with(database: sqlite3.Connection, id_: str) -> Comparison:
    """The comparison of an id.

    Args:
        database: A connection.
        id_: Its id, which must be there.
    """
    return comparison_in(database.execute("SELECT * FROM comparisons WHERE id = ?", (id_,)).fetchone())


def said_of(database: sqlite3.Connection, id_: str) -> list[Said]:
    """What was said of a comparison and not taken back.

    Args:
        database: A connection.
        id_: Of the comparison.
    """
    rows = database.execute("SELECT * FROM judgements WHERE comparison = ? AND undone = '' ORDER BY number", (id_,))
    return [said_in(row) for row in rows]


def by_comparison(database: sqlite3.Connection, state: State) -> Iterator[tuple[str, int, list[Said]]]:
    """Id, wanted judgements and what was said, of each comparison in a state.

    Args:
        database: A connection.
        state: The state.
    """
    rows = database.execute(
        "SELECT wanted, position, judgements.* FROM comparisons JOIN judgements ON judgements.comparison = id "
        "WHERE state = ? AND undone = '' ORDER BY position, number",
        (state,),
    )
    for _, found in groupby(rows, key=itemgetter("position")):
        first, *others = found
        yield first["comparison"], first["wanted"], [said_in(row) for row in (first, *others)]


def hold(database: sqlite3.Connection, id_: str, annotator: str, role: Role, seat: str) -> None:
    """Keep a comparison for a seat.

    Args:
        database: A connection that writes.
        id_: Of the comparison.
        annotator: Who sits there.
        role: As what it is judged.
        seat: The seat.
    """
    database.execute("INSERT OR REPLACE INTO seats VALUES (?, ?, ?, ?, ?)", (id_, annotator, role, seat, time.time()))


def take_back(database: sqlite3.Connection, which: str, values: tuple[str | int, ...]) -> None:
    """Mark judgements as taken back.

    Args:
        database: A connection that writes.
        which: A condition in SQL, never one from outside.
        values: For its question marks.
    """
    database.execute(f"UPDATE judgements SET undone = ? WHERE undone = '' AND {which}", (now(), *values))


def resettle(database: sqlite3.Connection, id_: str, wanted: int | None = None) -> None:
    """Work out the state of a comparison anew, after a change of what was said or wanted.

    Args:
        database: A connection that writes.
        id_: Of the comparison.
        wanted: How many judgements are wanted from now on. None leaves that.
    """
    row = database.execute("SELECT state, wanted FROM comparisons WHERE id = ?", (id_,)).fetchone()
    wanted = row["wanted"] if wanted is None else wanted
    state = "gold" if row["state"] == "gold" else settle(said_of(database, id_), wanted)[0]
    database.execute("UPDATE comparisons SET state = ?, wanted = ? WHERE id = ?", (state, wanted, id_))
