"""Tokens, shingles, minima and Jaccard index against plain Python."""

import re

import numpy as np
import pytest
from internlm2_data.compiled.minhash import jaccard
from internlm2_data.dedup import DedupSettings
from internlm2_data.dedup.records import normal_url
from internlm2_data.dedup.signing import permutations, shingle_set, sign

TEXT = re.compile(
    r"(?<=[^\W_])(?: |\))*[+*/<>=^%#]|(?<=[^\W_])(?: |\))*-(?= *\d)|(?<=[+*/<>=^%#])[ ]*[+*/<>=^%#]|[\u2200-\u22ff±]|"
    r"[\u0e00-\u0e7f\u3041-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|[^\W_\u0e00-\u0e7f\u3041-\u9fff\uf900-\ufaff]+"
)
CODE = re.compile(r"\w+|[^\w\s]")


def reference(text, is_code):
    tokens = CODE.findall(text) if is_code else [token.strip(" )") for token in TEXT.findall(text.lower())]
    return {tuple(tokens[i : i + 5]) for i in range(max(1, len(tokens) - 4))} if tokens else set()


SAMPLES = [
    ("The quick brown fox jumps over the lazy dog, twice: the quick brown fox jumps again!", False),
    ("人民网北京1月5日电，记者从有关部门获悉，今年的粮食产量再创新高。", False),
    ("Mixed 文本 with English words 和中文字符 together、in one LINE。", False),
    ("école Ärger naïve ｆｕｌｌ ｗｉｄｔｈ １２３ ünï", False),
    ("カタカナとひらがな、漢字", False),
    ("def f(x):\n    return x + 1  # add\n", True),
    ("if (a_b == 3) { c[0] += 1; }", True),
    ("Let x = 7 - 3 and y >= (x + 2)/4, in C++ or C#; 2020-01-02, a well-known - and long - word ± 3 ≤ 4.", False),
    ("a b", False),
    ("", False),
    ("...!?", False),
]


@pytest.mark.parametrize(("text", "is_code"), SAMPLES)
def test_as_many_shingles_as_the_definition_says(text, is_code):
    assert len(shingle_set(text, is_code, 5)) == len(reference(text, is_code))


@pytest.mark.parametrize("seed", range(5))
def test_jaccard_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    words = [f"word{i}" for i in range(30)]
    one = rng.choice(words, 120).tolist()
    other = [w if rng.random() > 0.1 else "changed" for w in one]
    a, b = (reference(" ".join(t), False) for t in (one, other))
    ours = jaccard(shingle_set(" ".join(one), False, 5), shingle_set(" ".join(other), False, 5))
    assert ours == pytest.approx(len(a & b) / len(a | b))


def test_case_punctuation_and_space_do_not_count_and_indentation_in_code_neither():
    assert np.array_equal(
        shingle_set("Hello, World! How are you", False, 5), shingle_set("hello world how  are\nyou", False, 5)
    )
    one, other = "if x:\n    return a[1]", "if x :\n\treturn a[ 1 ]"
    assert np.array_equal(shingle_set(one, True, 5), shingle_set(other, True, 5))
    assert not np.array_equal(shingle_set("Foo(a, b, c)", True, 5), shingle_set("foo(a, b, c)", True, 5))


@pytest.mark.parametrize(("one", "other"), [
    ("7 + 3", "7 - 3"), ("7+3", "73"), ("x = 7 * 3", "x = 7 / 3"), ("written in C", "written in C++"),
    ("a language like C#", "a language like C"), ("where x < 3", "where x > 3"), ("where x ≤ 3", "where x ≥ 3"),
    ("about 50%", "about 50"), ("f(x)^2", "f(x) 2"), ("七＋三", "七三"),
])  # fmt: skip
def test_signs_of_mathematics_and_code_count(one, other):
    exact = sign([one, other], [False, False], DedupSettings()).exact
    assert exact[0] != exact[1]


@pytest.mark.parametrize(("one", "other"), [
    ("a point, and - so - on", "a point and so on"), ("well-known", "well known"), ("* one\n* two", "- one\n- two"),
    ("# Heading\ntext", "Heading\n=======\ntext"), ("> quoted", "quoted"),
])  # fmt: skip
def test_marks_of_lists_and_headings_do_not_count(one, other):
    exact = sign([one, other], [False, False], DedupSettings()).exact
    assert exact[0] == exact[1]


def test_minima_are_those_of_the_permutations():
    text = SAMPLES[0][0]
    signature = sign([text], [False], DedupSettings())
    shingles = (shingle_set(text, False, 5) >> np.uint64(32)).astype(np.uint32)
    factors, addends = permutations(1)
    expected = (shingles[:, None] * factors[None] + addends[None]).min(axis=0)
    np.testing.assert_array_equal(signature.minima[0], expected)


def test_equal_minima_estimate_the_jaccard_index():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(5000)]
    errors = []
    for edits in np.linspace(0, 0.3, 30):
        one = rng.choice(words, 400)
        other = np.where(rng.random(400) < edits, rng.choice(words, 400), one)
        texts = [" ".join(one), " ".join(other)]
        exact = jaccard(shingle_set(texts[0], False, 5), shingle_set(texts[1], False, 5))
        minima = sign(texts, [False, False], DedupSettings()).minima
        errors.append((minima[0] == minima[1]).mean() - exact)
    assert abs(np.mean(errors)) < 0.02 and np.std(errors) < 0.06


def test_signatures_do_not_depend_on_the_batch():
    texts = [text for text, _ in SAMPLES]
    flags = [flag for _, flag in SAMPLES]
    together = sign(texts, flags, DedupSettings())
    for i, (text, flag) in enumerate(SAMPLES):
        np.testing.assert_array_equal(sign([text], [flag], DedupSettings()).minima[0], together.minima[i])


def test_urls():
    assert normal_url("HTTP://www.Example.org/a/#top") == normal_url("https://example.org/a") == "example.org/a"


@pytest.mark.parametrize(
    ("change", "message"), [({"bands": 40}, "bands=40 times rows=5"), ({"threshold": 0}, "threshold=0")]
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        DedupSettings(**change)
