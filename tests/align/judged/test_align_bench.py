"""AlignBench: dimensions of the subcategory, ratings from the last object, and the mean of two halves."""

import pytest
from internlm2_align.judged import AlignBench
from internlm2_align.judged.align_bench import figures_of, ratings_in
from internlm2_align.judged.answers import FileAnswers


def ignore(done, total):
    assert 0 < done <= total


@pytest.fixture
def settings(write, tmp_path, make_judge):
    rows = [
        {"question_id": 1, "category": "数学计算", "subcategory": "初等数学", "question": "1+1?", "reference": "2"},
        {
            "question_id": 2,
            "category": "角色扮演",
            "subcategory": "名人",
            "question": "你是谁 {a}",
            "reference": "李白",
        },
    ]
    write("config/subcategory_question_mapping.json", {"初等数学": "推理", "名人": "生成"})
    write("config/dimension_set.json", {"推理": ["事实正确性", "完备性"], "生成": ["创造性"]})
    write("config/dimension_definition.json", {"事实正确性": "对吗", "完备性": "全吗", "创造性": "新吗"})
    answers = [{"question_id": 1, "answer": "\\frac{{1}}{2}"}, {"question_id": 2, "answer": "诗人"}]
    return {
        "questions": write("questions.jsonl", *rows),
        "config": tmp_path / "config",
        "judge": make_judge(),
        "answers": FileAnswers(write("answers.jsonl", *answers)),
        "folder": tmp_path / "judged",
    }


def test_dimensions_go_to_the_judge_and_ratings_come_back(endpoint, settings):
    endpoint.answer = lambda text: (
        "例如 {'综合得分': 1}。{'事实正确性': 9, '完备性': 6, '综合得分': 7}"
        if "事实正确性: 对吗" in text
        else "不知道"
    )
    result = AlignBench(**settings).run(None, ignore)
    maths, role = sorted(
        (body["messages"][-1]["content"] for body in endpoint.requests), key=lambda text: "李白" in text
    )
    assert "1. 事实正确性: 对吗\n2. 完备性: 全吗" in maths and "\\frac{{1}}{2}" in maths and "{'事实正确性': 9" in maths
    assert "1. 创造性: 新吗" in role and "完备性: 全吗" not in role and "你是谁 {a}" in role
    figures = result.figures
    assert (figures["score"], figures["reasoning"], figures["language"]) == (7, 7, None)
    assert figures["failed"] == {"no_verdict": 1} and figures["judged"] == 1
    assert result.samples[0]["ratings"] == {"事实正确性": 9, "完备性": 6, "综合得分": 7}


def test_the_score_is_the_mean_of_reasoning_and_language():
    rated = {"数学计算": [2, 4], "逻辑推理": [5], "写作": [9], "文本写作": [8], "角色扮演": [6, 6]}
    samples = [{"category": name, "rating": value} for name, values in rated.items() for value in values]
    figures = figures_of([*samples, {"category": "角色扮演", "rating": None}])
    assert figures["reasoning"] == 4 and figures["language"] == 7 and figures["score"] == 5.5


def test_ratings_out_of_range_are_none():
    assert ratings_in('{"综合得分": 11, “清晰度”： 3}') == {"清晰度": 3}
    assert ratings_in("no object") == {}


def test_a_prompt_of_ones_own_and_an_unknown_subcategory(endpoint, settings, tmp_path, write):
    (tmp_path / "prompt.txt").write_text("{category}|{question}|{reference}|{answer}|{{'综合得分': 打分}}")
    AlignBench(prompt=tmp_path / "prompt.txt", limit=1, **settings).run(None, ignore)
    assert endpoint.requests[0]["messages"][0]["content"] == "数学计算|1+1?|2|\\frac{{1}}{2}|{'综合得分': 打分}"
    write("config/subcategory_question_mapping.json", {"名人": "生成"})
    with pytest.raises(ValueError, match="subcategory=初等数学 must be one of 名人"):
        AlignBench(**settings).run(None, ignore)
