"""Limits warn once, in words, and again after a figure was back inside."""

from types import SimpleNamespace

import pytest
from internlm2_align.ppo.health import LIMITS, Health
from internlm2_align.ppo.system import PPOSystem


def watch(health, entries, caplog):
    system = PPOSystem.__new__(PPOSystem)
    trainer = SimpleNamespace(is_global_zero=True)
    for number, entry in enumerate(entries, 1):
        figures = {f"train/{name}": value for name, value in entry.items()}
        object.__setattr__(
            system, "__dict__", {"history": [{"iteration": number, "critic_only": number < 2, **figures}]}
        )
        health.on_train_batch_end(trainer, system, None, None, number)
    return [record.getMessage() for record in caplog.records]


def test_a_figure_beyond_its_limit_is_told_once_until_it_was_back(caplog):
    said = watch(Health(), [{"entropy": value} for value in (1.0, 0.05, 0.04, 0.2, 0.01)], caplog)
    assert len(said) == 2
    assert said[0].startswith("train/entropy=0.05 in iteration 2 is below 0.1. The actor says almost always the same.")
    assert "in iteration 5" in said[1]


def test_both_sides_and_the_critic_that_has_just_begun(caplog):
    entries = [{"explained_variance": -3.0, "engine_ratio": 1.0}, {"explained_variance": -3.0, "engine_ratio": 1.1}]
    said = watch(Health(), entries, caplog)
    assert [line.split("=")[0] for line in said] == ["train/explained_variance", "train/engine_ratio"]
    assert "is above 1.02" in said[1]


def test_limits_are_changed_added_and_left_out(caplog):
    health = Health({"kl": {"most": 5}, "entropy": None, "length": {"most": 400, "means": "Replies are long"}})
    said = watch(health, [{"kl": 6.0, "entropy": 0.0, "length": 500.0}], caplog)
    assert said[0].endswith(f"is above 5. {LIMITS['kl'].means}.") and said[1].endswith(
        "is above 400. Replies are long."
    )
    with pytest.raises(ValueError, match=r"limits of 'length' must say what it means"):
        Health({"length": {"most": 3}})
