"""How everything is trained: one optimizer step, one run, one place that resumes."""

from internlm2_core.training.finite import NotFiniteError
from internlm2_core.training.run import run
from internlm2_core.training.steps import StepLoss, StepModule

__all__ = ["NotFiniteError", "StepLoss", "StepModule", "run"]
