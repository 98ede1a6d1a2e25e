"""The cost model: by hand, against measured state, and what the search refuses."""

import json
from dataclasses import replace

import pytest
from internlm2_parallel import Layout, MeshStrategy, Sharding, Treatment
from internlm2_parallel.search import MACHINES, Workload, candidates, memory_of, plan, ranked, scaling, time_of
from internlm2_parallel.search.job import record
from internlm2_parallel.search.plans import Plan
from internlm2_parallel.testing import LAYOUTS, TinyLM, TinySize, quiet_trainer, run_ranks
from internlm2_parallel.zero import SHARDINGS
from torch.distributed.tensor import DTensor

SEVEN_B = TinySize(layers=32, dim=4096, num_kv_heads=8, q_per_kv=4, head_dim=128, ffn_dim=14336, vocab_size=92544)
WORK = Workload(SEVEN_B, 4096, 2**22)
A100 = MACHINES["a100"]


def test_weights_and_operations_by_hand():
    assert WORK.block_weights == 4096 * 128 * (2 * 32 + 2 * 8) + 3 * 4096 * 14336
    assert abs(WORK.weights / 7.74e9 - 1) < 0.01
    assert WORK.matrix_flops == 6 * (WORK.weights - 92544 * 4096) * 2**22
    assert WORK.attention_flops == 12 * 32 * 32 * 128 * 4096 / 2 * 2**22
    assert WORK.rows == 1024


def test_memory_of_whole_copies_by_hand():
    memory = memory_of(Plan(Layout(replicate=8), SHARDINGS["ddp"], "ddp", "nothing", 128, 1), WORK)
    assert memory.weights == 4 * WORK.weights
    assert memory.optimizer == 8 * WORK.weights
    assert memory.gradients == 4 * WORK.weights
    inputs_of_blocks, last_norm = 32 * 2 * 4096, 2 * 2 * 4096
    assert memory.activations == 4096 * (inputs_of_blocks + last_norm)
    assert memory.working == 2 * 4 * 2**27  # a chunk of logits and its gradient: more than a block computed again


def test_one_rank_computes_at_its_share_of_the_peak():
    endless = replace(A100, attention_share=0.75, memory_gb_s=float("inf"))
    time = time_of(Plan(Layout(), SHARDINGS["ddp"], "ddp", "all", 1024, 1), WORK, endless)
    assert time.mfu == pytest.approx(0.75)
    assert time.communication_share == 0 and time.bubble_s == 0


def test_bytes_that_only_move_by_hand():
    time = time_of(Plan(Layout(), SHARDINGS["ddp"], "ddp", "all", 1024, 1), WORK, A100)
    forward = 10 * 4096 + 2 * (4096 + 1024) + 5 * 14336
    loss, optimizer = 6 * 4 * 92544, 7 * 4 * WORK.weights
    assert time.memory_s * 1630e9 == pytest.approx(2**22 * (32 * 3 * 2 * forward + loss))
    assert time.optimizer_s * 1630e9 == pytest.approx(optimizer)
    assert time.step_s == pytest.approx(time.compute_s + time.memory_s + time.optimizer_s)


def test_a_pipeline_waits_for_its_first_micro_batch():
    one = Plan(Layout(pipeline=4), SHARDINGS["ddp"], "ddp", "all", 16, 1)
    time = time_of(one, WORK, A100)
    assert time.bubble_s == pytest.approx((time.compute_s + time.memory_s) * 3 / 16)


def test_candidates_divide_everything_and_the_best_fit():
    plans = list(candidates(WORK, 16, A100))
    assert {entry.layout.ranks for entry in plans} == {16}
    assert all(entry.layout.tensor in (1, 2, 4, 8) for entry in plans)
    best = ranked(WORK, 16, A100)
    assert all(memory.total <= A100.memory_gb * 1e9 for _, memory, _ in best)
    assert [t.step_s for *_, t in best] == sorted((t.step_s for *_, t in best), key=lambda s: round(s, 3))


def test_more_gpus_never_raise_mfu_and_long_rows_are_possible():
    shares = [ranked(WORK, gpus, A100)[0][2].mfu for gpus in (8, 64, 1024)]
    assert shares == sorted(shares, reverse=True)
    long = ranked(replace(WORK, tokens=2**18), 1024, A100)[0][0]
    assert long.layout.context > 1


def test_what_cannot_be_is_refused_in_words():
    with pytest.raises(ValueError, match=r"smallest needs \d+ GB"):
        ranked(WORK, 1, A100)
    with pytest.raises(ValueError, match="holds no row"):
        Workload(SEVEN_B, 4096, 1024)
    with pytest.raises(ValueError, match="hardware='abacus' must be one of a100"):
        plan(SEVEN_B, 8, 4096, 2**22, "abacus", "unused")


def test_the_job_writes_overrides_that_make_the_layout(tmp_path):
    records = plan(SEVEN_B, 16, 4096, 2**22, "h100", str(tmp_path), top=3)
    assert len(records) == 3 and (tmp_path / "plans.json").is_file()
    assert any(override.startswith("layout.shard=") for override in records[0]["overrides"])
    assert "strategy.treatment.param_dtype=bfloat16" in records[0]["overrides"]


@pytest.mark.parametrize(
    ("keeps", "words"),
    [("all", []), ("matmuls", ["module.recompute=selective"]), ("nothing", ["module.recompute=full"])],
)
def test_overrides_name_the_knob_of_the_module(keeps, words):
    one = Plan(Layout(shard=8), SHARDINGS["zero3"], "zero3", keeps, 4, 1)
    overrides = record(one, memory_of(one, WORK), time_of(one, WORK, A100))["overrides"]
    assert [word for word in overrides if "recompute" in word] == words


@pytest.mark.parametrize("name", ["ddp", "fsdp", "hsdp", "tensor_sequence", "fsdp x tensor_sequence", "pipeline 1f1b"])
def test_predicted_state_is_within_a_tenth_of_what_ranks_hold(name):
    case = LAYOUTS[name]
    size = TinySize(dim=64, ffn_dim=192, vocab_size=512)

    def rank():
        from internlm2_parallel.testing import TinyLlama

        module = TinyLM(net=lambda: TinyLlama(size), steps=1)
        quiet_trainer(MeshStrategy(case.layout, case.treatment), case.ranks).fit(module)
        [optimizer] = module.trainer.optimizers
        tensors = [v for state in optimizer.state.values() for k, v in state.items() if k != "step"]
        held = [*module.net.parameters()], tensors
        return [sum(local(t).numel() * 4 for t in group) for group in held]

    def local(tensor):
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    found = run_ranks(rank, case.ranks, join=False)
    predicted = memory_of(Plan(case.layout, case.treatment.sharding, name, "all", 1, 1), Workload(size, 32, 256))
    assert max(weights for weights, _ in found) == pytest.approx(predicted.weights, rel=0.1)
    assert max(moments for _, moments in found) == pytest.approx(predicted.optimizer, rel=0.1)


def test_treatments_of_the_table_have_prices():
    for case in LAYOUTS.values():
        assert isinstance(case.treatment, Treatment) and isinstance(case.treatment.sharding, Sharding)
        assert memory_of(Plan(case.layout, case.treatment.sharding, "", "all", 4, 1), WORK).total > 0


def test_scaling_draws_what_fits_and_says_what_does_not(tmp_path):
    points = scaling(SEVEN_B, [1, 8, 64], [4096], 2**22, "a100", str(tmp_path))
    assert points[0].mfu is None and "smallest needs" in points[0].layout
    assert points[1].mfu >= points[2].mfu > 0
    best = ranked(WORK, 8, A100)[0][2]
    assert points[1].mfu == pytest.approx(best.mfu, abs=1e-4)
    assert len(json.loads((tmp_path / "scaling.json").read_text())) == 3
