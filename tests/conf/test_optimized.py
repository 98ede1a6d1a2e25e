"""What a job gives to a sweeper that searches."""

import pytest
from internlm2_conf.__main__ import figure_of


def test_a_figure_is_chosen_by_its_name() -> None:
    result = {"valid/loss": 2.5, "heldout": {"accuracy": 0.75, "domains": None}, "steps": 3}
    assert figure_of(result, "valid/loss") == 2.5
    assert figure_of(result, "heldout.accuracy") == 0.75
    with pytest.raises(
        ValueError, match=r"optimized_metric=loss must be one of heldout\.accuracy, steps, valid/loss\."
    ):
        figure_of(result, "loss")
    with pytest.raises(ValueError, match="of a job that gives some"):
        figure_of(None, "loss")
