"""Figures of a queue, worked out by hand."""

import pytest
from internlm2_align.people import Queue, figures


def test_figures(tmp_path, comparisons, says):
    gold = comparisons(2, "harmless", gold="second")
    queue = Queue(tmp_path, [*comparisons(4), *gold], annotators_per=2, gold_share=0.0)
    ann, bob = ["first", "second", "first", "first"], ["first", "second", "second", "tie"]
    for n in range(4):
        queue.judge(says("ann", f"helpful{n}", ann[n]), first_is_left=True, seconds=float(n))
        queue.judge(says("bob", f"helpful{n}", bob[n]))
    queue.judge(says("ann", "harmless0", "second"), first_is_left=False)
    queue.judge(says("ann", "harmless1", "first"), first_is_left=True)
    queue.judge(says("bob", "harmless1", "skip"))
    queue.judge(says("cleo", "helpful2", "first"), role="resolution", first_is_left=False)
    queue.judge(says("dan", "helpful0", "second"))
    queue.undo("dan")
    found = figures(queue)
    # Two of four agree. By chance 3/4 * 1/4 + 1/4 * 2/4 = 5/16 do.
    kappa = (2 / 4 - 5 / 16) / (1 - 5 / 16)
    assert found["kappa"] == [{"annotators": ["ann", "bob"], "kappa": pytest.approx(kappa), "both": 4}]
    # Eight values, of which four are first, three second and one tie: 64 - 16 - 9 - 1 = 38 pairs differ by chance.
    assert found["alpha"] == pytest.approx(1 - 7 * 4 / 38)
    assert found["domains"] == {
        "helpful": {"open": 0, "decided": 3, "disagreed": 1, "alpha": found["alpha"], "judged_twice": 4}
    }
    assert found["annotators"]["ann"] == {
        "judged": 6, "skipped": 0, "gold_right": 1, "gold_judged": 2, "left": 5, "sided": 6, "median_seconds": 1.5,
    }  # fmt: skip
    assert found["annotators"]["bob"]["skipped"] == 1 and found["annotators"]["bob"]["gold_judged"] == 0
    assert list(found["annotators"]) == ["ann", "bob"]
    assert (found["left"], found["sided"]) == (5, 6)


def test_figures_of_nothing(tmp_path):
    assert figures(Queue(tmp_path))["alpha"] is None
