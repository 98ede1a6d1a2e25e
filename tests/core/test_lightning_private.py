"""Every name of Lightning that it does not promise is there, and used in one module alone."""

import re
from pathlib import Path
from typing import Any

import internlm2_core
import lightning as L
import pytest
from internlm2_core.lightning_private import USED, end_after


@pytest.mark.parametrize(("owner", "name"), USED)
def test_it_is_there(owner: Any, name: str) -> None:
    is_loop = getattr(owner, "__name__", "") in ("_FitLoop", "_TrainingEpochLoop")
    fresh = owner(L.Trainer(logger=False)) if is_loop else owner
    assert hasattr(fresh, name)


def test_a_trainer_without_steps_ends_after_some() -> None:
    trainer = L.Trainer(logger=False, max_epochs=3)
    end_after(trainer, 7)
    assert (trainer.max_steps, trainer.max_epochs) == (7, -1)


def test_no_other_module_uses_what_is_private() -> None:
    source = Path(internlm2_core.__file__).parent
    private = re.compile(
        r"(trainer|strategy)\._\w|fit_loop\.|from lightning[\w.]* import _|lightning[\w.]*\._\w+ import"
    )
    found = [file.name for file in source.rglob("*.py") if private.search(file.read_text())]
    assert found == ["lightning_private.py"]
