"""Item by item: our model in lm-eval against lm-eval's own model for Transformers, on one set of weights.

    OMP_NUM_THREADS=1 python tests/benchmarks/core/harness_parity.py FOLDER DATA [--items 24] [--tasks mmlu gsm8k ...]

FOLDER is a model folder of ours. It is converted to Llama's layout for Transformers, in fp32. DATA holds the exams, as
`internlm2_core.evaluation.harness.data` describes, and WikiText-2, whose ``<unk>`` is replaced. Log-likelihoods must
agree within 1e-4 nats (rolling ones within 1e-4 a token), and greedy text must be identical. Answers are cut after 48
tokens.
"""

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path
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
from peers import show

LENGTH, NEW = 2048, 48
TASKS = ("mmlu", "gsm8k", "humaneval", "mbpp", "hendrycks_math500", "agieval_sat_math", "wikitext", "ifeval", "ruler")


def instances_of(name: str, data: LocalData, model: HarnessModel, items: int) -> list[Instance]:
    """The first requests of a task, for groups those of all its members."""
    if name == "ifeval":  # its prompts alone: its rules need models of sentences
        rows = islice(data.of(name, "google/IFEval", None)["train"], items)
        return [Instance("generate_until", row, (row["prompt"], {"until": []}), 0) for row in rows]
    meta = {"tokenizer": "of the model", "max_seq_lengths": [1024]}
    names = ("niah_single_1", "niah_multikey_2", "ruler_cwe") if name == "ruler" else (name,)
    made: list[Instance] = []
    for part in names:
        loaded = load(part, LocalFactory(data, 5 if part == "mmlu" else None, True, meta), model.subject.tokenizer)
        for task in loaded["tasks"].values():
            each = max(1, items // len(loaded["tasks"]) // len(names))
            task.build_all_requests(limit=min(each, 2) if part == "wikitext" else each)
            made += task.instances
    return made


def compared(ours: HarnessModel, peer: HFLM, asked: list[Instance]) -> dict[str, Any]:
    """Figures of both models for the same requests."""
    kind = asked[0].request_type
    for request in asked:
        if kind == "loglikelihood_rolling":
            # WikiText spells rare words as a special token, which is text to us and a token to the peer.
            request.arguments = (request.args[0].replace("<unk>", "unknown"),)
        if kind == "generate_until":
            request.arguments = (request.args[0], request.args[1] | {"max_gen_toks": NEW})
    start = time.process_time()
    mine = getattr(ours, kind)(asked)
    between = time.process_time()
    theirs = getattr(peer, kind)(asked, disable_tqdm=True)
    took = {"cpu_seconds": [round(between - start, 1), round(time.process_time() - between, 1)]}
    if kind == "generate_until":
        other = [(a, b) for a, b in zip(mine, theirs, strict=True) if a != b]
        return {"answers": len(asked), "identical": len(asked) - len(other), "different": other[:3], **took}
    if kind == "loglikelihood_rolling":
        tokens = [len(ours.tok_encode(request.args[0])) for request in asked]
        worst = max(abs(a - b) / n for a, b, n in zip(mine, theirs, tokens, strict=True))
        return {"documents": len(asked), "tokens": sum(tokens), "largest_difference_per_token": worst, **took}
    worst = max(abs(a[0] - b[0]) for a, b in zip(mine, theirs, strict=True))
    same = sum(a[1] == b[1] for a, b in zip(mine, theirs, strict=True))
    return {"continuations": len(asked), "largest_difference": worst, "same_is_greedy": same, **took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--prefix", default="<s>", help="token before text that nothing comes before")
    options = parser.parse_args()
    net, tokenizer = load_model(options.folder).eval(), load_tokenizer(options.folder)
    subject = Subject(
        net, tokenizer, LocalEngine(net, decode=tokenizer.decode), batch_tokens=8192, answer_tokens=16_384
    )
    ours = HarnessModel(subject, max_length=LENGTH, prefix=options.prefix)
    with tempfile.TemporaryDirectory() as scratch:
        convert(str(options.folder), f"{scratch}/llama", "llama")
        prefix = tokenizer.special(options.prefix)
        peer = HFLM(
            f"{scratch}/llama", device="cpu", dtype="float32", batch_size=4, max_length=LENGTH, prefix_token_id=prefix
        )
    figures: dict[str, Any] = {}
    for name in options.tasks:
        data = LocalData(options.data / ("pretrain" if name == "wikitext" else "eval"))
        figures[name] = compared(ours, peer, instances_of(name, data, ours, options.items))
        print(name, figures[name], flush=True)
    show({"items": options.items, "tasks": figures}, "lm_eval", "transformers")


if __name__ == "__main__":
    main()
