"""AlpacaEval's comparison, and its length control against values of the published code."""

import numpy as np
import pytest
from internlm2_align.judged import AlpacaEval
from internlm2_align.judged.answers import FileAnswers
from internlm2_align.judged.length_control import Judged, length_controlled, standardised
from scipy.optimize import minimize

pytest.importorskip("sklearn")

TEMPLATE = """<|im_start|>system
judge
<|im_end|>
<|im_start|>user
{instruction}|{output_1}|{output_2}
<|im_end|>
"""


def ignore(done, total):
    assert 0 < done <= total


@pytest.fixture
def settings(write, tmp_path, make_judge):
    asked = [{"instruction": f"do {n}", "output": "bad" * n, "generator": "base"} for n in range(1, 9)]
    ours = [{"instruction": f"do {n}", "output": ("good" if n % 4 else "same") + "!" * n} for n in range(1, 9)]
    (tmp_path / "template.txt").write_text(TEMPLATE)
    return {
        "reference": write("reference.json", asked),
        "judge": make_judge(),
        "answers": FileAnswers(write("ours.jsonl", *ours)),
        "folder": tmp_path / "judged",
    }


def by_template(text):
    _, first, second = text.split("|")
    if "same" in first + second:
        return "m"  # the first, whatever it is
    return "M" if "good" in second else "m"


def test_a_template_of_alpacaeval_is_asked_in_both_orders(endpoint, settings, tmp_path):
    endpoint.answer = by_template
    result = AlpacaEval(template=tmp_path / "template.txt", **settings).run(None, ignore)
    assert [one["verdict"] for one in result.samples] == ["model"] * 3 + ["tie"] + ["model"] * 3 + ["tie"]
    assert result.figures["score"] == 7 / 8 and result.figures["inconsistent"] == 2
    assert result.figures["requests"] == 16 and result.figures["failed"] == {}
    assert endpoint.requests[0]["messages"][0] == {"role": "system", "content": "judge"}
    assert result.figures["length_control"] == "length_controlled_minimal"
    assert 0.5 < result.figures["length_controlled"] < 1 and result.figures["length_controlled_error"] >= 0


def test_without_a_template_the_rubric_of_the_labelling_is_asked(endpoint, settings):
    def judge(text):
        first = text.split("<reply A ")[1].split("\n")[1]
        return '{"reason": "r", "verdict": "A"}' if "good" in first or "same" in first else '{"verdict": "B"}'

    endpoint.answer = judge
    result = AlpacaEval(limit=4, **settings).run(None, ignore)
    assert [one["verdict"] for one in result.samples] == ["model"] * 4
    assert result.figures["score"] == 1 and result.figures["length_controlled"] is None  # four are fewer than the folds


def test_a_template_without_its_parts_is_refused(settings, tmp_path):
    (tmp_path / "template.txt").write_text("<|im_start|>user\n{instruction}\n<|im_end|>")
    with pytest.raises(ValueError, match=r"must be turns of ChatML with \{output_1\}, \{output_2\}"):
        AlpacaEval(template=tmp_path / "template.txt", **settings)


# Of get_length_controlled_winrate (github.com/tatsu-lab/alpaca_eval, its files replaced by the judgements below), by seed.
PUBLISHED = {
    "length_controlled_v1": (47.883071842420925, 48.90727304162159, 50.16348085592304),
    "length_controlled_noreg": (47.937160660685706, 49.02524521044359, 49.487932370572814),
    "length_controlled_minimal": (48.0095424448397, 49.00371356976833, 50.0),
}
N = 200


def made_up(seed):
    """Judgements of a model that is preferred for its length, and of two gamed baselines."""
    rng = np.random.default_rng(0)
    difficulty, parts = rng.normal(size=N), []
    for sign in (1, -1):
        preference = np.clip(0.5 + sign * 0.3 + rng.normal(0, 0.1, N), 0, 1)
        parts.append((preference, rng.normal(-2 * sign, 1, N)))
    gamed = Judged(*(np.concatenate(column) for column in zip(*parts, strict=True)), np.tile(difficulty, 2))
    draw = np.random.default_rng(seed + 1)
    baseline, ours = draw.integers(50, 2000, N), draw.integers(50, 2000, N)
    preference = 1 / (1 + np.exp(-(draw.normal(0, 1, N) + 0.0008 * (ours - baseline) + 0.5 * difficulty)))
    if seed == 2:
        preference = np.round(preference * 2) / 2  # wins, losses and ties
    lengths = standardised(["x" * n for n in ours], ["x" * n for n in baseline])
    return preference, lengths, difficulty, gamed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PUBLISHED)
def test_length_control_equals_the_published_code(name, seed):
    preference, lengths, difficulty, gamed = made_up(seed)
    judged = Judged(preference, lengths, None if name.endswith("minimal") else difficulty)
    rate = length_controlled(judged, gamed if name.endswith("v1") else None)
    assert 100 * rate.mean() == pytest.approx(PUBLISHED[name][seed], abs=1e-4)


def test_length_control_takes_out_what_length_explains():
    """Against a plain maximum of the likelihood, by another optimizer."""
    draw = np.random.default_rng(3)
    lengths = draw.normal(0, 1, 2000)
    preference = 1 / (1 + np.exp(-(-0.4 + 2.0 * np.tanh(lengths))))

    def loss(weights):
        logits = weights[0] * np.tanh(lengths) + weights[1]
        return float(np.sum(np.logaddexp(0, -logits) * preference + np.logaddexp(0, logits) * (1 - preference)))

    found = minimize(loss, np.zeros(2)).x
    assert found == pytest.approx([2.0, -0.4], abs=1e-3)
    rate = length_controlled(Judged(preference, lengths))
    assert rate.mean() == pytest.approx(1 / (1 + np.exp(-found[1])), abs=2e-3)


def test_equal_lengths_cannot_be_controlled():
    with pytest.raises(ValueError, match="differ by the same length"):
        standardised(["aa", "bb"], ["c", "d"])
