"""torchrun starts a run again after a rank died, and the run ends as an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from internlm2_parallel.testing import train

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import lightning as L
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.checkpoint import completed
from internlm2_parallel.testing import TinyLlama, TinyLM, quiet_trainer

folder = Path(sys.argv[1])

class SaveAndDie(L.Callback):
    def on_train_batch_end(self, trainer, *args):
        trainer.save_checkpoint(folder / "last.ckpt")
        if trainer.global_step == 3 and trainer.global_rank == 1 and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

found = folder / "last.ckpt" if completed(folder / "last.ckpt") else None
module = TinyLM(net=lambda: TinyLlama(seed=7 if found else 0))
trainer = quiet_trainer(MeshStrategy(Layout(shard=2)), 2, callbacks=[SaveAndDie()])
trainer.fit(module, ckpt_path=found)
if trainer.is_global_zero:
    (folder / "losses.json").write_text(json.dumps([module.losses, module.norms]))
"""


@pytest.mark.slow
def test_torchrun_restarts_after_a_rank_died(tmp_path: Path):
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, script, tmp_path], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[:4000]
    assert (tmp_path / "died").exists()
    losses, norms = json.loads((tmp_path / "losses.json").read_text())
    reference = train("auto", 1)
    assert len(losses) == 3
    assert (
        max(abs(a - b) for a, b in zip(losses + norms, reference.losses[3:] + reference.norms[3:], strict=True)) < 1e-5
    )
