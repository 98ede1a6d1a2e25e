"""Which prompts a round asks."""

import pytest
from internlm2_align.online.rounds import of_round


@pytest.mark.parametrize(("total", "prompts"), [(400, 20), (403, 100), (60, 20)])
def test_each_round_asks_other_prompts_until_all_were_asked(total, prompts):
    asked = [set(of_round(range(total), number, prompts, seed=1)) for number in (1, 2, 3)]
    assert all(len(part) == prompts for part in asked) and len(set.union(*asked)) == 3 * prompts
    assert [set(of_round(range(total), number, prompts, seed=1)) for number in (1, 2, 3)] == asked
    # With fewer than are wanted, all are asked.
    assert len(of_round(range(total), 2, 1000, seed=1)) == total
