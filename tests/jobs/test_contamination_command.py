"""``internlm2 contamination`` finds what a run was trained on from the settings that the run left."""

import json
from pathlib import Path

from internlm2_data.tokens import TokenWriter

from tests.command import internlm2

QUESTION = "how many apples has Ann if she buys seven and then gives three of them to Ben and two to Eva"


def test_command(tmp_path: Path, tokenizer_file: Path) -> None:
    from internlm2_conf.continuing import check_continuing
    from internlm2_conf.recipes import Recipes
    from internlm2_core.text import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_file)
    (tmp_path / "tokens").mkdir()
    with TokenWriter(tmp_path / "tokens" / "en-web", tokenizer.vocab_size) as out:
        for text in ("Some other text.", f"Well: {QUESTION.upper()}?"):
            out.add([*tokenizer.encode(text), tokenizer.special("</s>")])
    words = [f"tokens={tmp_path}/tokens", f"tokenizer.path={tokenizer_file}", f"output={tmp_path}/run"]
    words += ["phase.context=32", "phase.short_context=32", "phase.batch_rows=1"]
    check_continuing(Recipes().compose("pretrain", words))  # what the command does before it trains
    (tmp_path / "run" / "training.json").write_text('{"steps": 4}')
    items = [
        {"id": "ann", "question": QUESTION, "correct": True},
        {"id": "bob", "question": QUESTION[::-1], "correct": False},
    ]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    done = internlm2("contamination", "run=run", "items=[sums.jsonl]", "output=found", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sums: 1 clean, 1 dirty, 0 too_short" in done.stdout
    metrics = json.loads((tmp_path / "found" / "metrics.json").read_text())
    assert metrics["steps"] == 4
    assert metrics["sets"]["sums"]["dirty"] == {"items": 1, "scored": 1, "score": 1.0}
    assert metrics["sets"]["sums"]["clean"] == {"items": 1, "scored": 1, "score": 0.0}
    [match] = [json.loads(line) for line in (tmp_path / "found" / "matches.jsonl").read_text().splitlines()]
    assert match["item"] == "ann" and match["document"] == 1 and match["steps"]
    lacking = internlm2("contamination", "run=tokens", "items=[sums.jsonl]", folder=tmp_path)
    assert lacking.returncode == 1
    assert "run=tokens must be the folder of a run of a job that trains: it holds no settings.json" in lacking.stderr
