"""The cost model: by hand, against measured state, and what the search refuses."""

import json
import math
from dataclasses import replace
from itertools import accumulate

import pytest
from internlm2_parallel import Layout, MeshStrategy, Pipeline, Sharding, Treatment
from internlm2_parallel.pipeline.schedule import blocks_of_stages
from internlm2_parallel.search import MACHINES, Workload, candidates, memory_of, plan, ranked, scaling, time_of
from internlm2_parallel.search.job import overrides_of
from internlm2_parallel.search.judging import Fitted, error, judge
from internlm2_parallel.search.kernels import attention_s, product_s
from internlm2_parallel.search.machine import ROCE_SHARE, SUSTAINED
from internlm2_parallel.search.network import Group
from internlm2_parallel.search.place import Place
from internlm2_parallel.search.plans import SEARCHED, Plan
from internlm2_parallel.search.published import PUBLISHED
from internlm2_parallel.search.scaling import published
from internlm2_parallel.search.time import hidden_s
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


def test_one_rank_computes_at_the_speed_of_its_products():
    tiles = replace(A100, multiprocessors=1, attention_tflops=(271.2, 271.2), sustained=1.0, launch_us=0.0)
    long = Workload(replace(SEVEN_B, vocab_size=8192), 2**20, 2**20)
    time = time_of(Plan(Layout(), SHARDINGS["ddp"], "ddp", "all", 1, 1), long, replace(tiles, memory_gb_s=math.inf))
    assert time.mfu == pytest.approx(271.2 / 312, rel=1e-3)
    assert time.communication_share == 0 and time.bubble_s == 0
    assert time.tokens_s == pytest.approx(2**20 / time.step_s)


def test_bytes_that_only_move_by_hand():
    time = time_of(Plan(Layout(), SHARDINGS["ddp"], "ddp", "all", 1024, 1), WORK, A100)
    forward = 10 * 4096 + 2 * (4096 + 1024) + 5 * 14336
    loss, optimizer = 6 * 4 * 92544, 7 * 4 * WORK.weights
    added = 1023 * (2 + 4 + 4) * WORK.weights
    assert time.memory_s * 1630e9 == pytest.approx(2**22 * (32 * 3 * 2 * forward + loss))
    assert time.optimizer_s * 1630e9 == pytest.approx(optimizer + added)
    assert time.step_s == pytest.approx(time.compute_s + time.memory_s + time.optimizer_s)


def test_a_product_takes_whole_waves_its_bytes_or_a_launch():
    rate = A100.matmul_tflops * A100.sustained * 1e12
    waves = 2 * 128 * 128 * 4096 / (rate / 108)  # of one tile on each multiprocessor
    assert product_s(A100, 128 * 12, 4096, 128 * 9, 2) == pytest.approx(waves)
    assert product_s(A100, 128 * 12 + 1, 4096, 128 * 9, 2) == pytest.approx(2 * waves)
    assert product_s(A100, 1, 4096, 128 * 108, 2) == pytest.approx(2 * (4096 + 4097 * 128 * 108) / 1630e9)
    assert product_s(A100, 1, 1, 1, 2) == pytest.approx(3.8e-6)


@pytest.mark.parametrize(("tokens", "tflops"), [(512, 292), (1024, 423), (2048, 521), (4096, 579), (16384, 616)])
def test_attention_by_row_length_follows_the_figures_of_flash_attention_3(tokens, tflops):
    machine = replace(MACHINES["h100"], sustained=1.0, attention_tflops=(630.0, 630.0))
    forward, _ = attention_s(machine, 1e15, tokens)
    assert 1e3 / forward == pytest.approx(tflops, rel=0.08)


def test_short_rows_on_many_ranks_lose_speed():
    def speed(context: int) -> float:
        work = Workload(SEVEN_B, 8192, 8192)
        return time_of(Plan(Layout(context=context), SHARDINGS["zero1"], "", "all", 1, 1), work, MACHINES["h100"]).mfu

    assert speed(1) > speed(8) > 1.5 * speed(64)


def test_groups_by_hand():
    h100 = MACHINES["h100"]
    inside, across, thin = Group(h100, 8, 1), Group(h100, 64, 1), Group(h100, 8, 8)
    assert (inside.nodes, across.nodes, thin.nodes) == (1, 8, 8)
    assert across.gb_s == pytest.approx(min(368, 8 * 50 * 0.92)) and thin.gb_s == pytest.approx(50 * 0.92)
    assert inside.gather_s(8e9) == pytest.approx(7 / 368 + (8.4 + 7 * 3.4) * 1e-6)
    assert thin.gather_s(8e9) == pytest.approx(7 / 46 + (8.4 + 7 * 9.6) * 1e-6)
    assert thin.reduce_s(8e9) == pytest.approx(2 * thin.gather_s(8e9))
    assert across.gather_s(0) == pytest.approx((8.4 + 56 * 3.4 + 7 * 9.6) * 1e-6)
    assert Group(h100, 1, 1).gather_s(1e9) == Group(h100, 1, 1).exchange_s(1e9) == 0


def test_what_is_hidden_slows_the_rest():
    assert hidden_s(1.0, 3.0) == pytest.approx(0.189)
    assert hidden_s(3.0, 1.0) == pytest.approx(2.0 + 0.189)


def test_a_pipeline_waits_for_its_first_micro_batch_and_less_where_it_is_interleaved():
    one = time_of(Plan(Layout(pipeline=4), SHARDINGS["ddp"], "ddp", "all", 16, 1), WORK, A100)
    four = time_of(Plan(Layout(pipeline=4), SHARDINGS["ddp"], "ddp", "all", 16, 1, stages_per_rank=4), WORK, A100)
    waits = (one.compute_s + one.memory_s) / 16 * 3
    sent = 16 * (2 * 4096 * 4096 * 2 / 235e9 + 11.8e-6)
    assert one.bubble_s == pytest.approx(waits + sent)
    assert four.bubble_s == pytest.approx(waits / 4 + 4 * sent)


def test_fewer_tokens_a_step_hide_less():
    """State split inside nodes: gradients leave once a step, whatever it holds."""
    layout, sharding = Layout(replicate=128, shard=8), SEARCHED["zero1_node"]
    steps = [Workload(SEVEN_B, 4096, 4096 * 1024 * pieces) for pieces in (1, 2, 4)]
    times = [time_of(Plan(layout, sharding, "", "all", 2**i, 1), w, MACHINES["a100_roce"]) for i, w in enumerate(steps)]
    assert [time.exposed_s for time in times] == pytest.approx([times[0].exposed_s] * 3)
    assert times[0].mfu < times[1].mfu < times[2].mfu


def test_candidates_divide_everything_and_the_best_fit():
    plans = list(candidates(WORK, 16, A100))
    assert {entry.layout.ranks for entry in plans} == {16}
    assert all(entry.layout.tensor in (1, 2, 4, 8) for entry in plans)
    best = ranked(WORK, 16, A100)
    assert all(memory.total <= A100.memory_gb * 1e9 for _, memory, _ in best)
    assert [t.step_s for *_, t in best] == sorted((t.step_s for *_, t in best), key=lambda s: round(s, 3))


def test_more_gpus_never_raise_mfu_and_long_rows_are_possible():
    plans = [Plan(Layout(shard=gpus), SHARDINGS["zero3"], "", "all", 1024 // gpus, 1) for gpus in (8, 64, 1024)]
    shares = [time_of(entry, WORK, A100).mfu for entry in plans]
    assert shares == sorted(shares, reverse=True)
    # A best plan has room for more rows at once where its state is split over more GPUs, so only the far ends compare.
    assert ranked(WORK, 1024, A100)[0][2].mfu < ranked(WORK, 8, A100)[0][2].mfu
    long = ranked(replace(WORK, tokens=2**18), 1024, A100)[0][0]
    assert long.layout.context > 1


def test_what_cannot_be_is_refused_in_words():
    with pytest.raises(ValueError, match=r"smallest needs \d+ GB"):
        ranked(WORK, 1, A100)
    with pytest.raises(ValueError, match="holds no row"):
        Workload(SEVEN_B, 4096, 1024)
    with pytest.raises(ValueError, match="hardware='abacus' must be one of a100"):
        plan(SEVEN_B, 8, 4096, 2**22, "abacus", "unused")
    with pytest.raises(ValueError, match=r"network_gbit_s=0 must be positive"):
        plan(SEVEN_B, 8, 4096, 2**22, "a100", "unused", network_gbit_s=0)


def test_the_job_writes_overrides_that_make_the_layout(tmp_path):
    records = plan(SEVEN_B, 16, 4096, 2**22, "h100", str(tmp_path), top=3, network_gbit_s=400)
    assert len(records) == 3 and (tmp_path / "plans.json").is_file()
    assert any(override.startswith("layout.shard=") for override in records[0]["overrides"])
    assert "strategy.treatment.param_dtype=bfloat16" in records[0]["overrides"]


@pytest.mark.parametrize(
    ("keeps", "words"),
    [("all", []), ("matmuls", ["module.recompute=selective"]), ("nothing", ["module.recompute=full"])],
)
def test_overrides_name_the_knob_of_the_module(keeps, words):
    one = Plan(Layout(shard=8), SHARDINGS["zero3"], "zero3", keeps, 4, 1)
    overrides = overrides_of(one, WORK, A100)
    assert [word for word in overrides if "recompute" in word] == words


def test_overrides_of_interleaved_stages_over_two_nodes():
    one = Plan(Layout(pipeline=2, shard=8), SHARDINGS["zero2"], "zero2", "all", 4, 1, stages_per_rank=2)
    overrides = overrides_of(one, WORK, A100)
    assert {"trainer.devices=8", "trainer.num_nodes=2", "phase.context=4096", "phase.batch_rows=1024"} <= {*overrides}
    assert {"strategy.treatment.pipeline.schedule=interleaved", "strategy.treatment.pipeline.stages_per_rank=2"} <= {
        *overrides
    }


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


class RecordedStage:
    """What torch's schedules ask of a stage before they run."""

    def __init__(self, rank: int, ranks: int, index: int, stages: int) -> None:
        self.group_rank, self.group_size, self.stage_index, self.num_stages = rank, ranks, index, stages
        self.is_first, self.is_last, self.has_backward = index == 0, index == stages - 1, True
        self.group = self.submod = None


@pytest.mark.parametrize(
    ("ranks", "each", "pieces"), [(2, 2, 2), (2, 2, 8), (2, 3, 4), (4, 2, 4), (4, 2, 16), (4, 4, 8)]
)
def test_a_place_has_as_many_passes_in_flight_as_the_schedule_of_torch(ranks, each, pieces):
    how = Pipeline("interleaved", pieces, each)
    plan = Plan(Layout(pipeline=ranks), SHARDINGS["ddp"], "", "all", pieces, 1, stages_per_rank=each)
    schedule = how.make([RecordedStage(0, ranks, index, ranks * each) for index in how.stages_of(0, ranks)], None)
    for rank, actions in schedule.pipeline_order.items():
        forward = [{"FORWARD": 1, "FULL_BACKWARD": -1}[action.computation_type.name] for action in actions if action]
        assert Place(plan, 30, rank).passes == max(accumulate(forward))
        assert Place(plan, 30, rank).blocks == sum(
            len(blocks_of_stages(30, ranks * each)[index]) for index in how.stages_of(rank, ranks)
        )


@pytest.mark.parametrize(
    ("ranks", "each", "pieces", "states"),
    [
        # Places for 4 gradients, and what 2 passes have sent. Places for 4 inputs, one of which a block keeps.
        (2, 1, 4, [4 + 2, 4 - 1]),
        # Two stages on each: 5 and 3 of 8 passes are in flight, and each stage has sent all 4.
        (2, 2, 4, [(4 + 8) - 5 / 2 + 8 + 3 / 2, (8 + 4) - 3 + 4 + 5]),
    ],
)
def test_hidden_states_between_stages_by_hand(ranks, each, pieces, states):
    plan = Plan(Layout(pipeline=ranks), SHARDINGS["ddp"], "", "all", pieces, 1, stages_per_rank=each)
    assert [Place(plan, 32, rank).hidden_states for rank in range(ranks)] == states
    split = replace(plan, layout=Layout(pipeline=ranks, tensor=2, sequence_parallel=True))
    assert Place(split, 32, 1).hidden_states == states[1] + Place(plan, 32, 1).passes  # blocks keep a part of their own


def test_treatments_of_the_table_have_prices():
    for case in LAYOUTS.values():
        assert isinstance(case.treatment, Treatment) and isinstance(case.treatment.sharding, Sharding)
        assert memory_of(Plan(case.layout, case.treatment.sharding, "", "all", 4, 1), WORK).total > 0


def test_the_search_has_state_split_inside_a_node_and_whole_weights():
    plans = [entry for entry in candidates(WORK, 16, A100) if entry.sharding_name == "zero1_node"]
    assert {(entry.layout.replicate, entry.layout.shard) for entry in plans if entry.layout.tensor == 1} >= {(2, 8)}
    memory = memory_of(replace(plans[0], layout=Layout(replicate=2, shard=8)), WORK)
    assert memory.gathered == 2 * WORK.weights and memory.gradients == 4 * WORK.weights
    assert memory.optimizer == 8 * WORK.weights / 8


def test_more_recomputation_is_not_listed_where_less_fits():
    plans = [entry for entry, _, _ in ranked(WORK, 8, A100)]
    assert len({replace(entry, keep="all") for entry in plans}) == len(plans)


def test_published_runs_are_predicted():
    """The shipped constants against the runs. The table of the docs takes each run's constants from the others."""
    judged = [run for run in PUBLISHED if run.judged]
    ratios = {run: time_of(run.plan, run.work, run.machine).tokens_s / run.tokens_s for run in judged}
    assert len(judged) == 14
    assert sum(0.85 <= ratio <= 1.20 for ratio in ratios.values()) >= 13
    batches = [run for run in judged if run.layout.ranks == 1024]
    speeds = [time_of(run.plan, run.work, run.machine).tokens_s for run in batches]
    assert [run.work.batch_tokens for run in batches] == [2**24, 2**23, 2**22]
    assert speeds == sorted(speeds, reverse=True)


def test_published_mfu_is_that_of_the_table_of_both_counts():
    first = PUBLISHED[0]  # 183 of 312 TFLOP/s, as InternEvo printed them
    assert first.mfu_internevo == pytest.approx(183 / 312, rel=0.015)
    assert first.mfu == pytest.approx(0.566, abs=2e-3)
    recomputed = next(run for run in PUBLISHED if run.keep == "nothing")
    assert recomputed.mfu_internevo == pytest.approx(193 / 312, rel=0.02)


def test_fitted_constants_lie_between_the_values_that_fit_best():
    """A run over the same network with another constant is further off."""
    runs = [run for run in PUBLISHED if run.judged]
    shipped = error(runs, Fitted(SUSTAINED, ROCE_SHARE))
    for other in (Fitted(SUSTAINED - 0.02, ROCE_SHARE), Fitted(SUSTAINED + 0.02, ROCE_SHARE)):
        assert error(runs, other) > shipped
    for other in (Fitted(SUSTAINED, ROCE_SHARE - 0.04), Fitted(SUSTAINED, ROCE_SHARE + 0.04)):
        assert error(runs, other) > shipped


def test_a_verdict_takes_its_constants_from_other_runs():
    wrong = replace(PUBLISHED[0], tokens_s=1.0)
    honest, fooled = judge([*PUBLISHED[:2], PUBLISHED[9]])[0], judge([wrong, *PUBLISHED[1:2], PUBLISHED[9]])[0]
    assert honest.fitted == fooled.fitted and honest.time == fooled.time
    assert honest.is_right and not fooled.is_right


def test_scaling_draws_what_fits_and_says_what_does_not(tmp_path):
    points = scaling(SEVEN_B, [1, 8, 64], [4096], 2**22, "a100", str(tmp_path))
    assert points[0].mfu is None and "smallest needs" in points[0].layout
    assert points[2].mfu > 0
    best = ranked(WORK, 8, A100)[0][2]
    assert points[1].mfu == pytest.approx(best.mfu, abs=1e-4)
    assert points[1].mfu_internevo == pytest.approx(best.mfu_internevo, abs=1e-4)
    assert len(json.loads((tmp_path / "scaling.json").read_text())) == 3


def test_scaling_shows_published_runs_of_the_hardware_that_is_named():
    assert [share for _, share in published("A100", 8, 4096)] == [0.64]
    assert published("H100", 8, 4096) == published("A100", 8, 8192) == ()
    assert any("NVIDIA" in source for source, _ in published("H100", 8, 8192))
