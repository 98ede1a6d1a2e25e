"""Labels by people: serve the page until enough is labelled, or until Ctrl-C."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from internlm2_align.people.desk import Desk
from internlm2_align.people.queue import Queue
from internlm2_align.people.server import LabelServer
from internlm2_align.preferences.comparison import Comparison
from internlm2_align.reward.conditions import ConditionTable, index_of, load_conditions

TOKEN_FILE = "token"
"""In the folder, so that open pages still work after a restart."""


def _print(words: str) -> None:
    print(words, flush=True)  # A pipe shows the address at once too.


def label_by_people(
    comparisons: Iterable[Comparison],
    folder: str | Path,
    port: int = 0,
    token: str | None = None,
    host: str = "127.0.0.1",
    least: int | Mapping[str, int] | None = None,
    annotators_per: int | None = None,
    overlap: float | None = None,
    gold_share: float | None = None,
    conditions: ConditionTable | None = None,
    names: Sequence[str] = (),
    say: Callable[[str], None] = _print,
) -> Queue:
    """Have people judge comparisons on a page in their browser.

    Every judgement is on disk before the page says so. A killed process loses nothing, and a call with the same folder
    resumes it.

    Args:
        comparisons: What is to be judged, added to what the folder holds.
        folder: Holds ``labels.sqlite`` and ``token``.
        port: Port of the page. 0 takes a free one. Open pages find a server again that is started at the same port.
        token: What the page must know. None takes the one of the folder, and makes it if there is none.
        host: Address to listen at. The default is reached from this machine alone.
        least: Decided comparisons, of each domain or by domain, after which it returns by itself. A domain with fewer
            comparisons needs all of them. None serves until Ctrl-C.
        annotators_per: As for `Queue`.
        overlap: As for `Queue`.
        gold_share: As for `Queue`.
        conditions: Condition prompts, shown with each comparison. None takes the built-in table.
        names: Further names that the machine is called by, for browsers elsewhere.
        say: Gets the address, and progress at the end.

    Returns:
        The queue, with `Queue.decided` and everything else.

    Raises:
        UnknownDomainError: If a domain has no condition prompt.
        ValueError: If ``least`` names a domain without comparisons, or `Queue` refuses something.
    """
    queue = Queue(folder, comparisons, annotators_per, overlap, gold_share)
    conditions = load_conditions() if conditions is None else conditions
    for domain in {domain for domain, _ in queue.domains().values()}:
        index_of(conditions, domain)
    if is_enough(queue, least):
        return queue
    token = token or token_in(folder)

    def after() -> None:
        if is_enough(queue, least):
            server.stop()

    with LabelServer(Desk(queue, conditions), token, host, port, names, after) as server:
        say(f"Label at {server.address}\nCtrl-C stops. Labels are kept in {queue.file}.")
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            say("Stopped.")
    say("\n".join(f"{domain}: {done} of {all_} decided" for domain, (done, all_) in queue.progress().items()))
    return queue


def is_enough(queue: Queue, least: int | Mapping[str, int] | None) -> bool:
    """Whether enough comparisons are decided.

    Args:
        queue: The queue.
        least: As for `label_by_people`.

    Raises:
        ValueError: If ``least`` is negative or names a domain without comparisons.
    """
    if least is None:
        return False
    progress = queue.progress()
    wanted = dict.fromkeys(progress, least) if isinstance(least, int) else dict(least)
    for domain, count in wanted.items():
        if domain not in progress:
            raise ValueError(f"least names {domain!r}, which has no comparisons. There are {', '.join(progress)}.")
        if count < 0:
            raise ValueError(f"least={count} must be 0 or more.")
    return all(progress[domain][0] >= min(count, progress[domain][1]) for domain, count in wanted.items())


def token_in(folder: str | Path) -> str:
    """The token of a folder, which is made where there is none. Its owner alone can read it."""
    file = Path(folder) / TOKEN_FILE
    if not file.is_file():
        descriptor, draft = tempfile.mkstemp(dir=folder)  # It is its owner's from the beginning.
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(24))
        Path(draft).replace(file)
    return file.read_text(encoding="utf-8").strip()
