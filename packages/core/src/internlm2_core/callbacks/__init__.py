"""Lightning callbacks and plug-ins of the training jobs."""

from internlm2_core.callbacks.atomic import AtomicCheckpointIO
from internlm2_core.callbacks.checkpoints import Checkpoints
from internlm2_core.callbacks.export import ExportModel
from internlm2_core.callbacks.progress import ProgressLine, StepProgress
from internlm2_core.callbacks.samples import SampleAnswers
from internlm2_core.callbacks.throughput import Throughput
from internlm2_core.callbacks.validate_last import ValidateLast

__all__ = [
    "AtomicCheckpointIO",
    "Checkpoints",
    "ExportModel",
    "ProgressLine",
    "SampleAnswers",
    "StepProgress",
    "Throughput",
    "ValidateLast",
]
