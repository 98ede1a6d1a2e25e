"""The code of the package's pages runs."""

import re
from pathlib import Path

import pytest
import torch
from internlm2_parallel.testing import run_ranks

PAGES = Path(__file__).parents[2] / "packages" / "parallel" / "docs"


def code_of(page: str) -> dict:
    names: dict = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", (PAGES / page).read_text("utf-8"), re.S):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_strategy_and_a_module_of_ones_own_train_as_one_process(ranks):
    torch.set_num_threads(1)
    fit = code_of("add-a-strategy.md")["fit"]
    alone = fit("auto", 1)
    assert len(alone) == 3 and alone[-1] < alone[0]
    for losses in run_ranks(lambda: fit("zero1_tensor", ranks), ranks, join=False):
        assert losses == pytest.approx(alone, abs=1e-5)


def test_the_page_on_testing_holds_a_test_that_passes():
    code_of("testing.md")["test_sum"]()
