"""Programs that a model wrote, run against their tests in the sandbox: what stands in for the hub's ``code_eval``.

lm-eval fetches ``code_eval`` from the hub and runs programs in its own process tree. Here each program runs in
`internlm2_core.sandbox`, which refuses where it cannot isolate.
"""

import secrets
from collections.abc import Sequence
from math import comb
from typing import Any

from internlm2_core.sandbox import Sandbox, run_program


class CodeEval:
    """Share of questions that one of k programs solves (pass@k, arXiv 2107.03374).

    Args:
        sandbox: Where programs run. None means a process with namespaces of its own.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self.sandbox = sandbox

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = (1,), **kwargs: Any
    ) -> tuple[dict[str, float], dict[int, list[bool]]]:
        """Run every program.

        Args:
            references: Tests of each question.
            predictions: Programs for each question.
            k: How many programs one may try.
            kwargs: Not used. The sandbox has limits of its own.

        Returns:
            ``pass@k`` for each k that has enough programs, and the verdicts by question.

        Raises:
            SandboxUnavailableError: If programs cannot be isolated here.
        """
        verdicts = {
            place: [self._passes(f"{program}\n{tests}") for program in programs]
            for place, (tests, programs) in enumerate(zip(references, predictions, strict=True))
        }
        figures = {
            f"pass@{tries}": sum(solved(own, tries) for own in verdicts.values()) / len(verdicts)
            for tries in k
            if all(len(own) >= tries for own in verdicts.values())
        }
        return figures, verdicts

    def _passes(self, program: str) -> bool:
        # A program that ends early ends well too. Only one that comes to the end of its tests says the word.
        word = secrets.token_hex(16)
        outcome = run_program(f"{program}\nprint({word!r})\n", sandbox=self.sandbox)
        return outcome.status == "ok" and outcome.stdout.rstrip().endswith(word)


def solved(verdicts: Sequence[bool], tries: int) -> float:
    """Probability that one of some programs, drawn without putting back, passes.

    Args:
        verdicts: Whether each of the programs passes.
        tries: How many are drawn.
    """
    return 1 - comb(len(verdicts) - sum(verdicts), tries) / comb(len(verdicts), tries)
