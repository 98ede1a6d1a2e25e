"""Comparisons and judgements for the tests of people's labels."""

from typing import Any

import pytest
from internlm2_align.preferences.comparison import Comparison, Judgement

PROMPT = ({"role": "user", "content": "Name a colour."},)


@pytest.fixture
def comparisons():
    def make(count: int, domain: str = "helpful", **meta: Any) -> list[Comparison]:
        return [Comparison(f"{domain}{n}", domain, PROMPT, (f"red {n}", f"blue {n}"), dict(meta)) for n in range(count)]

    return make


@pytest.fixture
def says():
    def make(annotator: str, comparison: str, verdict: str = "first", **more: Any) -> Judgement:
        return Judgement(comparison, verdict, annotator, "2026-01-01T00:00:00+00:00", **more)

    return make
