"""A made-up run to render: the numbers are FIXTURES, drawn from formulas; no model was ever trained for them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from internlm2_core.report import Source, Target, parts

PARTS = parts(["internlm2_core.report.sections", "internlm2_data.report", "internlm2_align.report"])
PHASES = ("4k", "32k", "enhancement", "sft", "ppo")


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False))


def stage(name: str, keep: float, reasons: dict[str, int], absent: list[str]) -> dict[str, Any]:
    documents = {"en-webpages": int(500 * keep), "zh-news": int(2900 * keep)}
    size = {"en-webpages": int(1.7e6 * keep), "zh-news": int(5.5e6 * keep)}
    dropped = {rule: {"zh-news": count} for rule, count in reasons.items()}
    empty: dict[str, Any] = {"dropped_bytes": {}, "rewritten": {}, "num_faults": 0, "faults": [{"file": "x"}]}
    counts = {"stage": name, "documents": documents, "bytes": size, "dropped": dropped, "not_configured": absent}
    return counts | empty | {"seconds": 1.0, "core_seconds": 1.0}


def funnel() -> dict[str, Any]:
    stages = [
        stage("format", 1.0, {}, []),
        stage("clean", 0.82, {"c4.sentences": 312, "gopher.stop_words": 140, "lines.short": 77, "x.rare": 1}, []),
        stage("dedup", 0.61, {"dedup.exact": 524, "dedup.near": 90}, []),
        stage("safe", 0.6, {"words.blocked": 12}, ["toxicity", "pornography"]),
        stage("high_quality", 0.6, {}, ["advertisement", "fluency"]),
    ]
    return {"stages": stages, "shares": {"en-webpages": 0.236, "zh-news": 0.764}}


def loss(nats: float) -> dict[str, Any]:
    return {"nats_per_token": nats, "bits_per_byte": nats / 2.9, "tokens": 40_000, "bytes": 110_000}


def needle(skill: float) -> dict[str, Any]:
    lengths, depths = [128, 256, 512, 1024], [0.0, 0.25, 0.5, 0.75, 1.0]
    grid = [
        [round(min(1, skill / (1 + (0.1 if skill > 0.8 else 2) * i * (1.2 - d))), 2) for d in depths] for i in range(4)
    ]
    rows = [sum(row) / len(row) for row in grid]
    cells = {
        "accuracy": sum(rows) / 4,
        "by_length": {str(n): r for n, r in zip(lengths, rows, strict=True)},
        "grid": grid,
    }
    shape = {"lengths": lengths, "depths": depths, "trials": 10, "digits": 3, "distractors": 0, "seed": 1}
    return {
        "kind": "needle",
        "version": 1,
        "seconds": 9.0,
        **shape,
        "overall": cells,
        "languages": {"en": cells, "zh": cells},
    }


def instructions(skill: float) -> dict[str, Any]:
    def counted(share: float) -> dict[str, Any]:
        return {"accuracy": share, "count": 100}

    languages = {"en": counted(skill), "zh": counted(skill - 0.04)}
    names = ("arithmetic", "copying", "sorting", "formatting", "retrieval", "refusing")
    tasks = {name: counted(skill - 0.02 * i) | {"languages": languages} for i, name in enumerate(names)}
    return {
        "kind": "instructions",
        "version": 1,
        "seconds": 5.0,
        **counted(skill),
        "languages": languages,
        "tasks": tasks,
    }


def contamination() -> dict[str, Any]:
    sets = {
        name: {"nats_per_token": value, "standard_error": 0.01, "tokens": 4000, "documents": 500}
        for name, value in {"train": 0.31, "test": 0.36, "reference": 0.37}.items()
    }
    return {"kind": "contamination", "version": 1, "seconds": 2.0, "sets": sets, "delta1": -0.01, "delta2": 0.05}


def evaluation(number: int) -> dict[str, Any]:
    languages = {"en": loss(3.3 - 0.1 * number), "zh": loss(3.9 - 0.1 * number), "python": loss(2.9 - 0.1 * number)}
    kinds = {"en-webpages": languages["en"], "zh-news": languages["zh"], "python-code": languages["python"]}
    held = {"kind": "held_out_loss", "version": 1, "seconds": 3.0, "context": 256, "sources": kinds}
    tasks: dict[str, Any] = {
        "held_out_loss": {**held, "languages": languages, "overall": loss(3.4 - 0.1 * number)},
        "needle": needle(0.35 if number == 0 else 0.97),
    }
    score = {"name": "acc", "filter": "none", "value": 0.2531, "stderr": 0.004}
    tasks["mmlu"] = {
        "kind": "harness", "version": 1, "seconds": 9.0, "task": "mmlu", "lm_eval": "0.4", "shots": 5, "limit": None,
        "chat": False, "system": None, "max_length": 512, "count": 700, "score": score, "groups": {}, "tasks": {},
        "left_out": {},
    }  # fmt: skip
    if number >= 3:
        tasks |= {"instructions": instructions(0.86 + 0.02 * number - 0.06), "contamination": contamination()}
    model = {"checkpoint": "fixture", "parameters": 1_263_232, "max_positions": 1024, "rope_base": 1e6}
    return {"schema": "internlm2/metrics/1", "model": model, "tasks": tasks}


def reward() -> dict[str, Any]:
    figures = {"pairs": 200, "accuracy": 0.93, "margin": 2.4, "calibration_error": 0.04}
    slices = {"conflicting": {**figures, "pairs": 60, "accuracy": 0.9}}
    domains = {
        name: {**figures, "slices": slices if "h" in name else {}}
        for name in ("maths", "format", "helpful", "harmless")
    }
    curve = [
        {"step": 10 * i, "loss": 0.7 * math.exp(-i / 9), "accuracy": 1 - 0.5 * math.exp(-i / 7)} for i in range(1, 40)
    ]
    held = {**figures, "pairs": 800, "domains": domains}
    return {"schema": "internlm2/align/reward/1", "conditional": True, "heldout": held, "curve": curve}


def ppo() -> dict[str, Any]:
    history: list[dict[str, Any]] = []
    for i in range(1, 121):
        rise = 1 - math.exp(-max(0, i - 10) / 40)
        wave = 0.08 * math.sin(i * 1.7)
        entry = {
            "iteration": i,
            "train/reward": 0.4 + 1.5 * rise + wave,
            "train/kl": 4 * rise + wave,
            "train/length": 22 + 3 * wave,
        }
        entry |= {"train/explained_variance": 0.1 + 0.7 * rise, "train/pretrain_loss": 3.1 + wave} if i > 10 else {}
        history.append(entry)
        if i % 20 == 0:
            history.append(held_out(i, rise))
    start, last = held_out(0, 0.0), history[-1]
    return {
        "schema": "internlm2/align/ppo/1", "judge": "SimulatedAnnotator", "iterations": 120, "warmup_iterations": 10,
        "start": start, "best": last, "last": last, "history": [start, *history],
    }  # fmt: skip


def held_out(iteration: int, rise: float) -> dict[str, Any]:
    means = {
        "valid/reward": 0.4 + 1.3 * rise,
        "valid/kl": 4 * rise,
        "valid/length": 22.0,
        "valid/judge": 0.61 + 0.2 * rise,
    }
    return {"iteration": iteration, **means} | {f"{key}/maths": value for key, value in means.items()}


def online() -> dict[str, Any]:
    pattern = {"domain": "maths", "kind": "ending", "value": "谢谢！", "early": 0.1, "late": 0.6}
    found = pattern | {"reward_gain": 0.4, "judged_gain": -0.1, "verdict": "hack"}
    audit = {"patterns": [found], "fast_pairs": 40, "fast_pairs_written": 3, "slow_pairs": 612, "models": {}}
    audit |= {"heldout_pairs": 31, "wins": {"late": {"share": 0.617, "comparisons": 83}}}
    audit["labels"] = {
        "comparisons": 700, "pairs": 683, "ties": 9, "both_bad": 4, "skipped": 3, "failed": {"no answer": 1}, "open": 0,
        "annotators": {"SimulatedAnnotator": 500, "李明": 199},
    }  # fmt: skip
    first = {"round": 1, "reward": None, "ppo": ppo(), "audit": audit, "earlier_patterns": [], "fast_accuracy": None}
    first["label_accuracy"] = None
    second = first | {"round": 2, "reward": {"heldout": reward()["heldout"]}, "audit": audit | {"patterns": []}}
    change = {"before": 0.404, "after": 0.971, "changed": 0.58, "pairs": 40}
    second |= {
        "fast_accuracy": change | {"domains": {"maths": change}},
        "label_accuracy": {"trained": change | {"pairs": 612}, "heldout": change | {"pairs": 31, "after": 0.813}},
        "earlier_patterns": [pattern | {"sft": 0.0, "late": 0.037}],
    }
    return {"schema": "internlm2/align/online_rlhf/1", "annotator": "SimulatedAnnotator", "rounds": [first, second]}


def manifest(name: str, needs: list[str], seconds: float) -> dict[str, Any]:
    hashes = {"config_hash": f"{abs(hash(name)):064x}"[-40:], "code_hash": "c0de" * 16, "build": "b"}
    return {
        "stage": name, "command": ["internlm2", "pretrain", f"phase={name}"], "seconds": seconds, **hashes,
        "inputs": dict.fromkeys(needs, "b"),
        "outputs": {"model/model.safetensors": {"bytes": 5_052_928, "sha256": "0"}},
        "peak_memory_mb_of_the_process_so_far": 1200,
    }  # fmt: skip


def make_run(run: Path) -> Path:
    write(run / "docs/funnel.json", funnel())
    write(run / "vocabulary/card.json", {
        "size": 2048, "single_digits": True, "sample_bytes": {"en": 1e7, "zh": 1e7, "code": 8e6, "other": 0},
        "bytes_per_token": {"en": 3.02, "zh": 2.41, "code": 2.63, "other": 0.0},
        "others": {"InternLM2": {"size": 92544, "bytes_per_token": {"en": 4.31, "zh": 3.87, "code": 3.4}}},
    })  # fmt: skip
    rows = ["step,train/loss,train/lr,train/tokens,train/tokens_per_s,train/mfu,train/mfu_internevo,valid/en,valid/zh"]
    for i in range(400):
        held = f"{3.1 + i / 1e4},{3.7 + i / 1e4}" if i % 100 == 0 else ","
        loss = 2.9 + 4.6 * math.exp(-i / 30) + 0.05 * math.sin(i)
        rows.append(f"{i * 10},{loss},{3e-3 * math.cos(i / 260)},{4096 * (i + 1)},{7000 + i % 2},0.41,0.52,{held}")
    (run / "4k/logs/csv").mkdir(parents=True)
    (run / "4k/logs/csv/metrics.csv").write_text("\n".join(rows) + "\n")
    for number, name in enumerate(PHASES):
        write(run / f"evaluate_{name}/metrics.json", evaluation(number))
    write(run / "labels/metrics.json", {
        "schema": "internlm2/align/label/1", "annotator": "SimulatedAnnotator",
        "annotators": {"SimulatedAnnotator": 5000}, "gold": {"SimulatedAnnotator": {"judged": 40, "right": 39}},
        "sets": {
            "train": {"records": 900, "pairs": 4200, "counts": {}},
            "heldout": {"records": 200, "pairs": 800, "counts": {}},
        },
    })  # fmt: skip
    write(run / "reward/metrics.json", reward())
    write(run / "ppo/metrics.json", ppo())
    audit = run / "online/round-2/audit"
    audit.mkdir(parents=True)
    lines = [
        {"record": f"r{n}", "model": "late", "domain": "maths", "text": f"第{n}个回答", "reward": n / 7}
        for n in range(9)
    ]
    (audit / "replies.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    asked = [{"record": f"r{n}", "messages": [{"role": "user", "content": f"问题 {n}?"}]} for n in range(9)]
    (audit / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    write(run / "online/metrics.json", online())
    order = [
        ("vocabulary", [], 31.0),
        ("4k", ["vocabulary"], 402.5),
        ("32k", ["4k"], 210.0),
        ("evaluate_4k", ["4k"], 21.0),
    ]
    for name, needs, seconds in order:
        write(run / name / "manifest.json", manifest(name, needs, seconds))
    return run


def sources_of() -> list[Source]:
    columns = {"train/loss": "Training loss, nats a token", "train/lr": "Learning rate", "train/tflops": "TFLOP/s"}
    titles = dict(zip(PHASES, ("After 4k", "After 32k", "After enhancement", "SFT 中文名", "PPO"), strict=True))
    return [
        Source("Documents (fixture)", "funnel", "docs/funnel.json", note="Invented for this test."),
        Source("Code", "funnel", "code/funnel.json"),
        Source("Vocabulary", "vocabulary", "vocabulary/card.json"),
        Source("Phase 1", "curves", "4k/logs/csv/metrics.csv", columns=columns),
        *(Source(titles[name], "evaluation", f"evaluate_{name}/metrics.json") for name in PHASES),
        Source("Preferences", "labels", "labels/metrics.json", simulated=True),
        Source("Conditional reward model", "reward", "reward/metrics.json", simulated=True),
        Source("PPO run", "ppo", "ppo/metrics.json", simulated=True),
        Source("Two rounds", "online_rlhf", "online/metrics.json", simulated=True),
        Source("Stages", "record", "."),
    ]


def targets() -> list[Target]:
    length = ("tasks", "needle", "overall", "by_length", "1024")
    domains = ("heldout", "domains", "*", "accuracy")
    best, start = (("rounds", "*", "ppo", place, "valid/reward") for place in ("best", "start"))
    return [
        Target("Needle at 1,024 tokens before the long phase", "After 4k", length, below=0.5),
        Target("Needle at 1,024 tokens after the long phase", "After 32k", length, at_least=0.9),
        Target("Instructions", "SFT 中文名", ("tasks", "instructions", "accuracy"), at_least=0.95),
        Target("Reward accuracy, worst domain", "Conditional reward model", domains, at_least=0.85),
        Target("PPO raises the reward", "PPO run", ("best", "valid/reward"), ("start", "valid/reward"), above=0.0),
        Target("Every round raises the reward", "Two rounds", best, start, above=0.0),
        Target("Bytes kept of the code", "Code", ("shares", "python-code"), above=0.0),
    ]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")
