import json
from collections import Counter

import pytest
from internlm2_data.loading.mixture import Mixture


def test_every_source_keeps_its_share():
    mixture = Mixture({"en": 6, "zh": 3, "code": 1}, seed=0)
    counts = Counter(place.source for place in mixture.take(6400))
    assert counts == {0: 3840, 1: 1920, 2: 640}


def test_rows_of_a_source_come_once_each():
    places = Mixture({"a": 0.37, "b": 0.63}, seed=4).take(64 * 9)
    for source in (0, 1):
        rows = [place.row for place in places if place.source == source]
        assert sorted(rows) == list(range(len(rows)))


def test_a_block_is_shuffled_so_that_each_rank_sees_a_mixture():
    places = Mixture({"long": 0.5, "short": 0.5}, seed=0).take(640)
    share = sum(place.source for place in places[::2]) / 320
    assert 0.4 < share < 0.6


@pytest.mark.parametrize("taken", [0, 1, 63, 64, 65, 128, 1000])
def test_goes_on_from_its_state(taken):
    one = Mixture({"a": 0.3, "b": 0.7}, seed=1)
    one.take(taken)
    other = Mixture({"a": 0.3, "b": 0.7}, seed=1)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert other.take(200) == one.take(200)


def test_refuses_the_state_of_another_mixture():
    state = Mixture({"a": 1, "b": 1}, seed=1).state_dict()
    with pytest.raises(ValueError, match="shares"):
        Mixture({"a": 1, "b": 2}, seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match="seed=1, and this run has 2"):
        Mixture({"a": 1, "b": 1}, seed=2).load_state_dict(state)


@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": 1, "b": -1}])
def test_refuses_weights_that_mean_nothing(weights):
    with pytest.raises(ValueError, match=r"weights=.* must be positive"):
        Mixture(weights, seed=0)
