"""What a model is told of its program."""

from internlm2_core.sandbox import Outcome

FAILED = {
    "timeout": "The program took too long and was stopped. Its variables are lost.",
    "output": "The program printed too much and was stopped. Its variables are lost.",
    "memory": "The program used too much memory.",
    "killed": "The interpreter ended. Its variables are lost.",
}


def observation(outcome: Outcome, most_chars: int) -> str:
    """What a program printed, and its fault.

    Args:
        outcome: What it did.
        most_chars: The most that is told of each. Of a longer text the beginning and the end are kept.
    """
    parts = [outcome.stdout.rstrip("\n"), outcome.stderr.rstrip("\n") if outcome.status != "ok" else ""]
    told = [shortened(part, most_chars) for part in parts if part]
    if outcome.status in FAILED:
        told.append(FAILED[outcome.status])
    return "\n".join(told)


def shortened(text: str, most_chars: int) -> str:
    """The beginning and the end of a text.

    Args:
        text: The text.
        most_chars: The most characters of both together.
    """
    if len(text) <= most_chars:
        return text
    head = most_chars // 2
    tail = most_chars - head
    return f"{text[:head]}\n[{len(text) - most_chars} characters left out]\n{text[-tail:]}"
