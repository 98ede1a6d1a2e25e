"""BM25 against its formula, embeddings, the choice, the mixture, and the pipeline."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from internlm2_data.executor import LocalExecutor
from internlm2_data.io import ShardReader
from internlm2_data.jobs import process
from internlm2_data.pipelines import EnhancementPipeline
from internlm2_data.retrieval import Bm25, EmbeddingRetriever, Portion
from internlm2_data.retrieval.bm25 import terms
from internlm2_data.retrieval.mixture import chosen, mixture

TEXTS = [
    "The force on a mass is the mass times its acceleration.",
    "Boil the rice, then fry the rice with the onions.",
    "力等于质量乘以加速度。质量越大，力越大。",
    "",
    "Acceleration!",
]
QUERIES = ["force and acceleration of a mass", "质量和力"]


def by_formula(texts, query, k1=1.5, b=0.75):
    documents, wanted = [list(terms(text)) for text in texts], set(terms(query))
    mean, scores = sum(map(len, documents)) / len(documents), np.zeros(len(texts))
    idf = {
        t: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for t in wanted for n in [sum(t in d for d in documents)]
    }
    for number, document in enumerate(documents):
        for term in wanted & set(document):
            count = document.count(term)
            scores[number] += idf[term] * count / (count + k1 * (1 - b + b * len(document) / mean))
    return scores / sum(idf.values())


def test_bm25_is_its_formula_and_the_best_query_counts():
    expected = np.maximum(*(by_formula(TEXTS, query) for query in QUERIES))
    assert Bm25().scores(TEXTS, QUERIES) == pytest.approx(expected, abs=1e-6)
    assert expected.argmax() in (0, 2) and expected[1] < 0.2 and expected[3] == 0


def test_words_and_pairs_of_signs():
    assert list(terms("It's F=ma, 力等于x2！日")) == ["it", "s", "f", "ma", "力等", "等于", "x2", "日"]


class Letters:
    def embed(self, texts):
        return np.array([[text.count(letter) for letter in "abc"] for text in texts], np.float32)


def test_embeddings_give_the_cosine_with_the_nearest_query():
    scores = EmbeddingRetriever(Letters(), batch_texts=2).scores(["aab", "c", "", "ccc"], ["a", "bc"])
    assert scores == pytest.approx([2 / math.sqrt(5), math.sqrt(0.5), 0, math.sqrt(0.5)])


def test_the_best_of_each_until_its_bytes_are_there():
    scores = np.array([[0.9, 0.1], [0.8, 0.7], [0.4, 0.6], [0.3, 0.5], [0.0, 0.0]], np.float32)
    sizes = np.array([10, 10, 10, 10, 10])
    assert chosen(scores, sizes, [10, 15], [0.05, 0.05]).tolist() == [0, 1, 1, -1, -1]
    assert chosen(scores, sizes, [99, 99], [0.05, 0.05]).tolist() == [0, 1, 1, 1, -1]
    assert chosen(scores, sizes, [99, 0], [0.5, 0]).tolist() == [0, 0, -1, -1, -1]


def test_shares_of_the_mixture_and_its_weights():
    cells = {"stem": {"en-stem": 300, "zh-stem": 100}, "selected": {"en-selected": 600}}
    record = mixture(cells, {"stem": 3, "selected": 1}, size=1600, most=4)
    assert record["portions"]["stem"] == {"share": 0.75, "bytes": 400, "epochs": 3.0}
    assert record["portions"]["selected"]["epochs"] == pytest.approx(400 / 600)
    assert record["weights"] == pytest.approx({"en-stem": 0.5625, "zh-stem": 0.1875, "en-selected": 0.25})
    assert record["largest_bytes"] == 2133
    with pytest.raises(
        ValueError, match=r"size_bytes=2200 must be 2133 or less: stem has 400 bytes for 75% of.*max_epochs=4\."
    ):
        mixture(cells, {"stem": 3, "selected": 1}, size=2200, most=4)


def test_a_portion_has_queries_or_inputs():
    with pytest.raises(ValueError, match=r"queries=\[\] and inputs=\[\]: one of them must name files\."):
        Portion(0.5)
    with pytest.raises(ValueError, match=r"share=0 must be above 0"):
        Portion(0, ["q"])


@pytest.fixture
def files(tmp_path):
    physics = [f"The force on mass {n} is the mass times its acceleration in the field number {n}." for n in range(10)]
    food = [f"Boil rice number {n}, then fry the rice with onions and salt for {n} minutes." for n in range(10)]
    other = [f"The parliament of town {n} met on a Monday to speak about the new bridge of {n}." for n in range(10)]
    for number in range(3):
        texts = [topic[i] for i in range(number, 10, 3) for topic in (physics, food, other)]
        (tmp_path / f"in{number}.jsonl").write_text("\n".join(json.dumps({"text": t, "language": "en"}) for t in texts))
    (tmp_path / "stem.txt").write_text("force mass\n\nacceleration field\n")
    (tmp_path / "cooking.jsonl").write_text(json.dumps({"question": "fry rice onions"}))
    (tmp_path / "good.jsonl").write_text(json.dumps({"text": "A good book about all of it. " * 20, "language": "en"}))
    return tmp_path


def pipeline(folder, size=2000):
    portions = {
        "stem": Portion(0.65, [str(folder / "stem.txt")]),
        "special": Portion(0.08, [str(folder / "cooking.jsonl")]),
        "selected": Portion(0.26, inputs=[str(folder / "good.jsonl")]),
    }
    return EnhancementPipeline(portions, size, shards_together=2, shard_bytes=1)


def run(folder, made, workers=0):
    process(made, [str(folder / f"in{n}.jsonl") for n in range(3)], folder / "out", LocalExecutor(workers))
    return [d for path in sorted((folder / "out").glob("[rg]*/*.zst")) for d in ShardReader(path)]


def test_documents_by_portion_with_the_sums(files):
    documents = run(files, pipeline(files))
    sources = [document.source for document in documents]
    assert sources.count("stem") == 10 and sources.count("special") == 3 and sources.count("selected") == 1
    assert all("force" in d.text for d in documents if d.source == "stem")
    assert all("rice" in d.text for d in documents if d.source == "special")
    stages = {s["stage"]: s for s in json.loads((files / "out/funnel.json").read_text())["stages"]}
    assert stages["retrieved"]["dropped"] == {"retrieval.not_chosen": {"en-webpages": 17}}
    record = json.loads((files / "out/mixture.json").read_text())
    assert sum(record["weights"].values()) == pytest.approx(1)
    assert record["weights"]["en-stem"] == pytest.approx(65 / 99)
    stem = sum(d.num_bytes for d in documents if d.source == "stem")
    assert record["portions"]["stem"]["epochs"] == pytest.approx(2000 * 65 / 99 / stem)
    notes = [document.trail[-1] for document in documents if document.source == "stem"]
    assert all(note["rule"] == "retrieval.stem" and 0.1 < note["value"] <= 1 for note in notes)


def test_workers_and_resumption(files):
    first = [(d.id, d.source, d.trail) for d in run(files, pipeline(files))]
    stamp = (files / "out/_shards/choice/scores-00000.npz").stat().st_mtime_ns
    (files / "out/retrieved/00001.jsonl.zst").unlink()
    (files / "out/_shards/retrieved/00001.json").unlink()
    assert [(d.id, d.source, d.trail) for d in run(files, pipeline(files), workers=2)] == first
    assert (files / "out/_shards/choice/scores-00000.npz").stat().st_mtime_ns == stamp
    fewer = run(files, pipeline(files, size=500))
    assert sum(d.source == "stem" for d in fewer) == 5, "another size chooses again and scores nothing again"
    assert (files / "out/_shards/choice/scores-00000.npz").stat().st_mtime_ns == stamp


def test_too_much_is_refused(files):
    with pytest.raises(ValueError, match=r"size_bytes=200000 must be \d+ or less: \w+ has"):
        run(files, pipeline(files, size=200_000))
    assert not (files / "out/mixture.json").exists()
    empty = replace(pipeline(files), portions={"stem": Portion(1, [str(files / "empty.txt")])})
    (files / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"empty\.txt'\] must hold queries"):
        run(files, empty)
