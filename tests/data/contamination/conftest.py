import random
from pathlib import Path

import pytest
from internlm2_data.contamination import job
from internlm2_data.tokens import TokenWriter

WORDS = [a + b for a in ("ba", "ko", "mi", "ru", "te", "zo") for b in ("lan", "ne", "pi", "sar", "tum", "vex")]
SIGNS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"


class World:
    """Documents of which every token of every file is another id, so that an id says where it is from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pieces, self.rng = folder, [], random.Random(0)

    def encode(self, text: str) -> list[int]:
        """A token a character or two, so that words are cut anywhere."""
        ids, place = [], 0
        while place < len(text):
            size = self.rng.randint(1, 3)
            self.pieces.append(text[place : place + size])
            ids.append(len(self.pieces) - 1)
            place += size
        return ids

    def decode(self, ids) -> str:
        return "".join(self.pieces[id_] for id_ in ids)

    def english(self, words: int) -> str:
        return " ".join(self.rng.choices(WORDS, k=words))

    def chinese(self, signs: int) -> str:
        return "".join(self.rng.choices(SIGNS, k=signs))

    def file(self, name: str, texts: list[str], planted: list[str]) -> tuple[Path, dict[str, list[int]]]:
        """A token file, and the ids of each planted text. Each is in a random place of a random document."""
        documents = [[self.encode(text)] for text in texts]
        ids = {text: self.encode(text) for text in planted}
        for own in ids.values():
            parts = self.rng.choice(documents)
            place = self.rng.randrange(len(parts) + 1)
            parts.insert(place, [*self.encode(f" {self.english(4)}\n"), *own, *self.encode(f". {self.chinese(5)} ")])
        with TokenWriter(self.folder / name, 1 << 20) as out:
            for parts in documents:
                out.add([id_ for part in parts for id_ in part])
        return self.folder / name, ids


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(autouse=True)
def all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps of a match are written."""
    monkeypatch.setattr(job, "MOST_STEPS", 10_000)
