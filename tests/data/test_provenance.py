"""From training rows to documents and back, compared with what a real loader gives."""

import json
from collections import namedtuple
from itertools import chain, islice, repeat

import pytest
from internlm2_data.document import content_id
from internlm2_data.loading import LongRows, PackedBatches, TokenSource
from internlm2_data.provenance import pieces_of, records_of, sights_of
from internlm2_data.tokens import TokenWriter

Phase = namedtuple("Phase", "steps batches")
STEPS = 30


@pytest.fixture
def file(tmp_path):
    """A token file in which every token is another one, so that a token says where it is from."""

    def file(name, lengths, first):
        with TokenWriter(tmp_path / "train" / name, 1 << 20) as out:
            for number, length in enumerate(lengths):
                out.add(range(first, first + length), content_id(name, str(number)))
                first += length
        return tmp_path / "train" / name

    return file


@pytest.fixture(params=["cut", "best_fit", "phases"])
def batches(request, file):
    sources = {"en": file("en", [3, 40, 7, 1, 90, 12] * 3, 1), "zh": file("zh", [30, 5, 66], 5000)}
    if request.param != "phases":
        return PackedBatches(sources, 32, 4, seed=3, packing=request.param)
    long = LongRows({"zh": sources["zh"]}, min_tokens=20)
    later = PackedBatches({"en": sources["en"]}, 64, 2, 1, short_context=8, long=long, long_fraction=0.5)
    return namedtuple("Phases", "phases")([Phase(11, PackedBatches(sources, 32, 4, 3)), Phase(99, later)])


def given(batches):
    """Ids of every row of the first steps, by step and row."""
    phases = getattr(batches, "phases", [Phase(STEPS, batches)])
    read = chain.from_iterable(
        islice(chain.from_iterable(repeat(phase.batches.loader())), phase.steps) for phase in phases
    )
    return {
        (step, row): ids
        for step, batch in enumerate(islice(read, STEPS), 1)
        for row, ids in enumerate(batch["input_ids"].tolist(), 1)
    }


def document_of(token, sources):
    for source in sources:
        for number in range(len(source)):
            ids = source.read(number).tolist()
            if token in ids:
                return source.stem, source.document_id(number), ids.index(token)
    raise AssertionError(token)


def test_rows_name_their_documents_and_documents_their_rows(batches, tmp_path):
    sources = [TokenSource(tmp_path / "train" / name) for name in ("en", "zh")]
    rows = given(batches)
    seen: dict[str, set] = {}
    for step in (1, 11, 12, STEPS):
        pieces = pieces_of(batches, step)
        for row in {row for at, row in rows if at == step}:
            own = [piece for piece in pieces if piece.row == row]
            assert own == pieces_of(batches, step, row)
            for piece in own:
                ids = rows[step, row][slice(*piece.tokens)]
                path, id, place = document_of(ids[0], sources)
                assert (piece.source, piece.id) == (path, id)
                assert piece.of_document == (place, place + len(ids))
                assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert not any(rows[step, row][own[-1].tokens[1] :])
    for place, ids in rows.items():
        for token in set(ids) - {0}:
            seen.setdefault(document_of(token, sources)[1], set()).add(place)
    for source in sources:
        for number in range(len(source)):
            id = source.document_id(number)
            sights = sights_of(batches, id[:12], STEPS)
            assert [(sight.step, sight.row) for sight in sights] == sorted(seen.get(id, ()))


def test_records_of_pages_say_which_record_of_a_warc_they_were(tmp_path, file):
    path = file("en", [9, 9, 9], 1)
    lines = [
        {"id": content_id("en", str(n)), "text": "x", "meta": {"file": "a.warc.gz", "offset": 100 * n}}
        for n in range(3)
    ]
    (tmp_path / "kept.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pieces = pieces_of(PackedBatches({"en": path}, 27, 1, 1), 1)
    assert records_of(pieces) == {}
    (tmp_path / "tokens.json").write_text(json.dumps({"inputs": [str(tmp_path / "kept.jsonl")]}))
    records = records_of(pieces)
    assert [records[piece.id].meta["offset"] for piece in pieces] == [100 * piece.document for piece in pieces]


def test_mistakes(batches):
    for call, message in [
        (lambda: pieces_of(batches, 0), r"step=0 must be 1 or more\."),
        (lambda: pieces_of(batches, 2, 5), r"row=5 must be between 1 and 4, the rows of step 2\."),
        (lambda: sights_of(batches, "http://x", 5), r"id=http://x must be the beginning of 32 hex digits\."),
        (lambda: sights_of(batches, "f" * 32, 5), r"id=f+ is not a document of the token files"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
