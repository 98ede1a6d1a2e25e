"""Linear and transformer classifiers on labels that can be learned, their cards, and the rule made of them."""

import gzip
import json
import pickle

import numpy as np
import pytest
from internlm2_data.classifiers import (
    ClassifierRule,
    FromFile,
    LabelFile,
    LinearClassifier,
    MadeByRule,
    classifier_rule,
    load_classifier,
    train_classifier,
)
from internlm2_data.classifiers.card import average_precision, choose_threshold, figures
from internlm2_data.classifiers.spoiling import SPOIL, TARGETS, UNWANTED, sentences, unwanted
from internlm2_data.document import Document
from internlm2_data.page import Page
from internlm2_data.verdict import Drop, Score

GOOD = {
    "en": ["river", "garden", "bridge", "quiet", "morning", "people", "market", "letter", "winter"],
    "zh": list("山水田园风雨春秋路桥"),
}
BAD = {"en": ["stupid", "idiot", "hate", "trash", "disgusting", "loser"], "zh": list("蠢恨贱滚坏丑")}


def write_labels(path, count=800, seed=0):
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as out:
        for i in range(count):
            language, bad = ("en", "zh")[i % 2], int(rng.random() < 0.4)
            words = [*rng.choice(GOOD[language], 12), *rng.choice(BAD[language], 2 * bad)]
            text = (" " if language == "en" else "").join(rng.permutation(words)) + f" {i}"
            out.write(json.dumps({"text": text, "label": bad, "language": language}, ensure_ascii=False) + "\n")
    return path


@pytest.fixture(scope="module")
def toxicity(tmp_path_factory):
    pytest.importorskip("sklearn", reason="extra classifiers")
    folder = tmp_path_factory.mktemp("toxicity")
    train_classifier([FromFile(LabelFile(str(write_labels(folder / "labels.jsonl"))))], folder, ["toxicity"])
    return folder


def test_it_learns_and_says_how_well(toxicity):
    card = json.loads((toxicity / "card.json").read_text())
    assert card["kind"] == "linear" and card["drop"] == "above"
    assert set(card["figures_on_test"]) == {"all", "en", "zh"}
    assert all(row["f1"] > 0.9 for row in card["figures_on_test"].values())
    assert card["labels"][0]["file"] == "labels.jsonl"


def test_scores_survive_saving_and_do_not_depend_on_the_batch(toxicity):
    model = load_classifier(toxicity)
    texts = ["a quiet morning by the river", "stupid idiot", "山水春秋", "滚贱蠢", ""]
    together = model.scores(texts)
    assert together.shape == (5, 1)
    np.testing.assert_allclose(np.concatenate([model.scores([text]) for text in texts]), together)
    assert together[1] > together[0] and together[3] > together[2]


def test_compiled_scores_are_those_of_the_sparse_matrix(toxicity):
    from internlm2_data.compiled.features import rows_of
    from internlm2_data.dedup.signing import pack
    from scipy.sparse import csr_matrix

    model = load_classifier(toxicity)
    texts = ["one two three two three", "山水 abc 山水", "x"]
    extents, columns, values = rows_of(*pack(texts), len(model.weights))
    matrix = csr_matrix((values, columns.astype(np.int32), extents), shape=(3, len(model.weights)))
    np.testing.assert_allclose(matrix @ model.weights + model.biases, model.raw_scores(texts), rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(matrix.multiply(matrix).sum(axis=1)), 1.0)


def test_the_rule_drops_and_notes_scores(toxicity):
    rule = pickle.loads(pickle.dumps(ClassifierRule("safety.toxicity", str(toxicity))))
    words = " ".join(GOOD["en"])
    good, bad = rule.judge([Page(Document(f"{words} {words} 5")), Page(Document(f"{words} hate trash loser idiot 5"))])
    assert isinstance(good, Score) and isinstance(bad, Drop)
    assert bad.rule == "safety.toxicity" and bad.value > bad.threshold
    strict = ClassifierRule("safety.toxicity", str(toxicity), threshold=-1.0)
    assert isinstance(strict.judge([Page(Document(words))])[0], Drop)
    assert rule.judge([]) == []
    assert classifier_rule("x", None) is None
    with pytest.raises(FileNotFoundError, match="Train one with `internlm2 classifier"):
        ClassifierRule("x", "nowhere")


def test_splits_depend_on_the_text_alone(tmp_path):
    texts = list(LabelFile(str(write_labels(tmp_path / "a.jsonl", 1000))).read())
    again = list(LabelFile(str(write_labels(tmp_path / "b.jsonl", 1000))).read())
    assert [t.split for t in texts] == [t.split for t in again]
    shares = {name: sum(t.split == name for t in texts) / 1000 for name in ("train", "validation", "test")}
    assert shares["train"] == pytest.approx(0.7, abs=0.05) and shares["test"] == pytest.approx(0.15, abs=0.04)


def test_tables_with_and_without_a_header(tmp_path):
    (tmp_path / "a.csv").write_text('id,body,class\n1,"Hello, ""you""",bad\n2,Fine,good\n')
    rows = list(LabelFile(str(tmp_path / "a.csv"), "body", ["class"], ["bad"], "en").read())
    assert [(r.text, r.labels) for r in rows] == [('Hello, "you"', (1.0,)), ("Fine", (0.0,))]
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress(b"spam\tBuy now\nham\tHi\n"))
    rows = list(LabelFile(str(tmp_path / "b.tsv.gz"), "1", ["0"], ["spam"], "en", header=False).read())
    assert [(r.text, r.labels) for r in rows] == [("Buy now", (1.0,)), ("Hi", (0.0,))]
    (tmp_path / "c.tsv").write_text("2\tBuy now\n0\tHi\n")
    rows = list(LabelFile(str(tmp_path / "c.tsv"), 1, [0], [1, 2], "en", header=False).read())
    assert [(r.text, r.labels) for r in rows] == [("Buy now", (1.0,)), ("Hi", (0.0,))], (
        "numbers as the command reads them"
    )
    with pytest.raises(ValueError, match=r"row 1: \[2.0\] under .* must be 0 or 1"):
        list(LabelFile(str(tmp_path / "c.tsv"), "1", ["0"], header=False).read())
    (tmp_path / "d.jsonl").write_text('{"text": null, "label": 1}\n{"text": "Hi", "label": 0}\n')
    rows = list(LabelFile(str(tmp_path / "d.jsonl"), "text", ["label"]).read())
    assert [row.text for row in rows] == ["Hi"], "null is no text"
    with pytest.raises(ValueError, match=r"a.csv, row 1: text=text and labels=\['label'\] must be among its columns"):
        list(LabelFile(str(tmp_path / "a.csv")).read())
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv does not exist"):
        list(LabelFile("nowhere.csv").read())


def test_too_few_labels_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 1}\n')
    with pytest.raises(ValueError, match="Of 1 labelled texts"):
        train_classifier([FromFile(LabelFile(str(tmp_path / "a.jsonl")))], tmp_path / "out")


def test_thresholds_by_hand():
    scores, bad = np.array([0.9, 0.8, 0.7, 0.6, 0.2]), np.array([True, True, False, True, False])
    assert choose_threshold(scores, bad, "above", 1.0) == pytest.approx(0.75)
    assert choose_threshold(scores, bad, "above", 0.75) == pytest.approx(0.4)
    assert choose_threshold(1 - scores, bad, "below", 1.0) == pytest.approx(0.25)
    row = figures(scores, bad, "above", 0.75)
    assert (row["precision"], row["recall"], row["f1"]) == (1.0, 0.6667, 0.8)
    assert average_precision(scores, bad) == pytest.approx((1 + 1 + 3 / 4) / 3)
    with pytest.raises(ValueError, match="all good or all bad"):
        choose_threshold(scores, np.ones(5, bool), "above", 0.9)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_spoiling_is_what_it_says(language):
    rng = np.random.default_rng(0)
    text = {
        "en": "The cat sat on the mat. It was warm there. Nobody came.",
        "zh": "猫坐在垫子上。那里很暖和。没有人来。",
    }[language]
    other = {"en": "Rain fell all day! The road was wet.", "zh": "整天下雨！路很湿。"}[language]
    assert "".join(sentences(text)) == text
    for target in TARGETS:
        assert SPOIL[target](text, other, language, rng) != text
    assert sorted(SPOIL["grammar"](text, other, language, rng).replace(" ", "")) == sorted(text.replace(" ", ""))
    assert all(unwanted(text, kind, language, rng) != text for kind in UNWANTED)


@pytest.mark.parametrize("kind", UNWANTED)
def test_texts_of_all_files_are_spoiled_in_turn(kind, tmp_path):
    for name, first, count in (("a", "Apples", 9), ("b", "Bears", 3)):
        records = [
            {
                "text": f"{first} grow in garden number {i}. Nobody has counted them yet.",
                "language": "en",
                "type": "prose",
            }
            for i in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    made = list(MadeByRule([str(tmp_path)], kind, max_documents=8).read())
    good, bad = ([each.text for each in made if each.labels == (label,)] for label in (0.0, 1.0))
    assert [text.split()[0] for text in good] == ["Apples", "Bears"] * 3 + ["Apples"] * 2
    assert len(bad) == 8 and not set(good) & set(bad)


def test_fluency_from_spoiled_documents(tmp_path):
    pytest.importorskip("sklearn", reason="extra classifiers")
    rng = np.random.default_rng(0)
    nouns, verbs = ["man", "dog", "boat", "child", "river", "bird", "king"], ["sees", "likes", "finds", "hears"]
    with (tmp_path / "d.jsonl").open("w") as out:
        for i in range(300):
            lines = [
                f"The {rng.choice(nouns)} {rng.choice(verbs)} the {rng.choice(nouns)} near the {rng.choice(nouns)}."
                for _ in range(9)
            ]
            out.write(json.dumps({"text": " ".join(lines) + f" Number {i}.", "language": "en", "type": "prose"}) + "\n")
    train_classifier([MadeByRule([str(tmp_path / "d.jsonl")])], tmp_path / "m", TARGETS, drop="below", precision=0.8)
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert card["labels"] == [{"made_by_rule": "fluency", "inputs": [str(tmp_path / "d.jsonl")]}]
    assert isinstance(load_classifier(tmp_path / "m"), LinearClassifier)
    assert card["figures_on_test"]["all"]["average_precision"] > 0.6


def test_texts_of_another_source_choose_and_tell(tmp_path):
    """Its bad texts use other words: what the training source promises does not hold on them."""
    pytest.importorskip("sklearn", reason="extra classifiers")
    own = write_labels(tmp_path / "own.jsonl")
    shared = own.read_text("utf-8").splitlines()[:40]
    other = [
        {"text": f"{'quiet river garden' if n % 2 else 'vulgar swine hate'} {n}", "label": (n + 1) % 2}
        for n in range(120)
    ]
    for name, lines in (("validation", other[:60]), ("test", other[60:])):
        text = "\n".join([*map(json.dumps, lines), *shared[: 40 if name == "test" else 20]])
        (tmp_path / f"{name}.jsonl").write_text(text, "utf-8")
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("validation", "test")}
    train_classifier([FromFile(LabelFile(str(own), language="en"))], tmp_path / "m", ["toxicity"], **files)
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert [(origin["file"], origin["share"]) for origin in card["test_from"]] == [("test.jsonl", "all")]
    assert [(origin["file"], origin["share"]) for origin in card["own_test_from"]] == [("own.jsonl", "15%")]
    assert [(origin["file"], origin["share"]) for origin in card["threshold_from"]] == [("validation.jsonl", "all")]
    assert card["figures_on_test"]["all"]["texts"] == card["texts"]["test"] == 100
    assert card["texts"]["validation"] == 60, "20 of them are in the test, and a text is in one part"
    assert card["texts"]["train"] + card["texts"]["own_test"] == 760
    assert card["figures_on_own_test"]["all"]["texts"] == card["texts"]["own_test"]
    train_classifier([FromFile(LabelFile(str(own)))], tmp_path / "n", ["toxicity"])
    alone = json.loads((tmp_path / "n" / "card.json").read_text())
    assert (
        "own_test_from" not in alone and alone["test_from"][0]["share"] == alone["threshold_from"][0]["share"] == "15%"
    )


def small_bert(folder):
    """A BERT with random weights whose words are those of the labels."""
    transformers = pytest.importorskip("transformers", reason="extra transformer")
    torch = pytest.importorskip("torch", reason="extra transformer")
    words = sorted({w for listed in (GOOD, BAD) for language in listed for w in listed[language]} | set("0123456789"))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *(f"##{w}" for w in words)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    tokenizer = transformers.BertTokenizerFast(vocab_file=str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=128,
    )
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_a_transformer_resumes_after_the_last_whole_epoch(tmp_path, monkeypatch, capsys):
    base = small_bert(tmp_path / "base")
    from internlm2_data.classifiers import transformer

    texts = list(LabelFile(str(write_labels(tmp_path / "labels.jsonl", 40))).read())
    split = ([text.text for text in texts], np.array([text.labels for text in texts]))
    fit = transformer.FitTransformer(base, epochs=3, learning_rate=2e-3, max_tokens=64)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = fit(split, split, ["toxicity"], tmp_path / "whole")
    judged = []

    def killed(made, held):
        judged.append(1)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return loss(made, held)

    loss = transformer._validation_loss
    monkeypatch.setattr(transformer, "_validation_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(split, split, ["toxicity"], tmp_path / "killed")
    monkeypatch.setattr(transformer, "_validation_loss", loss)
    assert (tmp_path / "killed" / "epoch.pt").is_file()
    capsys.readouterr()
    again = fit(split, split, ["toxicity"], tmp_path / "killed")
    told = capsys.readouterr().out
    assert "Resumes after epoch 1 of 3." in told and "epoch 3 of 3: validation loss" in told
    for name, weight in again.model.state_dict().items():
        assert weight.equal(whole.model.state_dict()[name])
    assert not list((tmp_path / "killed").iterdir()), "nothing is left of it"


@pytest.mark.slow
def test_a_small_bert(tmp_path):
    base = small_bert(tmp_path / "base")
    from internlm2_data.classifiers.transformer import FitTransformer

    labels = write_labels(tmp_path / "labels.jsonl", 400)
    fit = FitTransformer(base, epochs=6, learning_rate=2e-3, max_tokens=128)
    train_classifier([FromFile(LabelFile(str(labels)))], tmp_path / "m", ["toxicity"], fit=fit, kind="transformer")
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert card["figures_on_test"]["all"]["f1"] > 0.8
    words = " ".join([*GOOD["en"], *GOOD["en"][:3]])
    texts = [f"{words} 17", f"{words} stupid idiot 17"]
    scores = load_classifier(tmp_path / "m").scores(texts)
    assert scores.shape == (2, 1) and scores[1] > scores[0]
