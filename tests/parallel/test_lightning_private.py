"""Lightning's private names that this package uses exist, and stay in one module."""

import ast
import re
import tomllib
from pathlib import Path

import lightning as L
import pytest
from internlm2_parallel import MeshStrategy
from internlm2_parallel.testing import quiet_trainer
from lightning.fabric.utilities import distributed, optimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.launchers import subprocess_script

PACKAGE = Path(__file__).parents[2] / "packages" / "parallel"
FILES = {path.name: path for path in (PACKAGE / "src").rglob("*.py")}
NAMES = [
    (distributed, "_init_dist_connection"),
    (distributed, "_set_num_threads_if_needed"),
    (optimizer, "_optimizers_to_device"),
    (subprocess_script, "_SubprocessScriptLauncher"),
    (subprocess_script._SubprocessScriptLauncher, "_call_children_scripts"),
    (subprocess_script._SubprocessScriptLauncher, "_check_can_spawn_children"),
    (ModelParallelStrategy, "_configure_launcher"),
    (ModelParallelStrategy, "_get_process_group_backend"),
]


@pytest.mark.parametrize(("owner", "name"), NAMES, ids=[name for _, name in NAMES])
def test_the_installed_lightning_has_the_name(owner, name):
    assert callable(getattr(owner, name))


def test_objects_of_the_installed_lightning_have_the_names():
    strategy, module, trainer = MeshStrategy(), L.LightningModule(), quiet_trainer("auto", 1)
    assert {"_launcher", "_device_mesh", "_process_group_backend"} <= vars(strategy).keys()
    assert hasattr(module, "_device_mesh")
    assert callable(trainer._logger_connector.on_batch_end)
    assert callable(trainer._logger_connector.update_train_step_metrics)


def privates(path: Path) -> set[str]:
    """Names with an underscore that a file imports from Lightning, reads off an object, or defines as a method."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lightning"):
            found |= {alias.name for alias in node.names if alias.name.startswith("_")}
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            found.add(node.attr)
        if isinstance(node, ast.FunctionDef) and re.match(r"_[a-z]", node.name):
            found.add(node.name)
    return found


def test_no_other_module_uses_a_private_name_of_lightning():
    asked = {name for _, name in NAMES} | {"_launcher", "_device_mesh", "_process_group_backend", "_logger_connector"}
    assert privates(FILES["lightning_private.py"]) == asked
    for name, path in FILES.items():
        assert name == "lightning_private.py" or not privates(path) & asked, name
        assert name == "lightning_private.py" or not re.search(
            r"from lightning\S* import _", path.read_text("utf-8")
        ), name


@pytest.mark.parametrize("package", ["lightning", "torch"])
def test_versions_are_bounded_from_above(package):
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))["project"]
    [bounds] = [entry for entry in project["dependencies"] if re.match(rf"{package}\W", entry)]
    assert re.search(r"<\d", bounds)
