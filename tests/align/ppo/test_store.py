"""Rollouts of several ranks are read as one. Text of a model stays text in a table."""

import pytest
import torch
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompts import Query
from internlm2_align.ppo.replay import extremes, markdown, table_rows
from internlm2_align.ppo.responses import Responses
from internlm2_align.ppo.rollout import judge_rollout
from internlm2_align.ppo.sampling import Scored
from internlm2_align.ppo.store import SaveRollouts, file_of, read_rollout, write_rollout
from internlm2_align.report.policy import samples_of
from internlm2_align.reward.network import from_language_model

PROMPTS = [[1, 2, 3], [4], [5, 6], [7]]
REPLIES = [[9, 10], [11, 12, 13, 14], [15], [16, 17]]
TEXTS = ["plain", "<script>alert(1)</script> | [x](y)", "half \ud800", "two\nlines *bold*"]


@pytest.fixture
def write(tmp_path, language_model):
    critic = from_language_model(language_model, torch.Generator().manual_seed(0))

    def of_rank(rank, ranks):
        mine = slice(rank, None, ranks)
        asked = [Prompt(({"role": "user", "content": str(i)},), tuple(ids), "maths") for i, ids in enumerate(PROMPTS)]
        scores = torch.tensor([0.5, 2.0, -1.0, 1.0])[mine]
        responses = Responses(PROMPTS[mine], REPLIES[mine])
        scored = Scored(responses, TEXTS[mine], scores, torch.ones(len(scores)).bool())
        rollout = judge_rollout(scored, language_model, language_model, critic)
        file = file_of(tmp_path, 7, rank, ranks)
        write_rollout(file, Query(asked[mine]), scored, rollout, {"iteration": 7}, rank, ranks)

    return of_rank


def test_ranks_are_read_as_one(write, tmp_path):
    write(0, 1)
    whole = read_rollout(tmp_path, 7)
    file_of(tmp_path, 7).unlink()
    for rank in (1, 0):
        write(rank, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"iteration-7.rank-{rank}.parquet" for rank in (0, 1)]
    parts = read_rollout(tmp_path, 7)
    assert [row["query"] for row in parts.rows] == [0, 1, 2, 3] and parts.responses == whole.responses
    assert [row["reply"] for row in parts.rows] == [*TEXTS[:2], "half ?", TEXTS[3]]
    for name in ("logprobs", "values", "advantages", "returns", "entropies"):
        torch.testing.assert_close(parts.padded(name), whole.padded(name), atol=1e-5, rtol=1e-5)
    assert all(row["engine_logprobs"] is None for row in parts.rows)


def test_text_of_a_model_is_text_in_a_table(write, tmp_path):
    write(0, 1)
    rows = table_rows(extremes(read_rollout(tmp_path, 7), 1))
    assert [row[0] for row in rows] == ["best", "worst"] and rows[0][5] == TEXTS[1]
    best = markdown(rows).splitlines()[2]
    assert best.count("|") == 7 and not set("<>[]*") & set(best) and "&#60;script&#62;" in best
    assert "two lines" in table_rows(extremes(read_rollout(tmp_path, 7), 2))[1][5]


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"every=0 must be 1 or more"):
        SaveRollouts(tmp_path, 0)
    with pytest.raises(FileNotFoundError, match=r"has no rollout of iteration=1\. There are none"):
        read_rollout(tmp_path, 1)


def test_the_report_shows_the_best_and_worst_of_the_last_iteration(write, tmp_path):
    assert samples_of(tmp_path) is None
    for rank in (0, 1):
        write(rank, 2)
    found = samples_of(tmp_path)
    assert (found["of"], found["replies"]) == ("iteration 7", 4)
    assert [(row["prompt"], row["reply"], row["score"]) for row in found["best"]] == [
        ("1", TEXTS[1], 2.0),
        ("3", TEXTS[3], 1.0),
    ]
    assert [row["score"] for row in found["worst"]] == [-1.0, 0.5]
