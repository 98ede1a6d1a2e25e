"""Items per second in lm-eval: our model against lm-eval's own model for Transformers, the same weights and requests.

    OMP_NUM_THREADS=1 python tests/benchmarks/core/bench_harness.py FOLDER DATA [--rounds 3]

FOLDER is a model folder of ours, in fp32. DATA holds GSM8K, MMLU and AGIEval, as `internlm2_core.evaluation.harness.data`
describes, and WikiText-2. Both run every kind of request once a round, by turns: single letters as choices (MMLU, 5
shots), choices of many tokens (AGIEval's SAT, no shots), answers of up to 48 tokens (GSM8K, 1 shot), and rolling
log-likelihoods in windows of 512 tokens. CPU time. --peer-batch sets the rows of the peer's batches.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.evaluation import Subject
from internlm2_core.evaluation.harness.data import LocalData
from internlm2_core.evaluation.harness.loading import LocalFactory, load
from internlm2_core.evaluation.harness.model import HarnessModel
from internlm2_core.generation import LocalEngine
from internlm2_core.jobs import convert
from internlm2_core.text import load_tokenizer
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peers import ratio, show, take_turns

LENGTH, WINDOW, NEW = 2048, 512, 48
CASES = {
    "choices of one token": ("mmlu_anatomy", 5, 16),
    "choices of many tokens": ("agieval_sat_math", 0, 16),
    "answers": ("gsm8k", 1, 8),
}
"""Task, shots and questions of each kind."""


def requests(name: str, shots: int, items: int, data: LocalData, tokenizer: Any) -> list[Instance]:
    """The first requests of a task."""
    (task,) = load(name, LocalFactory(data, shots, False, {}), tokenizer)["tasks"].values()
    task.build_all_requests(limit=items)
    made: list[Instance] = task.instances
    for request in made:
        if request.request_type == "generate_until":
            request.arguments = (request.args[0], request.args[1] | {"max_gen_toks": NEW})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-batch", type=int, default=8)
    options = parser.parse_args()
    net, tokenizer = load_model(options.folder).eval(), load_tokenizer(options.folder)
    ours = HarnessModel(Subject(net, tokenizer, LocalEngine(net, decode=tokenizer.decode)), max_length=LENGTH)
    with tempfile.TemporaryDirectory() as scratch:
        convert(str(options.folder), f"{scratch}/llama", "llama")
        peer = HFLM(
            f"{scratch}/llama", device="cpu", dtype="float32", batch_size=options.peer_batch, max_length=LENGTH,
            prefix_token_id=ours.prefix,
        )  # fmt: skip
    exams = LocalData(options.data / "eval")
    asked = {kind: requests(*case, exams, tokenizer) for kind, case in CASES.items()}
    text = "".join(line["text"] for line in LocalData(options.data / "pretrain").read(
        options.data / "pretrain/wikitext-2.test.txt.gz"
    ))  # fmt: skip
    asked["rolling"] = [
        Instance("loglikelihood_rolling", {}, (text[start : start + 6_000],), 0) for start in range(0, 24_000, 6_000)
    ]

    def run(model: Any, kind: str) -> None:
        limit = WINDOW if kind == "rolling" else LENGTH
        if model is ours:
            model.max_length = limit
        else:
            model._max_length = limit
        getattr(model, asked[kind][0].request_type)(asked[kind], disable_tqdm=True)

    sides = {"ours": ours, "transformers": peer}
    cases = {f"{side} {kind}": lambda m=model, k=kind: run(m, k) for kind in asked for side, model in sides.items()}
    seconds = take_turns(cases, options.rounds)
    items = {kind: CASES[kind][2] if kind in CASES else len(asked[kind]) for kind in asked}
    show(
        {
            "items_per_cpu_second": {
                name: round(items[name.partition(" ")[2]] / median(taken), 3) for name, taken in seconds.items()
            },
            "speed_over_transformers": {
                kind: ratio(seconds[f"transformers {kind}"], seconds[f"ours {kind}"]) for kind in asked
            },
            "peer_batch": options.peer_batch,
        },
        "lm_eval",
        "transformers",
    )


if __name__ == "__main__":
    main()
