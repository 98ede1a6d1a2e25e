"""Which prompts a round asks."""

import json
from functools import partial

import pytest
from internlm2_align.miniature import SimulatedAnnotator
from internlm2_align.online.hacking import Audit
from internlm2_align.online.replies import Probe
from internlm2_align.online.rounds import Rounds
from internlm2_core.generation import Sampling


@pytest.mark.parametrize(("total", "prompts"), [(400, 20), (403, 100), (60, 20)])
def test_each_round_asks_other_prompts_until_all_were_asked(tmp_path, total, prompts):
    file = tmp_path / "train.jsonl"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    records = ({"id": i, "task": "sum", "language": "en", "messages": turns} for i in range(total))
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    make = partial(Rounds, "sft", str(file), {"sum": "maths"}, None, None, Probe(Sampling()), Audit())
    rounds = make(SimulatedAnnotator(), prompts=prompts)
    asked = [set(rounds._records(number)) for number in (1, 2, 3)]
    assert all(len(part) == prompts for part in asked) and len(set.union(*asked)) == 3 * prompts
    assert [set(rounds._records(number)) for number in (1, 2, 3)] == asked
    # With fewer than are wanted, all are asked.
    assert len(make(SimulatedAnnotator(), prompts=1000)._records(2)) == total
