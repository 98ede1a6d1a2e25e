"""Planted: pages that a corpus should not have, made up so that each filter of the miniature has something to find.

They are the machine's own sentences with lines of `planted.json` among them, which are not those that the classifiers
learn from. Their source is "planted-KIND", by which the report counts what was dropped by what.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from internlm2_data.classifiers.spoiling import SPOIL, sentences
from internlm2_data.decontamination.items import ItemFields, read_items
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.miniature.machine.chinese import news
from internlm2_data.miniature.machine.packages import package_texts
from internlm2_data.report.planted import SOURCE
from internlm2_data.stores import local

BLOCKED = "blocked.example"
"""Domain of the pages that a list of domains drops."""
KINDS = ("blocked", "advertisement", "toxicity", "pornography", "garbled", "contaminated")
RECORDS = 400
"""Records of a language whose sentences are used."""
SENTENCES = 10
LEAST = {"en": 60, "zh": 20}
"""Characters of an evaluation item that says enough to be found again."""

_PLAIN = {"en": re.compile(r"[A-Z][\w ,;'()-]{40,200}\.\s*"), "zh": re.compile(r"[\w，、；：“”《》（）]{15,120}。\s*")}


@dataclass(frozen=True)
class PlantedPages:
    """Planted pages.

    Attributes:
        pages: How many of each kind in each language.
        evaluation: Files of evaluation sets, of which the kind "contaminated" holds items. Empty leaves it out.
        seed: Chooses sentences and lines.
    """

    pages: int = 0
    evaluation: Sequence[str] = field(default_factory=list)
    seed: int = 0

    def records(self) -> Iterator[dict[str, Any]]:
        """Their records."""
        rng = np.random.default_rng(self.seed)
        for language, texts in (("en", package_texts()), ("zh", news())) if self.pages else ():
            found = chain.from_iterable(sentences(record["text"]) for record in islice(texts, RECORDS))
            pool = [sentence.strip() for sentence in found if _PLAIN[language].fullmatch(sentence)]
            for kind, lines in self._lines(language).items():
                for number in range(self.pages):
                    host = BLOCKED if kind == "blocked" else "planted.example.org"
                    yield {
                        "text": _text(kind, language, pool, lines, rng),
                        "url": f"https://{host}/{language}/{kind}/{number}",
                        "type": "webpage",
                        "source": f"{SOURCE}-{kind}",
                        "language": language,
                    }

    def _lines(self, language: str) -> dict[str, list[str]]:
        """What is put among the sentences, by kind."""
        written = json.loads((files(__package__) / "planted.json").read_text("utf-8"))
        lines = {kind: list(written.get(kind, {}).get(language, [])) for kind in KINDS}
        items, _ = read_items([local(file) for file in expand_inputs(self.evaluation)], ItemFields())
        asked = (item.question for item in items)
        lines["contaminated"] = [
            question
            for question in asked
            if question.isascii() == (language == "en") and len(question) >= LEAST[language]
        ]
        return lines if lines["contaminated"] else {k: v for k, v in lines.items() if k != "contaminated"}


def _text(kind: str, language: str, pool: Sequence[str], lines: Sequence[str], rng: np.random.Generator) -> str:
    """Sentences of different documents, so that no page is nearly another, and some lines of the kind among them."""
    said = [pool[int(i)] for i in rng.choice(len(pool), SENTENCES, replace=False)]
    chosen = [lines[int(i)] for i in rng.permutation(len(lines))[:6]]
    said += [re.sub(r"\{n\}", lambda _: str(rng.integers(10, 999)), line) for line in chosen]
    text = "\n".join(said[int(i)] for i in rng.permutation(len(said)))
    return SPOIL["grammar"](text, "", language, rng) if kind == "garbled" else text


def write_lists(folder: Path) -> None:
    """Write the list of domains, and the queries of the enhancement phase.

    Args:
        folder: Where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "domains.txt").write_text(f"{BLOCKED}\n", encoding="utf-8")
    for name in ("stem.txt", "special.txt"):
        (folder / name).write_bytes((files(__package__) / "lists" / name).read_bytes())
