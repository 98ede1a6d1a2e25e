"""Gains inside one policy and one prompt: against SciPy, against plain least squares, and how often intervals hold."""

import math

import numpy as np
import pytest
from internlm2_align.online.contrasts import discoveries, gain
from scipy import stats


def drawn(rng, prompts=60, samples=3, effect=0.5, drift=2.0):
    """Two policies. The late one shows the feature more often and scores ``drift`` higher whatever it shows."""
    rows = [(prompt, late) for prompt in range(prompts) for late in (0, 1) for _ in range(samples)]
    prompt, late = np.array(rows).T
    shows = (rng.random(len(rows)) < np.where(late, 0.6, 0.1)).astype(float)
    ease = rng.normal(0, 2, prompts)[prompt]
    own = rng.normal(effect, 0.5, prompts)[prompt]
    return shows, ease + drift * late + own * shows + rng.normal(0, 1, len(rows)), 2 * prompt + late, prompt


def test_one_reply_with_and_one_without_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    without, more = rng.normal(0, 1, 30), rng.normal(0.4, 1, 30)
    found = gain(
        [0, 1] * 30, np.stack([without, without + more], 1).ravel(), np.repeat(range(30), 2), np.repeat(range(30), 2)
    )
    paired = stats.ttest_1samp(more, 0)
    assert found.value == pytest.approx(more.mean()) and found.prompts == 30
    assert found.p == pytest.approx(paired.pvalue)
    assert found.interval(0.9) == pytest.approx(tuple(paired.confidence_interval(0.9)))


def test_equals_least_squares_with_a_column_for_every_cell():
    rng = np.random.default_rng(1)
    shows, values, cells, prompts = drawn(rng, prompts=20)
    length = rng.normal(0, 1, len(values)) + shows
    values = values + 0.3 * length
    design = np.column_stack([shows, length, np.eye(40)[cells]])
    weights, *_ = np.linalg.lstsq(design, values, rcond=None)
    found = gain(shows, values, cells, prompts, [length])
    assert found.value == pytest.approx(weights[0])
    # The sandwich by hand, clusters are prompts.
    bread, rest = np.linalg.pinv(design.T @ design), values - design @ weights
    scores = np.stack([design[prompts == one].T @ rest[prompts == one] for one in range(20)])
    robust = (bread @ scores.T @ scores @ bread)[0, 0] * found.prompts / (found.prompts - 1)
    ordinary = (rest @ rest) / (len(values) - 42) * bread[0, 0]
    assert found.error == pytest.approx(math.sqrt(max(robust, ordinary)))


def test_better_and_worse_policies_move_nothing():
    for drift in (-5.0, 0.0, 5.0):
        found = gain(*drawn(np.random.default_rng(2), drift=drift))
        assert found.value == pytest.approx(gain(*drawn(np.random.default_rng(2), drift=0.0)).value)
    # Mixed, as if one policy had written all, the drift decides.
    shows, values, _, prompts = drawn(np.random.default_rng(2), effect=0.0, drift=5.0)
    assert gain(shows, values, prompts, prompts).value > 1.0


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_intervals_hold_the_truth_as_often_as_they_say(effect):
    rng = np.random.default_rng(3)
    held = [low <= effect <= high for low, high in (gain(*drawn(rng, 25, 2, effect)).interval(0.9) for _ in range(400))]
    assert 0.86 <= np.mean(held) <= 0.97


def test_without_contrasts_nothing_is_known():
    for shows in ([1, 1, 0, 0], [0, 0, 0, 0]):
        found = gain(shows, [3.0, 3.1, 1.0, 1.1], [0, 0, 1, 1], [0, 0, 1, 1])
        assert found.interval(0.95) == (-math.inf, math.inf) and found.p == 1 and found.prompts == 0
    assert gain([], [], [], []).p == 1
    # One prompt is one observation, however many replies there are to it.
    assert gain([0, 1] * 50, [0.0, 1.0] * 50, [0] * 100, [0] * 100).p == 1


def test_a_handful_of_equal_differences_is_not_certain():
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 1, 40)
    shows = [0, 1] * 3 + [0, 0] * 17
    values = [0.0, -0.5] * 3 + list(noise[:34])
    found = gain(shows, values, np.repeat(range(20), 2), np.repeat(range(20), 2))
    assert found.prompts == 3 and found.interval(0.95)[1] > 0


def test_discoveries_are_those_of_scipy():
    rng = np.random.default_rng(5)
    for _ in range(50):
        p_values = np.concatenate([rng.random(30), rng.random(8) * 0.01])
        assert discoveries(p_values, 0.1) == list(stats.false_discovery_control(p_values) <= 0.1)
    assert discoveries([], 0.1) == []
