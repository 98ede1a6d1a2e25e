"""The SQLite file beneath a queue: tables, connections, and rows as objects.

Every change is one transaction that is on disk before it is acknowledged (WAL, ``synchronous=FULL``). Threads and
processes share the file, each call with a connection of its own.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from internlm2_align.people.votes import Said
from internlm2_align.preferences.comparison import Comparison, Judgement, comparison_of

FILE = "labels.sqlite"
SCHEMA = 1
WAIT_S = 30.0
"""How long a call waits for another process that writes."""

TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS comparisons (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, domain TEXT NOT NULL, record TEXT NOT NULL, gold TEXT,
    wanted INTEGER NOT NULL, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS comparisons_in_order ON comparisons (state, position);
CREATE INDEX IF NOT EXISTS comparisons_by_domain ON comparisons (state, domain);
CREATE TABLE IF NOT EXISTS judgements (
    number INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT NOT NULL UNIQUE,
    comparison TEXT NOT NULL REFERENCES comparisons (id), role TEXT NOT NULL, annotator TEXT NOT NULL,
    verdict TEXT NOT NULL, margin REAL NOT NULL, remark TEXT NOT NULL, time TEXT NOT NULL,
    first_is_left INTEGER, seconds REAL, undone TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS judgements_of_comparison ON judgements (comparison, annotator) WHERE undone = '';
CREATE INDEX IF NOT EXISTS judgements_of_annotator ON judgements (annotator, number) WHERE undone = '';
CREATE TABLE IF NOT EXISTS seats (
    comparison TEXT NOT NULL, annotator TEXT NOT NULL, role TEXT NOT NULL, seat TEXT NOT NULL, since REAL NOT NULL,
    PRIMARY KEY (comparison, annotator, role));
"""


@contextmanager
def _connected(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, timeout=WAIT_S, isolation_level=None)) as database:
        database.row_factory = sqlite3.Row
        yield database


@contextmanager
def transaction(file: Path) -> Iterator[sqlite3.Connection]:
    """One transaction that reads and writes: committed at the end, rolled back on an error.

    Args:
        file: The database.
    """
    with _connected(file) as database:
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.rollback()
            raise
        database.commit()


@contextmanager
def snapshot(file: Path) -> Iterator[sqlite3.Connection]:
    """One state of the database to read from, which others may change meanwhile.

    Args:
        file: The database.
    """
    with _connected(file) as database:
        database.execute("BEGIN")
        yield database


def create(file: Path) -> None:
    """Make the database where there is none.

    Raises:
        ValueError: If the file is of another schema, or is not a database.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(file, timeout=WAIT_S)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA):
                raise ValueError(f"{file} has schema {version}, and this release reads schema {SCHEMA}.")
            if version == 0:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{file} cannot be used as a database: {error}.") from error


def comparison_in(row: sqlite3.Row) -> Comparison:
    """The comparison of a row of ``comparisons``."""
    return comparison_of(json.loads(row["record"]))


def said_in(row: sqlite3.Row) -> Said:
    """What a row of ``judgements`` says."""
    judgement = Judgement(
        row["comparison"], row["verdict"], row["annotator"], row["time"], row["margin"], row["remark"]
    )
    first_is_left = None if row["first_is_left"] is None else bool(row["first_is_left"])
    return Said(judgement, row["role"], first_is_left, row["seconds"], row["undone"])


def setting(database: sqlite3.Connection, name: str, default: Any = None) -> Any:
    """A setting of the queue.

    Args:
        database: A connection.
        name: Its name.
        default: What it is where it was never set.
    """
    row = database.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return default if row is None else json.loads(row["value"])


def set_setting(database: sqlite3.Connection, name: str, value: Any) -> None:
    """Keep a setting of the queue.

    Args:
        database: A connection that writes.
        name: Its name.
        value: Anything that JSON holds.
    """
    database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))
