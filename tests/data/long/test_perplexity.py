"""Segments, gains by a scorer whose losses can be worked out by hand, and the stages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from internlm2_data.borderline import threshold
from internlm2_data.document import Document
from internlm2_data.executor import LocalExecutor
from internlm2_data.io import ShardReader
from internlm2_data.jobs import process
from internlm2_data.long import GainRule, GainSieve, PerplexityFilter
from internlm2_data.long.segments import segments
from internlm2_data.page import Page
from internlm2_data.pipelines import LongPipeline

FISH = "The herring came late that year. The herring boats lay idle in the herring harbour. "
RAIL = "A rail was laid across the pass. The rail crews worked on the rail beds all winter. "


class SharedWords:
    """Each word costs two nats, one where the context has it too."""

    def __init__(self):
        self.version, self._asked = 1, []

    def losses(self, pairs):
        self._asked.append(len(pairs))
        texts = [(set(context.split()), text.split()) for context, text in pairs]
        return [(sum(1.0 if word in known else 2.0 for word in words), len(words)) for known, words in texts]


@given(st.text(alphabet="ab .!?。！\n中", max_size=300), st.integers(1, 60))
def test_segments_are_the_text_in_parts_of_about_that_size(text, size):
    found = segments(text, size)
    assert "".join(found) == text
    assert all(size // 2 <= len(part.encode()) for part in found[:-1]) and all(
        len(p.encode()) <= 10 * size for p in found
    )


def test_segments_end_with_sentences():
    assert segments("One is 1.5 m. Two! 三个。四个！\nFive", 8) == ["One is 1.5 m. ", "Two! 三个。", "四个！\n", "Five"]


def test_the_least_gain_is_at_the_border_of_two_texts():
    whole, joined = FISH * 8, FISH * 4 + RAIL * 4
    notes = GainSieve(SharedWords(), segment_bytes=len(FISH)).notes([whole, joined, "short"])
    assert notes[2] == {}
    assert notes[0]["gains"] == [1.0] * 7 and notes[0]["value"] == 1.0
    shared = len([word for word in RAIL.split() if word in FISH.split()]) / len(RAIL.split())
    assert notes[1]["value"] == round(shared, 4) < 0.3 and notes[1]["gains"].index(notes[1]["value"]) == 3
    assert joined[notes[1]["place"] :] == RAIL * 4


def test_pairs_are_spread_over_a_document():
    scorer = SharedWords()
    (note,) = GainSieve(scorer, segment_bytes=len(FISH), pairs=3).notes([FISH * 12])
    assert len(note["gains"]) == 3 and scorer._asked == [6]


@pytest.mark.parametrize(
    ("thresholds", "kept"),
    [
        ({"default": 0.2}, 1),
        ({"default": 0.1}, 2),
        ({"en-books": 0.1, "en": 0.2}, 2),
        ({"en": 0.2}, 1),
        ({"zh": 9}, 2),
        ({}, 2),
    ],
)
def test_thresholds_go_by_cell_then_language(thresholds, kept):
    documents = [
        Document("a", "books", "en", trail=[{"rule": "perplexity.gain", "value": value}]) for value in (0.15, 0.2)
    ]
    verdicts = GainRule(thresholds).judge([Page(document) for document in documents])
    assert sum(type(v).__name__ == "Keep" for v in verdicts) == kept


@pytest.fixture
def run(tmp_path):
    texts = {"fish": FISH * 8, "joined": FISH * 4 + RAIL * 4, "rail": RAIL * 8}
    lines = [json.dumps({"text": text, "language": "en", "url": f"http://{name}"}) for name, text in texts.items()]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))

    def go(limit, scorer):
        filter = PerplexityFilter(GainSieve(scorer, segment_bytes=80), GainRule({"default": limit}))
        process(
            LongPipeline({}, filter, min_bytes=100), [str(tmp_path / "in.jsonl")], tmp_path / "out", LocalExecutor(0)
        )
        kept = [d.url for path in (tmp_path / "out/perplexity").glob("*.zst") for d in ShardReader(path)]
        return tmp_path / "out", kept

    return go


def test_another_threshold_scores_nothing_again(run):
    first, second = SharedWords(), SharedWords()
    out, kept = run(0.5, first)
    assert kept == ["http://fish", "http://rail"] and first._asked
    stages = json.loads((out / "funnel.json").read_text())["stages"]
    assert [stage["stage"] for stage in stages] == ["length", "statistics", "scores", "perplexity"]
    assert stages[-1]["dropped"] == {"perplexity.distracting": {"en-webpages": 1}}
    assert stages[1]["not_configured"] == []
    assert len(run(0.1, second)[1]) == 3 and not second._asked
    second.version = 2
    assert len(run(0.1, second)[1]) == 3 and second._asked, "another scorer scores again"


def test_borderline_cases(run, capsys):
    out, _ = run(0.5, SharedWords())
    capsys.readouterr()
    shares = threshold(out / "scores", "perplexity.gain", at=0.5)
    assert shares == {"0.5": 1 / 3}
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        printed.index("below, from the nearest: 1") < printed.index("http://joined") < printed.index("[|] A rail was")
    )
    assert printed.index("at or above, from the nearest: 2") < printed.index("http://fish")
    assert max(threshold(out / "scores", "long.sentence_words").values()) > 0.5
    with pytest.raises(ValueError, match=r"rule=no\.such has a value for no document of .*scores\. It must be one of"):
        threshold(out / "scores", "no.such")
    with pytest.raises(ValueError, match="no document"):
        threshold(out / "scores", "perplexity.gain", cell="zh")
    with pytest.raises(FileNotFoundError, match=r"folder=/nowhere is not a folder of a stage\."):
        threshold("/nowhere", "perplexity.gain")
