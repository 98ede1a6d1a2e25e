"""Files that labs have, found by their names and read as lm-eval's data sets."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from internlm2_core.evaluation.harness.data import LocalData
from internlm2_core.evaluation.harness.mmlu import places, question_of
from internlm2_core.evaluation.harness.sources import agieval_row, wikitext_rows


@pytest.mark.parametrize(
    ("file", "path", "subset", "split"),
    [
        ("gsm8k/test.jsonl", "openai/gsm8k", "main", "test"),
        ("gsm8k/main/test-00000-of-00001.jsonl", "openai/gsm8k", "main", "test"),
        ("GSM8K.jsonl", "openai/gsm8k", "main", "test"),
        ("gsm8k_train.jsonl.gz", "openai/gsm8k", "main", "train"),
        ("mmlu/anatomy/test.jsonl", "cais/mmlu", "anatomy", "test"),
        ("mmlu/anatomy_dev.jsonl", "cais/mmlu", "anatomy", "dev"),
        ("cmmlu/test/agronomy.jsonl", "haonan-li/cmmlu", "agronomy", "test"),
        ("ceval/val/law.jsonl", "ceval/ceval-exam", "law", "validation"),
        ("hellaswag.jsonl", "Rowan/hellaswag", None, "validation"),
        ("AGIEval/sat-math.jsonl", "hails/agieval-sat-math", None, "test"),
        ("BBH/bbh/navigate.json", "SaylorTwift/bbh", "navigate", "test"),
        ("other/name/test.jsonl", "someone/name", None, "none of these"),
        ("name/few/test.jsonl", "someone/name", "few", "test"),
    ],
)
def test_files_are_found(tmp_path: Path, file: str, path: str, subset: str | None, split: str) -> None:
    row = {"query": "1?", "question": "1?"}
    text = json.dumps({"examples": [row]} if file.endswith(".json") else row)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(gzip.compress(text.encode()) if file.endswith(".gz") else text.encode())
    splits = LocalData(tmp_path).of("task", path, subset)
    if split == "none of these":
        with pytest.raises(FileNotFoundError, match=r"The task task needs the split"):
            splits[split]
    else:
        assert list(splits[split]) == [row]


def test_the_questions_of_one_subset_are_not_those_of_another(tmp_path: Path) -> None:
    (tmp_path / "cmmlu").mkdir()
    (tmp_path / "cmmlu/test.jsonl").write_text(json.dumps({"Question": "1?"}))
    with pytest.raises(FileNotFoundError, match=r"cmmlu/agronomy/test.jsonl does not exist"):
        LocalData(tmp_path).of("cmmlu_agronomy", "haonan-li/cmmlu", "agronomy")["test"]


def test_splits_of_mbpp_are_ranges_of_task_numbers(tmp_path: Path) -> None:
    (tmp_path / "mbpp.jsonl").write_text("".join(json.dumps({"task_id": n}) + "\n" for n in range(1, 975)))
    splits = LocalData(tmp_path).of("mbpp", "google-research-datasets/mbpp", "full")
    sizes = {name: len(splits[name]) for name in ("prompt", "test", "validation", "train")}
    assert sizes == {"prompt": 10, "test": 500, "validation": 90, "train": 374}


def test_subjects_of_mmlu_follow_each_other() -> None:
    test, dev = places("test"), places("dev")
    assert sum(map(len, test.values())) == 14_042
    assert (len(test), test["anatomy"], dev["anatomy"]) == (57, range(100, 235), range(5, 10))
    assert test["moral_scenarios"].stop - test["moral_scenarios"].start == 895  # the published size
    assert places("validation") == {}
    rows = [{"question": "?", "answer": text, "is_correct": False, "eval_instance_index": 3} for text in "abcd"]
    with pytest.raises(ValueError, match="Question 3 of MMLU has 0 right answers of 4"):
        question_of(rows, "anatomy")


def test_the_subjects_of_the_real_file_are_where_the_table_says(real_data: Path) -> None:
    splits = LocalData(real_data / "eval").of("mmlu_moral_scenarios", "cais/mmlu", "moral_scenarios")
    assert all(row["question"].startswith("For which of these two scenarios") for row in splits["test"])


def test_agieval_asks_in_its_own_words() -> None:
    row: dict[str, Any] = {"passage": "P. ", "question": "1+1?", "options": ["(A)1", "(B)2", "(C)3"], "label": "B"}
    english = agieval_row(row, "sat-math")
    assert english["query"] == "P. Q: 1+1? Answer Choices: (A)1 (B)2 (C)3\nA: Among A through C, the answer is"
    assert english["gold"] == [1]
    assert agieval_row(row, "gaokao-physics")["query"].endswith("答案：从A到C, 我们应选择")
    assert agieval_row(row | {"label": ["C", "A"]}, "jec-qa-kd")["gold"] == [0, 2]
    cloze = {"passage": None, "question": "1+1=?", "options": None, "label": None, "answer": "2"}
    assert agieval_row(cloze, "gaokao-mathcloze") == {"query": "问题：1+1=?\n答案：", "answer": "2"}


def test_articles_of_wikitext_begin_at_headings() -> None:
    lines = [" = One = \n", " a \n", " = = Part = = \n", " b \n", " = Two = \n", " c \n"]
    pages = [row["page"] for row in wikitext_rows([{"text": line} for line in lines], "", "test")]
    assert pages == ["".join(lines[:4]), "".join(lines[4:])]
