"""Which actors are kept."""

from types import SimpleNamespace

import pytest
from internlm2_align import PPOSystem
from internlm2_align.jobs.ppo import course
from internlm2_align.ppo.callbacks import SaveActors
from internlm2_align.ppo.settings import PPOSettings

TRAINER = SimpleNamespace(state=SimpleNamespace(fn="fit"), sanity_checking=False)


@pytest.mark.parametrize(
    ("rewards", "kept"),
    [((1.0, 0.5, 0.4), 0), ((1.0, 1.0, 0.4), 0), ((1.0, 1.5, 1.2), 1), ((1.0, 1.2, 1.5), 2), ((-1.0, -2.0), 0)],
)
def test_the_best_on_validation_is_kept_and_sft_where_none_is_better(monkeypatch, tmp_path, rewards, kept):
    system = PPOSystem.__new__(PPOSystem)
    object.__setattr__(system, "__dict__", {"history": [], "iteration": len(rewards), "settings": PPOSettings()})
    written = []
    callback = SaveActors(tmp_path)
    monkeypatch.setattr(callback, "_save", lambda _, __, name: written.append((system.history[-1]["iteration"], name)))
    for iteration, reward in enumerate(rewards):
        system.history.append({"iteration": iteration, "valid/reward": reward})
        callback.on_validation_end(TRAINER, system)
    assert written[-1] == (kept, "model") and course(system)["best"]["iteration"] == kept
    # Another validation, outside of training, writes nothing.
    callback.on_validation_end(SimpleNamespace(state=SimpleNamespace(fn="validate")), system)
    assert written[-1] == (kept, "model")
