"""What is run again when something changed, and what is not."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from internlm2_conf import chain
from internlm2_conf.asked import Asked
from internlm2_conf.chain import reproduce, verify
from internlm2_conf.errors import sentence
from internlm2_conf.keys import advice
from internlm2_conf.recipes import Recipes
from omegaconf import OmegaConf

JOB = """
output: ???
source: null
text: hello
fail: false
job:
  _target_: step.write
  output: ${output}
  source: ${source}
  text: ${text}
  fail: ${fail}
"""

STEP = """
from pathlib import Path


def write(output, source, text, fail):
    folder = Path(output)
    part = folder / "part.txt"
    Path("log.txt").open("a").write(f"{folder.name} {'resumed' if part.exists() else 'fresh'}\\n")
    part.write_text("part")
    if Path("fail").exists() and fail:
        raise RuntimeError("killed")
    before = Path(source, "out.txt").read_text() if source else ""
    (folder / "out.txt").write_text(before + text)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "step.yaml").write_text(JOB)
    (tmp_path / "step.py").write_text(STEP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        yield tmp_path


def stages(text: str = "hello") -> dict[str, dict[str, object]]:
    return {
        "a": {"job": "step", "overrides": {"text": text, "fail": True}},
        "b": {"job": "step", "overrides": {"source": "run/a"}, "needs": ["a"]},
        "c": {"job": "step", "overrides": {"text": "other"}},
        "d": {"job": "step", "overrides": {"source": "run/b"}, "needs": ["b"]},
    }


def ran(text: str = "hello") -> list[str]:
    Path("log.txt").write_text("")
    reproduce(stages(text), "run")
    return Path("log.txt").read_text().split("\n")[:-1]


ALL = ["a fresh", "b fresh", "c fresh", "d fresh"]


def test_a_second_run_is_all_cache_hits(root: Path) -> None:
    assert ran() == ALL
    assert Path("run/d/out.txt").read_text() == "hellohellohello"
    assert ran() == []


@pytest.mark.parametrize("lost", ["run/b", "run/b/out.txt", "run/b/manifest.json"])
def test_a_deleted_artifact_and_what_descends_from_it_are_rebuilt(root: Path, lost: str) -> None:
    ran()
    shutil.rmtree(lost) if Path(lost).is_dir() else Path(lost).unlink()
    assert ran() == ["b fresh", "d fresh"]
    assert ran() == []


def test_a_changed_setting_rebuilds_its_descendants(root: Path) -> None:
    ran()
    assert ran("bye") == ["a fresh", "b fresh", "d fresh"]
    assert Path("run/d/out.txt").read_text() == "byehellohello"


def test_changed_code_rebuilds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran()
    monkeypatch.setattr(chain, "code_hash", lambda packages: "changed")
    assert ran() == ALL


def test_a_killed_stage_continues_in_its_folder(root: Path) -> None:
    Path("fail").touch()
    with pytest.raises(Exception, match="killed"):
        ran()
    assert not Path("run/a/manifest.json").exists()
    Path("fail").unlink()
    assert ran() == ["a resumed", *ALL[1:]]


def test_a_killed_stage_whose_settings_changed_starts_anew(root: Path) -> None:
    Path("fail").touch()
    with pytest.raises(Exception, match="killed"):
        ran()
    Path("fail").unlink()
    assert ran("bye")[0] == "a fresh"


def test_a_run_may_be_moved(root: Path) -> None:
    reproduce({"c": stages()["c"]}, "run")
    shutil.move("run", "elsewhere")
    Path("log.txt").write_text("")
    reproduce({"c": stages()["c"]}, "elsewhere")
    assert Path("log.txt").read_text() == ""


def test_manifests_carry_hashes(root: Path) -> None:
    ran()
    manifest = json.loads(Path("run/b/manifest.json").read_text())
    assert manifest["inputs"] == {"a": json.loads(Path("run/a/manifest.json").read_text())["build"]}
    assert set(manifest["outputs"]) == {"out.txt", "part.txt"}
    assert all(len(manifest[name]) == 64 for name in ("key", "config_hash", "code_hash"))
    verify("run")


def test_verify_names_the_file_that_changed(root: Path) -> None:
    ran()
    Path("run/b/out.txt").write_text("HELLOhello")
    with pytest.raises(ValueError, match=r"run/b/out\.txt is changed"):
        verify("run")


def test_a_stage_that_needs_a_later_one_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="stage b needs a, which is not before it"):
        reproduce({"b": stages()["b"], "a": stages()["a"]}, "run")


def test_an_error_names_the_key_of_its_own_stage(root: Path) -> None:
    """Two stages have the argument with the same value. What is not of a stage counts too."""
    cfg = OmegaConf.create(
        {
            "scale": {"rounds": 0},
            "stages": {name: {"overrides": {"rounds": "${scale.rounds}" if name == "b" else 0}} for name in "ab"},
        }
    )
    said = "rounds=0 must be 1 or more."
    assert advice(said, cfg, is_about_files=False) == ""
    assert advice(said, cfg, is_about_files=False, stage="a") == " Change rounds with stages.a.overrides.rounds=...."
    assert advice(said, cfg, is_about_files=False, stage="b") == " Change rounds with scale.rounds=...."
    (root / "fail").touch()
    with pytest.raises(InstantiationException) as error:
        reproduce(stages(), "run")
    error.value.__cause__ = ValueError(said)
    assert sentence(error.value, Asked("reproduce"), cfg) == f"{said} Change rounds with stages.a.overrides.rounds=...."


def test_verify_wants_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no manifest\.json"):
        verify(str(tmp_path))


@pytest.mark.parametrize("name", ["miniature", "smoke"])
def test_every_stage_of_the_shipped_chains_composes(name: str, tmp_path: Path) -> None:
    GlobalHydra.instance().clear()
    recipes = Recipes()
    cfg = recipes.compose("reproduce", [f"experiment={name}", f"output={tmp_path}"])
    for stage, spec in OmegaConf.to_container(cfg.stages, resolve=True).items():
        built = chain.Stage(stage, **spec)
        composed = OmegaConf.to_container(recipes.compose(built.job, built.words))
        # Nothing that has to be given is left open.
        assert "???" not in composed.values(), stage
