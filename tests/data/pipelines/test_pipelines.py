"""Whole pipelines on small inputs: outputs, counts, resumption, and the same output for any number of workers."""

import json
import lzma
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from internlm2_data.code import CodeQuality
from internlm2_data.dedup import Dedup, DedupSettings
from internlm2_data.executor import LocalExecutor
from internlm2_data.io import ShardReader
from internlm2_data.jobs import process
from internlm2_data.pipelines import CodePipeline, LongPipeline, TokensPipeline, WebPipeline
from internlm2_data.rules import CleanLines, Normalise, TableRules
from internlm2_data.safety import WordList
from internlm2_data.tokens import token_sources
from internlm2_data.tracing import find_steps, trace
from internlm2_data.vocabulary import train_vocabulary
from internlm2_data.web import Format, extractor

EN = [
    "the",
    "of",
    "and",
    "to",
    "that",
    "with",
    "for",
    "was",
    "on",
    "are",
    "as",
    "his",
    "they",
    "be",
    "at",
    "one",
    "have",
    "this",
    "from",
    "had",
    "hot",
    "word",
    "but",
    "what",
    "some",
    "is",
    "it",
    "you",
    "were",
    "all",
    "your",
    "when",
    "up",
    "use",
    "how",
    "said",
    "each",
    "she",
    "which",
    "do",
    "their",
    "time",
    "if",
    "will",
    "way",
    "about",
    "many",
    "then",
    "them",
    "write",
    "would",
    "like",
    "so",
    "these",
    "her",
    "long",
    "make",
    "thing",
    "see",
    "him",
    "two",
    "has",
    "look",
    "more",
    "day",
    "could",
    "go",
    "come",
    "did",
    "number",
    "sound",
    "no",
    "most",
    "people",
    "my",
    "over",
    "know",
    "water",
    "than",
    "call",
    "first",
    "who",
    "may",
    "down",
    "side",
    "been",
    "now",
    "find",
    "any",
    "new",
    "work",
    "part",
    "take",
    "get",
    "place",
    "made",
    "live",
    "where",
    "after",
    "back",
    "little",
    "only",
    "round",
    "man",
    "year",
]
ZH = [
    "的",
    "了",
    "是",
    "在",
    "和",
    "不",
    "有",
    "我",
    "他",
    "这",
    "为",
    "之",
    "人",
    "以",
    "我们",
    "可以",
    "没有",
    "自己",
    "一个",
    "现在",
    "时候",
    "知道",
    "问题",
    "工作",
    "生活",
    "国家",
    "社会",
    "发展",
    "经济",
    "学生",
    "学校",
    "老师",
    "城市",
    "市场",
    "技术",
    "世界",
    "历史",
    "文化",
    "今天",
    "明天",
    "孩子",
    "朋友",
    "家庭",
    "方法",
    "情况",
    "研究",
    "教育",
    "公司",
    "企业",
    "产品",
    "服务",
    "环境",
    "条件",
    "力量",
    "方面",
    "关系",
    "办法",
    "结果",
    "过程",
    "精神",
    "思想",
    "活动",
    "群众",
    "干部",
    "农村",
    "农民",
    "土地",
    "粮食",
    "天气",
    "河流",
    "山区",
    "道路",
    "火车",
    "飞机",
    "电影",
    "音乐",
    "图书",
    "报纸",
    "记者",
    "新闻",
    "消息",
    "早晨",
    "晚上",
]


def text(language, seed, sentences=12):
    """Sentences of common words in random order, three to a paragraph."""
    rng = np.random.default_rng([seed, language == "zh"])
    words, glue, end = (EN, " ", ". ") if language == "en" else (ZH, "", "。")
    made = [glue.join(rng.choice(words, 12)) + end for _ in range(sentences)]
    return "\n\n".join("".join(made[i : i + 3]).strip() for i in range(0, sentences, 3))


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        lines = [
            {
                "text": text(lang, 100 * number + i),
                "language": lang,
                "url": f"http://{lang}/{number}/{i}",
                "type": "webpage",
            }
            for i in range(10)
            for lang in ("en", "zh")
        ]
        lines.append({"text": "short", "type": "webpage", "language": "en"})
        lines.append({"text": text("en", 5007), "language": "en", "url": f"http://copy/{number}", "type": "webpage"})
        body = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n{broken\n"
        (folder / f"{number}.jsonl").write_text(body, "utf-8")
    return folder


def web():
    return WebPipeline(
        Format(extractor("resiliparse")),
        {"normalise": Normalise(), "lines": CleanLines(), "thresholds": TableRules()},
        safe={"words": WordList(), "domains": None},
        high_quality={"fluency": None},
        shard_bytes=1,
    )


def kept(folder):
    return [d for path in sorted(folder.glob("*.zst")) for d in ShardReader(path)]


def snapshot(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.zst")) if p.is_file()}


def test_web_leaves_its_stages_and_a_funnel_that_adds_up(inputs, tmp_path):
    out = tmp_path / "out"
    process(web(), [str(inputs)], out, LocalExecutor(0))
    assert {p.name for p in out.iterdir()} == {
        "format", "clean", "dedup", "safe", "high_quality", "excluded", "_shards", "funnel.json", "funnel.svg",
        "README.md",
    }  # fmt: skip
    stages = {s["stage"]: s for s in json.loads((out / "funnel.json").read_text())["stages"]}
    assert list(stages) == ["format", "clean", "dedup", "safe", "high_quality"]
    assert sum(stages["format"]["documents"].values()) == 88
    assert stages["format"]["num_faults"] == 4
    assert stages["format"]["faults"][0]["offset"] == 23
    assert stages["clean"]["dropped"]["gopher.words"] == {"en-webpages": 4}
    assert sum(stages["dedup"]["dropped"]["dedup.exact"].values()) == 3
    assert stages["safe"]["not_configured"] == ["domains"]
    for before, after in zip(list(stages.values()), list(stages.values())[1:], strict=False):
        gone = sum(n for cells in after["dropped"].values() for n in cells.values())
        assert sum(before["documents"].values()) == sum(after["documents"].values()) + gone
    documents = kept(out / "high_quality")
    assert len(documents) == sum(stages["high_quality"]["documents"].values()) == 81
    assert {d.language for d in documents} == {"en", "zh"}
    excluded = kept(out / "excluded")
    assert len(excluded) == 7 and all(d.trail[-1]["action"] == "drop" for d in excluded)


def everything(folder):
    """A folder of every kind of file, whole and damaged. Returns how many things came in."""
    folder.mkdir()
    body = " ".join(f"word{n}" for n in range(80))
    lines = [json.dumps({"text": f"{body} {n}", "source": source, "language": language, "type": kind})
             for n, (source, language, kind) in enumerate([("a/b", "English", "news"), ("../c", "zh-CN", "prose"),
             ("d", "en", "code"), ("", "n/a", "webpage")])]  # fmt: skip
    (folder / "a.jsonl").write_text("\n".join([*lines, "{broken", '{"no": 1}', "5"]) + "\n")
    (folder / "b.json").write_text(json.dumps([{"text": "one"}, {"text": ""}, []]))
    (folder / "c.csv").write_text("text\nfour words are here\ntoo,many\n")
    (folder / "d.html").write_text(f"<p>{body}</p>")
    (folder / "e.txt.xz").write_bytes(lzma.compress(body.encode()))
    (folder / "f.warc").write_bytes(b"no record at all")
    (folder / "g.jsonl.gz").write_bytes(b"no archive at all")
    for name in ("h.png", "LICENSE.md", "i"):
        (folder / name).write_bytes(b"?")
    return 7 + 3 + 2 + 1 + 1 + 1 + 1 + 3


def test_nothing_is_lost_without_a_word(tmp_path):
    count, out = everything(tmp_path / "in"), tmp_path / "out"
    process(web(), [str(tmp_path / "in")], out, LocalExecutor(0))
    stages = json.loads((out / "funnel.json").read_text())["stages"]
    last = count
    for stage in stages:
        left, gone = sum(stage["documents"].values()), sum(sum(cells.values()) for cells in stage["dropped"].values())
        assert left + gone + stage["num_faults"] + sum(stage["passed"].values()) == last, stage["stage"]
        last = left
    assert sum(stages[0]["passed"].values()) == 3
    train_vocabulary([str(out / "format")], tmp_path / "v", size=320)
    tokens = TokensPipeline(str(tmp_path / "v" / "tokenizer.json"), heldout=0.2)
    process(tokens, [str(out / "format")], tmp_path / "tokens", LocalExecutor(0))
    report = json.loads((tmp_path / "tokens" / "tokens.json").read_text())
    written = sum(card["documents"] for card in report["files"])
    assert written + len(report["faults"]) + sum(report["passed"].values()) == sum(stages[0]["documents"].values())
    names = {path.relative_to(tmp_path / "tokens").as_posix() for path in (tmp_path / "tokens").rglob("*.bin")}
    assert {f"{card['name']}.{part}.bin" for card in report["files"] for part in card["parts"]} == {
        name for name in names if "_shards" not in name
    }


def test_any_number_of_workers_gives_the_same_bytes(inputs, tmp_path):
    process(web(), [str(inputs)], tmp_path / "a", LocalExecutor(0))
    process(web(), [str(inputs)], tmp_path / "b", LocalExecutor(2))
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


def test_a_second_run_does_nothing_and_a_changed_input_its_own_shards(inputs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    process(web(), [str(inputs)], out, LocalExecutor(0))
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("*.zst")}
    process(web(), [str(inputs)], out, LocalExecutor(0))
    assert stamps == {p: p.stat().st_mtime_ns for p in out.rglob("*.zst")}
    with (inputs / "3.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": text("en", 999), "language": "en", "type": "webpage"}) + "\n")
    process(web(), [str(inputs)], out, LocalExecutor(0))
    changed = {str(p.relative_to(out)) for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp}
    assert "format/00003.jsonl.zst" in changed and "format/00000.jsonl.zst" not in changed
    assert "clean/00002.jsonl.zst" not in changed
    assert len(kept(out / "high_quality")) == 82


def test_a_shard_that_fails_is_named_and_the_others_stay(inputs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    good = Format.document

    def bad(self, item, file):
        if file.endswith("2.jsonl"):
            raise MemoryError("too much")
        return good(self, item, file)

    monkeypatch.setattr(Format, "document", bad)
    with pytest.raises(RuntimeError, match=r"1 of 4 shards of stage format failed.*2\.jsonl.*too much"):
        process(web(), [str(inputs)], out, LocalExecutor(0))
    first = (out / "format/00000.jsonl.zst").stat().st_mtime_ns
    monkeypatch.undo()
    process(web(), [str(inputs)], out, LocalExecutor(0))
    assert (out / "format/00000.jsonl.zst").stat().st_mtime_ns == first
    assert len(kept(out / "high_quality")) == 81 and not (out / "failed.json").exists()


def test_fewer_inputs_leave_no_stale_shards(inputs, tmp_path):
    out = tmp_path / "out"
    process(web(), [str(inputs)], out, LocalExecutor(0))
    process(web(), [str(inputs / "0.jsonl")], out, LocalExecutor(0))
    assert len(list((out / "format").iterdir())) == 1
    assert len(kept(out / "high_quality")) == 21


def test_documents_that_a_run_no_longer_has_do_not_count_as_earlier(inputs, tmp_path):
    first = tmp_path / "first"
    process(web(), [str(inputs / "0.jsonl"), str(inputs / "1.jsonl")], first, LocalExecutor(0))
    process(web(), [str(inputs / "0.jsonl")], first, LocalExecutor(0))
    later = replace(web(), dedup=Dedup(earlier=[str(first)]))
    process(later, [str(inputs / "1.jsonl")], tmp_path / "later", LocalExecutor(0))
    assert len(kept(tmp_path / "later" / "high_quality")) == 20, "only the copy that both have is left out"


def test_files_of_a_run_that_was_killed_are_not_taken_for_those_before_it(inputs, tmp_path, monkeypatch):
    process(web(), [str(inputs / "0.jsonl")], tmp_path / "out", LocalExecutor(0))
    before = snapshot(tmp_path / "out")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("internlm2_data.stages.run.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        process(replace(web(), clean={}), [str(inputs / "0.jsonl")], tmp_path / "out", LocalExecutor(0))
    monkeypatch.undo()
    process(web(), [str(inputs / "0.jsonl")], tmp_path / "out", LocalExecutor(0))
    assert snapshot(tmp_path / "out") == before


def test_a_whole_run_is_no_input(inputs, tmp_path):
    process(web(), [str(inputs)], tmp_path / "out", LocalExecutor(0))
    with pytest.raises(ValueError, match=r"out is a run of `internlm2 process`.*such as .*out/high_quality\."):
        process(LongPipeline({}), [str(tmp_path / "out")], tmp_path / "long", LocalExecutor(0))


def test_shards_have_one_of_two_formats():
    with pytest.raises(ValueError, match=r"shards=csv must be jsonl\.zst or parquet"):
        replace(web(), shards="csv")


def test_inputs_without_a_document(tmp_path):
    (tmp_path / "a.jsonl").write_text("{broken\n")
    with pytest.raises(ValueError, match=r"hold no document\. The first of 1 faults.*broken JSON"):
        process(web(), [str(tmp_path / "a.jsonl")], tmp_path / "out", LocalExecutor(0))


@pytest.fixture
def repositories(tmp_path):
    for number in range(3):
        folder = tmp_path / "code" / f"repo{number}"
        (folder / "pkg").mkdir(parents=True)
        (folder / "README.md").write_text(
            f"# Repository {number}\n\nIt does what number {number} has to do, and no more.\n"
        )
        body = "".join(
            f"def function_{number}_{i}(value):\n    # Comment {i}.\n    return value + {i}\n\n\n" for i in range(40)
        )
        (folder / "pkg" / "lib.py").write_text(body)
        (folder / "pkg" / "main.py").write_text(
            f"from pkg import lib\n\n# Entry of {number}.\nprint(lib.function_{number}_1({number}))\n"
        )
        (folder / "pkg" / "copied.py").write_text(
            "def shared(a, b):\n    # The same in all.\n    return a * b + a - b\n" * 5
        )
    return tmp_path / "code"


def code():
    return CodePipeline(
        {"thresholds": TableRules("code")}, {"classes": CodeQuality()}, Dedup(DedupSettings(by_url=False))
    )


def test_code_gives_a_document_a_repository(repositories, tmp_path):
    process(code(), [str(repositories)], tmp_path / "out", LocalExecutor(0))
    documents = kept(tmp_path / "out" / "repositories")
    assert [d.meta["repository"] for d in documents] == ["repo0", "repo1", "repo2"]
    first = documents[0].text
    assert first.index("README.md") < first.index("pkg/lib.py") < first.index("pkg/main.py")
    assert sum("copied.py" in d.text for d in documents) == 1, "one copy is kept"


def test_repositories_may_share_a_name_and_hold_links(repositories, tmp_path, monkeypatch):
    (repositories / "repo1").rename(tmp_path / "repo0")
    (tmp_path / "repo0" / "gone.py").symlink_to("nowhere")
    (tmp_path / "repo0" / "pkg" / "back").symlink_to(tmp_path / "repo0")
    for folder in (repositories / "repo0", tmp_path / "repo0"):
        (folder / "setup.py").write_text("# A mark of a repository.\nname = 'it'\n")
    monkeypatch.chdir(tmp_path / "repo0")
    process(code(), [str(repositories / "repo0"), "."], tmp_path / "out", LocalExecutor(0))
    documents = kept(tmp_path / "out" / "repositories")
    assert [document.meta["repository"] for document in documents] == ["repo0", "repo0"]
    assert "function_0_1" in documents[0].text and "function_1_1" in documents[1].text


def test_long_documents_and_token_files(inputs, repositories, tmp_path):
    process(web(), [str(inputs)], tmp_path / "docs", LocalExecutor(0))
    (tmp_path / "long.jsonl").write_text(
        json.dumps({"text": text("en", 1, 600), "language": "en", "source": "books", "type": "prose"}), "utf-8"
    )
    documents = [str(tmp_path / "docs" / "high_quality"), str(tmp_path / "long.jsonl")]
    process(LongPipeline({}), documents, tmp_path / "long", LocalExecutor(0))
    assert [d.source for d in kept(tmp_path / "long" / "statistics")] == ["books"]
    train_vocabulary(documents, tmp_path / "vocabulary", size=500)
    pipeline = TokensPipeline(
        str(tmp_path / "vocabulary" / "tokenizer.json"),
        heldout=0.2,
        long=[str(tmp_path / "long" / "statistics")],
        shard_bytes=1,
    )
    process(pipeline, documents, tmp_path / "tokens", LocalExecutor(0))
    train, held = token_sources(tmp_path / "tokens" / "train"), token_sources(tmp_path / "tokens" / "heldout")
    assert set(train) >= {"en-webpages", "zh-webpages"}
    total = sum(len(s) for s in train.values()) + sum(len(s) for s in held.values())
    assert total == len(kept(tmp_path / "docs" / "high_quality")) + 1
    assert 5 <= sum(len(s) for s in held.values()) <= 30
    end = train["zh-webpages"].read(0)[-1]
    assert end == 2, "every document ends with </s>"
    process(replace(pipeline, heldout=0.0), [], tmp_path / "alone", LocalExecutor(0))
    assert [path.name for path in (tmp_path / "alone").iterdir() if path.name in ("train", "heldout", "long")] == [
        "long"
    ]
    process(pipeline, documents, tmp_path / "tokens2", LocalExecutor(2))
    one, two = (
        {
            path.relative_to(folder): path.read_bytes()
            for kind in ("train", "heldout")
            for path in (folder / kind).iterdir()
        }
        for folder in (tmp_path / "tokens", tmp_path / "tokens2")
    )
    assert one == two and any(path.name.startswith("zh-webpages") for path in one)


def test_token_files_of_an_earlier_run_do_not_stay(inputs, tmp_path, capsys):
    train_vocabulary([str(inputs)], tmp_path / "v", size=400)
    pipeline = TokensPipeline(str(tmp_path / "v" / "tokenizer.json"), heldout=0.2)
    process(pipeline, [str(inputs)], tmp_path / "tokens", LocalExecutor(0))
    assert set(token_sources(tmp_path / "tokens" / "train")) > {"zh-webpages"}
    (tmp_path / "page.html").write_text("<p>A page.</p>")
    with pytest.raises(ValueError, match=r"hold no document\. The first of 1 faults.*pipeline=web"):
        process(pipeline, [str(tmp_path / "page.html")], tmp_path / "tokens", LocalExecutor(0))
    assert set(token_sources(tmp_path / "tokens" / "train")) > {"zh-webpages"}, "a mistake removes nothing"
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text("en", 1, 100), "language": "en"}) + "\n{broken")
    process(replace(pipeline, heldout=0.0), [str(tmp_path / "a.jsonl")], tmp_path / "tokens", LocalExecutor(0))
    assert set(token_sources(tmp_path / "tokens" / "train")) == {"en-webpages"}
    assert not list((tmp_path / "tokens" / "heldout").iterdir())
    assert "1 things could not be read" in capsys.readouterr().out


def test_special_tokens_in_a_text_are_only_characters(tmp_path, inputs):
    from internlm2_data.tokens.encoding import TextEncoder

    train_vocabulary([str(inputs)], tmp_path / "v", size=400)
    encoder = TextEncoder(tmp_path / "v" / "tokenizer.json")
    assert TextEncoder(tmp_path / "v").sha256 == encoder.sha256
    (ids,) = encoder.encode(["say </s> and <|im_end|>"])
    assert ids[-1] == 2 and 2 not in ids[:-1] and all(i > 9 for i in ids[:-1])


def test_tokens_need_a_tokenizer(inputs, tmp_path):
    with pytest.raises(FileNotFoundError, match="Run `internlm2 vocabulary`"):
        process(TokensPipeline("nowhere.json"), [str(inputs)], tmp_path / "t", LocalExecutor(0))


def test_a_document_is_found_by_any_url(tmp_path):
    url = 'http://a/b"c\\d?x=é&y=1,2#z'
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "some words " * 60, "url": url}))
    process(web(), [str(tmp_path / "a.jsonl")], tmp_path / "out", LocalExecutor(0))
    assert {step.document.url for step in find_steps(tmp_path / "out", url)} == {url}


def test_a_document_is_traced_through_the_stages(inputs, tmp_path, capsys):
    out = tmp_path / "out"
    process(web(), [str(inputs)], out, LocalExecutor(0))
    document = kept(out / "high_quality")[0]
    steps = find_steps(out, document.id[:12])
    assert [step.stage for step in steps] == ["format", "clean", "dedup", "safe", "high_quality"]
    assert {step.fate for step in steps} <= {"kept", "rewritten"}
    copies = [find_steps(out, f"http://copy/{number}") for number in range(4)]
    ends = sorted((steps[-1].stage, steps[-1].fate) for steps in copies)
    assert ends == [("dedup", "dropped")] * 3 + [("high_quality", "kept")]
    trace(out, document.url, show_text=True)
    assert document.url in capsys.readouterr().out
    with pytest.raises(ValueError, match="holds no document with id="):
        trace(out, "http://nowhere")
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        trace(tmp_path, "x")


def test_brackets_in_an_address_are_no_markup(tmp_path, capsys):
    line = {"text": text("en", 1), "language": "en", "url": "http://x/?filter[name]=a[/b]", "type": "webpage"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    process(web(), [str(tmp_path / "a.jsonl")], tmp_path / "out", LocalExecutor(0))
    trace(tmp_path / "out", line["url"])
    assert line["url"] in capsys.readouterr().out


def test_the_funnel_counts_tokens_when_told_how(inputs, tmp_path):
    train_vocabulary([str(inputs)], tmp_path / "v", size=500)
    pipeline = replace(web(), count_tokens_with=str(tmp_path / "v" / "tokenizer.json"))
    process(pipeline, [str(inputs)], tmp_path / "out", LocalExecutor(0))
    stages = json.loads((tmp_path / "out" / "funnel.json").read_text())["stages"]
    totals = [sum(stage["tokens"].values()) for stage in stages]
    assert totals == sorted(totals, reverse=True) and totals[-1] > 1000
    svg = (tmp_path / "out" / "funnel.svg").read_text()
    assert ElementTree.fromstring(svg).tag.endswith("svg") and "zh-webpages" in svg


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from internlm2_data.stages import run
from internlm2_data.executor import LocalExecutor
from test_pipelines import web

write, left = run.write_json, [{shards}]
def dying(path, record):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    write(path, record)
run.write_json = dying
web().run([{inputs!r}], Path({output!r}), LocalExecutor(0))
"""


@pytest.mark.parametrize("shards", [1, 3, 6, 15])
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_bytes(inputs, tmp_path, shards):
    out, reference = tmp_path / "out", tmp_path / "reference"
    script = KILLED.format(tests=str(Path(__file__).parent), shards=shards, inputs=str(inputs), output=str(out))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    manifests = {path: path.stat().st_mtime_ns for path in (out / "_shards").rglob("?????.json")}
    process(web(), [str(inputs)], out, LocalExecutor(0))
    assert {path: path.stat().st_mtime_ns for path in manifests} == manifests, "what was done is not done again"
    process(web(), [str(inputs)], reference, LocalExecutor(0))
    assert snapshot(out) == snapshot(reference)
    assert not list(out.rglob("*.part"))
