"""The stage on a small planted corpus, against all pairs compared exactly."""

import json
from itertools import combinations

import numpy as np
import pytest
from internlm2_data.compiled.minhash import jaccard
from internlm2_data.dedup import Dedup, DedupSettings
from internlm2_data.dedup.candidates import candidate_pairs
from internlm2_data.dedup.signing import shingle_set, sign
from internlm2_data.document import Document
from internlm2_data.executor import LocalExecutor
from internlm2_data.io import ShardReader, ShardWriter
from internlm2_data.stages.run import StageRun, input_shards

WORDS = {"en": [f"word{i}" for i in range(3000)], "zh": [chr(0x4E00 + i) for i in range(3000)]}


def planted(count, seed):
    """Texts, a third of them edited copies of earlier ones."""
    rng = np.random.default_rng(seed)
    texts = []
    for i in range(count):
        language = "en" if i % 2 else "zh"
        if i > 10 and rng.random() < 0.35:
            base = int(rng.integers(0, i))
            language = texts[base][0]
            words = list(texts[base][1])
            for place in rng.choice(
                len(words), int(len(words) * rng.choice([0, 0.01, 0.03, 0.05, 0.1])), replace=False
            ):
                words[place] = str(rng.choice(WORDS[language]))
        else:
            words = rng.choice(WORDS[language], int(rng.integers(60, 300))).tolist()
        texts.append((language, words))
    return [(lang, (" " if lang == "en" else "").join(words)) for lang, words in texts]


def run_on(folder, documents, workers=0, shards=4, settings=None, earlier=()):
    inputs = folder / "in"
    for number in range(shards):
        with ShardWriter(inputs / f"{number:05d}.jsonl.zst") as out:
            for document in documents[number::shards]:
                out.add(document)
    executor = LocalExecutor(workers)
    run = StageRun(folder / "out", executor)
    left = Dedup(settings or DedupSettings(), earlier=earlier).run(
        run, input_shards(sorted(inputs.iterdir()), shard_bytes=1)
    )
    executor.close()
    kept = [d for shard in left for d in ShardReader(shard.files[0])]
    gone = [d for path in sorted((folder / "out" / "excluded").iterdir()) for d in ShardReader(path)]
    return kept, gone


def test_no_pair_above_the_threshold_survives_and_no_other_document_goes(tmp_path):
    texts = planted(400, 0)
    documents = [
        Document(text, language=lang, dump=f"d{i % 3}", url=f"u{i}", type="prose")
        for i, (lang, text) in enumerate(texts)
    ]
    kept, gone = run_on(tmp_path, documents)
    assert len(kept) + len(gone) == 400
    sets = {d.id: shingle_set(d.text, False, 5) for d in documents}
    close = [(a.id, b.id) for a, b in combinations(documents, 2) if jaccard(sets[a.id], sets[b.id]) >= 0.7]
    assert len(close) > 60
    connected = {i for pair in close for i in pair}
    assert {d.id for d in gone} <= connected, "precision 1"
    left = {d.id for d in kept}
    assert sum(a in left and b in left for a, b in close) <= 0.02 * len(close), "recall"


def test_the_newest_is_kept_and_named(tmp_path):
    text = "one two three four five six seven eight nine ten eleven twelve " * 3
    documents = [
        Document(text + "end", dump="CC-MAIN-2020-10", url="http://a/1", type="webpage"),
        Document(text + "end", dump="CC-MAIN-2021-10", url="http://a/2", type="webpage"),
        Document(text + "the end", dump="CC-MAIN-2019-10", url="http://a/3", type="webpage"),
        Document(
            "another text altogether, of some length, on the same address",
            dump="CC-MAIN-2019-10",
            url="http://www.a/2/",
            type="webpage",
        ),
        Document("unrelated words about nothing in particular, with no copy", url="http://b/", type="webpage"),
    ]
    kept, gone = run_on(tmp_path, documents, shards=2)
    assert {d.id for d in kept} == {documents[1].id, documents[4].id}
    rules = {d.id: (d.trail[-1]["rule"], d.trail[-1]["kept"]) for d in gone}
    assert rules == {
        documents[0].id: ("dedup.exact", documents[1].id),
        documents[2].id: ("dedup.near", documents[1].id),
        documents[3].id: ("dedup.url", documents[1].id),
    }
    assert next(d for d in gone if d.id == documents[2].id).trail[-1]["value"] >= 0.7


def test_a_document_goes_only_if_it_is_near_the_one_that_is_kept(tmp_path):
    """Each text shares most of its words with the one before it, the last none with the first."""
    rng = np.random.default_rng(0)
    words = rng.choice(WORDS["en"], 600, replace=False).tolist()
    chain = [" ".join(words[10 * step : 10 * step + 100]) for step in range(12)]
    documents = [Document(text, type="prose", dump=f"d{99 - step}") for step, text in enumerate(chain)]
    kept, gone = run_on(tmp_path, documents)
    left = {document.id: document for document in kept}
    assert len(gone) == 6 and len(kept) == 6
    for document in gone:
        keeper = left[document.trail[-1]["kept"]]
        similarity = jaccard(*(shingle_set(text, False, 5) for text in (document.text, keeper.text)))
        assert similarity >= 0.7 and document.trail[-1]["value"] == round(similarity, 4)


def test_copies_of_one_text_in_any_number_leave_the_newest(tmp_path):
    words = " ".join(WORDS["en"][:200])
    texts = [f"{words} {number}" for number in range(120)]
    documents = [Document(text, type="prose", dump=f"d{(7 * n) % 120:03d}") for n, text in enumerate(texts)]
    kept, gone = run_on(tmp_path, documents)
    assert [document.dump for document in kept] == ["d119"] and len(gone) == 119


def test_passages_of_one_capture_stay_and_older_captures_go(tmp_path):
    def page(text, date):
        return Document(" ".join(text.split()), url="http://a/page", type="webpage", date=date)

    passages = [page(" ".join(WORDS["en"][100 * n : 100 * n + 100]), "2021-05-01") for n in range(3)]
    older = page(" ".join(WORDS["en"][700:800]), "2020-05-01")
    kept, gone = run_on(tmp_path, [older, *passages])
    assert {document.id for document in kept} == {document.id for document in passages}
    assert [document.trail[-1]["rule"] for document in gone] == ["dedup.url"]


def test_same_clusters_whatever_the_workers_and_on_a_second_run(tmp_path):
    documents = [Document(text, language=lang, type="prose") for lang, text in planted(150, 1)]
    one = run_on(tmp_path / "a", documents, workers=0)
    two = run_on(tmp_path / "b", documents, workers=2)
    again = run_on(tmp_path / "b", documents, workers=0)
    assert one == two == again


def test_recall_of_the_banding_at_the_threshold():
    """Pairs just above 0.7: at least 95% of them must be candidates."""
    rng = np.random.default_rng(0)
    texts, exact = [], []
    for _ in range(300):
        words = rng.choice(WORDS["en"], 300)
        other = np.where(rng.random(300) < 0.033, rng.choice(WORDS["en"], 300), words)
        texts += [" ".join(words), " ".join(other)]
        exact.append(jaccard(shingle_set(texts[-2], False, 5), shingle_set(texts[-1], False, 5)))
    signed = sign(texts, [False] * len(texts), DedupSettings())
    found = {tuple(pair) for pair in candidate_pairs(signed.minima, signed.sizes, DedupSettings()).tolist()}
    wanted = [i for i, value in enumerate(exact) if 0.7 <= value < 0.8]
    assert len(wanted) > 100
    assert sum((2 * i, 2 * i + 1) in found for i in wanted) >= 0.95 * len(wanted)


def test_a_thousand_equal_pages_cost_no_million_comparisons():
    texts = ["the same long page again and again with the very same words in it"] * 1000
    signed = sign(texts, [False] * 1000, DedupSettings())
    pairs = candidate_pairs(signed.minima, signed.sizes, DedupSettings())
    assert len(pairs) < 6000
    assert len(np.unique(pairs)) == 1000, "and all of them hang together"


@pytest.mark.parametrize("count", [0, 1])
def test_nearly_nothing(tmp_path, count):
    kept, gone = run_on(tmp_path, [Document("a few words", type="prose")] * count, shards=2)
    assert len(kept) == count and not gone


LONG = "one two three four five six seven eight nine ten eleven twelve " * 3


def test_a_dump_after_another(tmp_path):
    def document(text, dump, url):
        return Document(LONG + text, dump=dump, url=url, type="prose")

    first = [document("a", "CC-2020", "1"), document("b " * 26, "CC-2020", "2"),
             document("c", "CC-2020", "3")]  # fmt: skip
    kept, gone = run_on(tmp_path / "one", first, shards=2)
    assert {d.url for d in kept} == {"1", "2"}, "3 is a near-duplicate of 1"
    second = [
        document("a c", "CC-2021", "4"),
        document("b " * 26, "CC-2019", "5"),
        Document("something else altogether that nobody wrote before", type="prose", url="6"),
    ]
    kept, gone = run_on(tmp_path / "two", second, shards=2, earlier=[str(tmp_path / "one" / "out")])
    assert {d.url for d in kept} == {"4", "6"}
    assert [(d.url, d.trail[-1]["kept"]) for d in gone] == [("5", first[1].id)]
    (line,) = (tmp_path / "two" / "out" / "superseded.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == first[0].id and json.loads(line)["kept"] == second[0].id


def test_earlier_runs_must_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no finished stage dedup"):
        run_on(tmp_path / "a", [Document("x")], shards=1, earlier=[str(tmp_path)])
    run_on(tmp_path / "b", [Document("x")], shards=1, settings=DedupSettings(ngram=4))
    with pytest.raises(ValueError, match="was deduplicated with"):
        run_on(tmp_path / "c", [Document("x")], shards=1, earlier=[str(tmp_path / "b" / "out")])
