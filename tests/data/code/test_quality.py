"""Classes of quality from files to repositories and to token files."""

import json

from internlm2_data.code import CodeQuality
from internlm2_data.code.markdown import assemble
from internlm2_data.document import Document
from internlm2_data.executor import LocalExecutor
from internlm2_data.jobs import process
from internlm2_data.page import Page
from internlm2_data.pipelines import TokensPipeline
from internlm2_data.tokens import token_sources
from internlm2_data.verdict import Drop, Score, apply

LOW = "1, 2, 3\n" * 9
GOOD = "# Adds the numbers of a list\ndef total(numbers):\n    # begins with nothing\n    return sum(numbers)\n"
PLAIN = "a = b\nq = a\nx = q\n"


def file(path, text, language="python"):
    return Document(text, source="code", language=language, type="code", meta={"repository": "r", "path": path})


def judged(rule, document):
    [verdict] = rule.judge([Page(document)])
    return apply(verdict, document, "quality")


def test_low_files_of_rare_languages_are_kept():
    common, rare = file("a.py", LOW), file("a.f90", LOW, "fortran")
    [drop, kept] = CodeQuality().judge([Page(common), Page(rare)])
    assert isinstance(drop, Drop) and drop.rule == "code.quality_low"
    assert isinstance(kept, Score) and kept.rule == "code.quality_moderate" and kept.value == drop.value
    assert isinstance(CodeQuality(common=["fortran"]).judge([Page(rare)])[0], Drop)


def test_a_repository_has_the_class_of_most_of_its_bytes_and_all_scores():
    rule = CodeQuality()
    good, plain = judged(rule, file("good.py", GOOD)), judged(rule, file("plain.py", PLAIN))
    assert assemble("r", [good, plain]).meta["quality"] == "high"
    meta = assemble("r", [good, judged(rule, file("plain.py", PLAIN * 30))]).meta
    assert meta["quality"] == "moderate"
    assert meta["scores"] == {"good.py": good.trail[-1]["value"], "plain.py": plain.trail[-1]["value"]}
    assert "quality" not in assemble("r", [file("a.py", GOOD)]).meta, "nobody has judged it"


def test_each_class_has_token_files_of_its_own(tokenizer_file, tmp_path):
    classes = ["high", "moderate", "high", "A+", None]
    lines = [
        {"text": f"# r {n}\n", "source": "code", "language": "python", "type": "repository", "meta": {"quality": name}}
        for n, name in enumerate(classes)
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    process(
        TokensPipeline(str(tokenizer_file), heldout=0.0), [str(tmp_path / "r.jsonl")], tmp_path / "t", LocalExecutor(0)
    )
    sources = token_sources(tmp_path / "t" / "train")
    assert {name: (len(source), source.card["quality"]) for name, source in sources.items()} == {
        "python-code": (2, ""), "python-code-high": (2, "high"), "python-code-moderate": (1, "moderate"),
    }  # fmt: skip
