"""Answers of a model, kept as they come, so that an evaluation that was stopped does not ask again.

A request is known by a hash of the model, of how it is asked and of the request itself. A batch is kept whole or not at
all: after a stop the same batches are computed again, and figures come out equal to the last bit.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_core.checkpoint.folder import read_json

Request = Sequence[Any]
"""What is asked, in JSON values."""

MODEL_FILES = ("*.safetensors", "*.json", "*.model")
"""Files of a model folder that change its answers."""


class AnswerStore:
    """Answers in an SQLite file.

    Args:
        file: The file. It is made if it does not exist.
        asked: Hash of the model and of how it is asked.
    """

    def __init__(self, file: Path, asked: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.asked = asked
        self.connection = sqlite3.connect(file, timeout=60)
        # What is committed outlives the process. Only a machine that fails may lose the last answers.
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=NORMAL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS answers (request BLOB PRIMARY KEY, answer TEXT NOT NULL)")

    def key(self, request: Request) -> bytes:
        """Hash of a request to this model."""
        return hashlib.sha256(json.dumps([self.asked, *request]).encode()).digest()

    def all_of(self, keys: Sequence[bytes]) -> list[Any] | None:
        """The answers of a batch, or None where one is missing."""
        found: list[Any] = []
        for key in keys:
            row = self.connection.execute("SELECT answer FROM answers WHERE request = ?", (key,)).fetchone()
            if row is None:
                return None
            found.append(json.loads(row[0]))
        return found

    def keep(self, keys: Sequence[bytes], answers: Iterable[Any]) -> list[Any]:
        """Keep the answers of a batch, all at once. An answer that is there already stays.

        Args:
            keys: Hashes of what was asked.
            answers: What was answered, in JSON values.

        Returns:
            What the file holds now.
        """
        with self.connection:
            rows = [(key, json.dumps(answer)) for key, answer in zip(keys, answers, strict=True)]
            self.connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
        kept = self.all_of(keys)
        assert kept is not None
        return kept

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def forget(file: Path) -> None:
    """Remove a file of answers, and what SQLite keeps beside it."""
    for part in (file, *file.parent.glob(f"{file.name}-*")):
        part.unlink(missing_ok=True)


def in_batches(
    store: AnswerStore | None,
    request: Callable[[int], Request],
    batches: Sequence[Sequence[int]],
    compute: Callable[[Sequence[int]], Sequence[Any]],
    done: Callable[[int], None],
) -> list[Any]:
    """Answers to all requests, in order.

    Args:
        store: Where answers are looked up and kept. None keeps nothing.
        request: Gives the request at an index.
        batches: Indices of the requests, in the batches that are computed together. They cover each request once.
        compute: Answers the requests at these indices, in JSON values.
        done: Called with the number of answers so far.
    """
    answers: list[Any] = [None] * sum(map(len, batches))
    count = 0
    for batch in batches:
        keys = [store.key(request(index)) for index in batch] if store else []
        found = store.all_of(keys) if store else None
        if found is None:
            found = list(compute(batch))
            # Another batch may have answered the same request, a last bit away.
            found = store.keep(keys, found) if store else found
        for index, answer in zip(batch, found, strict=True):
            answers[index] = answer
        count += len(batch)
        done(count)
    return answers


def asked_of(checkpoint: Path, how: Mapping[str, Any]) -> str:
    """Hash of a model folder and of how its model is asked.

    Args:
        checkpoint: The folder. Its weights are read whole, since a step of training may change few of them.
        how: What else changes the answers: engine, device.
    """
    read_json(checkpoint / "config.json")
    digest = hashlib.sha256(json.dumps(dict(how), sort_keys=True).encode())
    for file in sorted({file for pattern in MODEL_FILES for file in checkpoint.glob(pattern)}):
        with file.open("rb") as opened:
            digest.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()
