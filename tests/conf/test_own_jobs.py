"""Jobs and parts of a user's own: what docs/how-to/add-a-job.md shows is run, and mistakes in it are named."""

import re
import shlex
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from internlm2_conf.recipes import Recipes
from internlm2_conf.targets import leave_out
from omegaconf import OmegaConf

from tests.command import internlm2

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-job.md"
BLOCKS = re.findall(r"(?:`([\w/]+\.\w+)`:\n\n)?```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)

FAILING = """
# Fails where it is told to.
defaults: [{paths: default}, _self_]
name: failing
number: ???
job:
  _target_: failing.write
  number: ${number}
  output: ${output}
"""
WRITE = """
from pathlib import Path


def write(number, output):
    if number == 0:
        raise ValueError("number=0 must be 1 or more.")
    Path(output, "out.txt").write_text(str(number))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the page has its reader write."""
    for name, _, content in BLOCKS:
        if name:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
    return tmp_path


def command(line: str, folder: Path) -> CompletedProcess[str]:
    return internlm2(*shlex.split(line), folder=folder)


def lines() -> list[str]:
    shell = "\n".join(content for _, language, content in BLOCKS if language == "bash")
    return [line.removeprefix("internlm2 ") for line in shell.splitlines() if line.startswith("internlm2 ")]


def test_the_page_is_run(folder: Path) -> None:
    said = {}
    for line in lines():
        result = command(line, folder)
        assert result.returncode == 0, (line, result.stderr)
        said[line] = result
    assert (folder / "runs/count_lines/counts.txt").read_text() == "my_jobs.py 17\n"
    assert (folder / "runs/without_empty/counts.txt").read_text() == "my_jobs.py 14\n"
    own, every, replaced = list(said.values())[-3:]
    assert "inputs=[FILE,...]" in own.stdout and "skip_empty=False         Whether empty lines do not" in own.stdout
    assert "count_lines    Count the lines of files." in every.stdout and "pretrain" in every.stdout
    optimizer = yaml.safe_load(replaced.stdout)["optimizer"]
    assert optimizer["momentum"] == 0.9 and optimizer["_partial_"]


def test_a_job_of_ones_own_may_come_after_the_folder(folder: Path) -> None:
    result = command("--config-dir my_conf count_lines --cfg job", folder)
    assert yaml.safe_load(result.stdout)["name"] == "count_lines"
    assert (
        "there is no job 'count_line' (did you mean count_lines?)" in command("-cd my_conf count_line", folder).stderr
    )


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "failing.yaml").write_text(FAILING)
    (tmp_path / "failing.py").write_text(WRITE)
    return tmp_path


def test_a_failing_job_does_not_end_a_sweep(failing: Path) -> None:
    result = command("failing -cd mine -m number=8,0,16 hydra.sweep.dir=sweep", failing)
    assert result.returncode == 1
    assert f"{failing}/sweep/1: number=0 must be 1 or more." in result.stderr
    assert f"the job in {failing}/sweep/1 failed. The other jobs of the sweep ran." in result.stderr
    assert "Error executing" not in result.stderr
    assert "Traceback" not in result.stderr
    assert [(failing / "sweep" / number / "done.json").is_file() for number in "012"] == [True, False, True]
    again = command("failing -cd mine -m number=8,1,16 hydra.sweep.dir=sweep", failing)
    assert again.returncode == 0 and again.stdout.count("done already") == 2


def test_a_module_that_is_not_there_is_named(failing: Path) -> None:
    (failing / "failing.py").unlink()
    said = command("failing -cd mine number=1", failing).stderr
    assert (
        "job._target_=failing.write cannot be imported (No module named 'failing'). Modules are found in the " in said
    )
    assert len(said.splitlines()) == 1


def replaced(*words: str, job: str = "pretrain", recipes: Recipes | None = None) -> dict[str, object]:
    recipes = recipes or Recipes()
    given = list(words)
    cfg = leave_out(recipes.compose(job, given), lambda: recipes.compose(job, recipes.chosen(given)), given)
    found = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(found, dict)
    return found


def test_a_replaced_target_keeps_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    optimizer = replaced("optimizer._target_=torch.optim.SGD", "optimizer.momentum=0.9")["optimizer"]
    assert optimizer.keys() >= {"_target_", "_partial_", "lr", "momentum"}
    assert not optimizer.keys() & {"betas", "eps"}
    assert "optimizer: torch.optim.SGD does not take betas" in capsys.readouterr().err
    optimizer["lr"] = 0.1
    assert instantiate(optimizer).keywords["momentum"] == 0.9


def test_what_is_typed_with_a_replaced_target_is_never_left_out() -> None:
    words = ("optimizer._target_=torch.optim.SGD", "optimizer.betas=[0.9,0.95]")
    assert replaced(*words)["optimizer"]["betas"] == [0.9, 0.95]


def test_a_file_that_replaces_a_target_starts_without_the_old_arguments(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\noptimizer: {_target_: torch.optim.SGD, momentum: 0.9}\n"
    (tmp_path / "experiment" / "sgd.yaml").write_text(text)
    optimizer = replaced("+experiment=sgd", recipes=Recipes(str(tmp_path)))["optimizer"]
    assert optimizer["momentum"] == 0.9 and "betas" not in optimizer


def test_an_option_with_arguments_that_its_target_does_not_take_is_refused_and_not_mended(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    text = "_target_: torch.optim.SGD\n_partial_: true\nlr: 0.1\nmomentumm: 0.9\n"
    (tmp_path / "optimizer" / "mine.yaml").write_text(text)
    assert replaced("optimizer=mine", recipes=Recipes(str(tmp_path)))["optimizer"]["momentumm"] == 0.9


def test_a_short_name_is_enough_where_one_node_takes_it() -> None:
    cfg = Recipes().compose("generate", ["temperature=0", "seed=3"])
    assert (cfg.sampling.temperature, cfg.sampling.seed) == (0, 3)
    with pytest.raises(ConfigCompositionException, match="temperatur"):
        Recipes().compose("generate", ["temperatur=0"])
