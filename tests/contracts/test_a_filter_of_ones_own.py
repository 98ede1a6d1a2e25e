"""The page "How to add a filter": its class, appended from the command line to a stage whose filters it does not know."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import call

PAGE = Path(__file__).parents[2] / "packages/data/docs/add-a-filter.md"
APPEND = "+pipeline.clean.recipes={_target_: mine.NoRecipes}"


@pytest.fixture
def mine(monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    exec(block, module.__dict__)
    return module


def composed(*overrides):
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        return compose("process", list(overrides))


def test_filters_are_added_at_the_end_and_taken_out_by_name():
    assert APPEND in PAGE.read_text("utf-8")
    shipped = list(composed().pipeline.clean)
    assert list(composed(APPEND).pipeline.clean) == [*shipped, "recipes"]
    assert list(composed("~pipeline.clean.lines").pipeline.clean) == [name for name in shipped if name != "lines"]


def test_an_appended_filter_drops_with_its_reason(mine, tmp_path):
    texts = {n: f"{n}. The cat sat on the mat, and the dog lay in the sun. " * 30 for n in ("one", "two")}
    texts["two"] += "Preheat the oven to 200 degrees."
    lines = (json.dumps({"text": text, "language": "en", "type": "prose"}) for text in texts.values())
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    cfg = composed(
        APPEND,
        "~pipeline.clean.thresholds",
        f"inputs=[{tmp_path}/in.jsonl]",
        f"output={tmp_path}/out",
        "+executor.workers=0",
        "extractor=resiliparse",
    )
    call(cfg.job)
    clean = json.loads((tmp_path / "out/funnel.json").read_text())["stages"][1]
    assert clean["stage"] == "clean" and "mine.recipes" in json.dumps(clean)
    assert "words" not in json.dumps(clean)
