"""`internlm2 reward` and `score` by the command: files of others, and mistakes in one sentence."""

import json
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from internlm2_conf.__main__ import main

FILES = """[
    {path: hh.jsonl, format: hh, domain: helpful, language: zh},
    {path: ranked.jsonl, format: ranked, domain: writing},
    {_target_: internlm2_align.preferences.sources.PreferenceFile, path: scored.jsonl, format: scored, domain: maths,
     meta: {kind: sums}},
    own.jsonl]""".replace("\n", "")


def write(name: str, *records: object) -> None:
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def folder(with_sft_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An SFT model and one file of each kind, in the current folder."""
    monkeypatch.chdir(with_sft_model)
    talk = "\n\nHuman: {}\n\nAssistant: {}"
    hh = [{"chosen": talk.format(f"q{i}", "yes"), "rejected": talk.format(f"q{i}", "no")} for i in range(6)]
    write("hh.jsonl", *hh, {"chosen": talk.format("q", "yes"), "rejected": talk.format("other", "no")})
    write("ranked.jsonl", *[{"prompt": f"r{i}", "replies": ["a", "b", "c"]} for i in range(3)])
    write("scored.jsonl", *[{"prompt": f"s{i}", "replies": ["a", "b"], "scores": [i, 3]} for i in range(6)])
    write("own.jsonl", {"domain": "format", "prompt": "q", "chosen": "a", "rejected": "b"})
    return with_sft_model


def command(*words: str) -> None:
    GlobalHydra.instance().clear()
    main([*words, "trainer.accelerator=cpu"] if words[0] == "reward" else list(words))


def test_reward_reads_files_of_every_format(folder: Path) -> None:
    held = "[{path: scored.jsonl, format: scored, domain: maths}]"
    command("reward", "checkpoint=sft", f"preferences={FILES}", f"heldout={held}", "max_tokens=200", "output=out")
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert metrics["pairs"]["train"] == {
        "used": 6 + 3 * 3 + 1, "malformed": 1, "no_pair": 1, "question_is_held_out": 5,
    }  # fmt: skip
    assert metrics["pairs"]["heldout"] == {"used": 5, "no_pair": 1}
    assert set(metrics["heldout"]["domains"]["maths"]["slices"]) == {"hard", "easy"}
    write("in.jsonl", {"prompt": "q", "replies": ["a", "b"]}, {"prompt": "q", "replies": []})
    command(
        "score", "checkpoint=out/model", "input=in.jsonl", "domain=maths", "output=scores", "on_bad=skip", "device=cpu"
    )
    first, second = map(json.loads, Path("scores/scores.jsonl").read_text().splitlines())
    assert len(first["scores"]) == 2 and second["scores"] is None


MISTAKES = {
    "hh.jsonl, line 1: domain='' must be the name of a condition prompt": ("preferences=hh.jsonl", "on_bad=raise"),
    "hh.jsonl, line 7: the two dialogues differ": (
        "preferences=[{path: hh.jsonl, format: hh, domain: helpful}]",
        "on_bad=raise",
    ),
    "has 'fromat'": ("preferences=[{path: hh.jsonl, fromat: hh}]",),
    "on_bad=rais must be one of skip, raise": ("preferences=own.jsonl", "on_bad=rais"),
    "nope does not exist. It must be a model folder or a tokenizer file. Set checkpoint=": (
        "preferences=own.jsonl",
        "checkpoint=nope",
    ),
    "no usable pairs are left of preferences=hh.jsonl: 7 malformed": ("preferences=[hh.jsonl]",),
    "train.jsonl does not exist. `internlm2 label` writes such files. Set preferences=": ("preferences=train.jsonl",),
    "none.jsonl does not exist. `internlm2 label` writes such files. Set heldout=": (
        "preferences=own.jsonl",
        "heldout=[none.jsonl]",
    ),
    "heldout_share=2 must be in [0, 1)": ("preferences=own.jsonl", "heldout_share=2"),
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_mistakes_end_in_one_sentence(folder: Path, sentence: str) -> None:
    with pytest.raises(SystemExit) as end:
        command("reward", "checkpoint=sft", "heldout=[]", "output=out", *MISTAKES[sentence])
    assert sentence.lower() in str(end.value).lower()
