"""Problems that a model solves with a Python interpreter at hand."""

from internlm2_core.evaluation.interpreter.protocols import ChatTurns, Dialect, ReAct
from internlm2_core.evaluation.interpreter.task import Interpreter

__all__ = ["ChatTurns", "Dialect", "Interpreter", "ReAct"]
