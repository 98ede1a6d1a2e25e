"""Tasks of ``internlm2 evaluate`` that have a view of their own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from internlm2_records.report import Block, Cell, Chart, Column, Found, Heading, Heat, Line, Row, Table, Text

Ran = tuple[Found, Mapping[str, Any]]
NOTHING = Text("No evaluation measured it.", soft=True)


def tasks_of(found: Sequence[Found], kind: str) -> dict[str, list[Ran]]:
    """The evaluations that ran a task and its figures, by the task's name in the suite.

    Args:
        found: Evaluations.
        kind: Kind of the task.
    """
    ran: dict[str, list[Ran]] = {}
    for each in found:
        for name, task in each.figures["tasks"].items():
            if task["kind"] == kind:
                ran.setdefault(name, []).append((each, task))
    return ran


def ordered(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))


def show_held_out(found: Sequence[Found]) -> Iterator[Block]:
    """Loss by language and by kind of text, for each model."""
    yield Text(
        "Bits per byte of text that was kept out of training, lower is better. In small print the loss in nats per "
        "token. Bits per byte do not depend on the tokenizer."
    )
    tasks = tasks_of(found, "held_out_loss")
    if not tasks:
        yield NOTHING
    for name, ran in tasks.items():
        contexts = ", ".join(ordered(f"{task['context']:,}" for _, task in ran))
        yield Heading(f"At a context of {contexts} tokens", f"Task {name}." if len(tasks) > 1 else "")
        for part, words in (("languages", "language"), ("sources", "kind of text")):
            yield _losses(ran, part, f"By {words}")
        if len(ran) > 2:
            yield _course(ran)


def _losses(ran: Sequence[Ran], part: str, title: str) -> Table:
    names = ordered(name for _, task in ran for name in task[part])
    rows = [
        Row(each.title, [_loss(cell) for cell in [*(task[part].get(name) for name in names), task["overall"]]])
        for each, task in ran
    ]
    return Table(title, "model", [Column(name, better="lower") for name in [*names, "all"]], rows)


def _loss(cell: Mapping[str, float] | None) -> Cell:
    return Cell(None) if cell is None else Cell(cell["bits_per_byte"], f"{cell['nats_per_token']:.3f}")


def _course(ran: Sequence[Ran]) -> Chart:
    """Loss of each language from model to model."""
    lines = []
    for language in ordered(name for _, task in ran for name in task["languages"]):
        have = [(n, task["languages"][language]) for n, (_, task) in enumerate(ran, 1) if language in task["languages"]]
        lines.append(Line(language, [n for n, _ in have], [loss["bits_per_byte"] for _, loss in have], dots=True))
    names = ", ".join(f"{n} {each.title}" for n, (each, _) in enumerate(ran, 1))
    return Chart("Held-out bits per byte by language", lines, "model", f"Models: {names}.")


def show_needle(found: Sequence[Found]) -> Iterator[Block]:
    """Depth and length as heat maps, one after the other as the model was trained."""
    yield Text(
        "One fact is hidden in held-out text and asked for at the end. Each cell is the share of right answers in "
        "percent, by tokens of the prompt (rows) and by where the fact is (columns: 0 % is the beginning)."
    )
    tasks, variants = tasks_of(found, "needle"), tasks_of(found, "retrieval")
    if not tasks and not variants:
        yield NOTHING
    for name, ran in variants.items():
        yield from _retrieval(name, ran)
    for name, ran in tasks.items():
        for each, task in ran:
            facts = f", beside {task['distractors']} other facts" if task["distractors"] else ""
            asked = f"{task['trials']} questions a cell and language, values of {task['digits']} digits{facts}."
            yield Heading(f"{each.title}, {name}" if len(tasks) > 1 else each.title, asked)
            languages = task["languages"]
            if len(languages) > 1:
                yield _heat("all languages", task["overall"], task)
            for language, grid in languages.items():
                yield _heat(language, grid, task)


def _retrieval(name: str, ran: Sequence[Ran]) -> Iterator[Block]:
    """Effective length of each model, and maps of the variants of the needle by language."""
    rows = [
        Row(each.title, [task["overall"]["score"], *(task["overall"]["effective_length"][end] for end in ENDS)])
        for each, task in ran
    ]
    columns = [Column("score", "bar", better="higher"), Column("effective length", "count", better="higher")]
    columns += [Column(f"{words} end", "count") for words in ("lower", "upper")]
    threshold = ran[0][1]["threshold"]
    note = f"The longest length whose score reaches {100 * threshold:.1f} %, and the ends of its interval of 95 %."
    yield Table(f"Effective length, {name}", "model", columns, rows, note)
    for each, task in ran:
        yield Heading(f"{each.title}, {name}", f"{task['trials']} prompts a cell and kind.")
        for language, cells in task["languages"].items():
            yield _heat(language, cells, task)
            for kind, own in cells["kinds"].items():
                yield _heat(f"{language}, {kind}", own, task)


ENDS = ("tokens", "low", "high")


def _heat(title: str, cells: Mapping[str, Any], task: Mapping[str, Any]) -> Heat:
    depths = [f"{100 * depth:.0f}\u202f%" for depth in task["depths"]]
    return Heat(
        title,
        "tokens",
        [f"{n:,}" for n in task["lengths"]],
        depths,
        cells["grid"],
        cells.get("accuracy", cells.get("score")),
    )


def show_instructions(found: Sequence[Found]) -> Iterator[Block]:
    """Accuracy by task and language, for each model."""
    yield Text("Share of held-out instructions whose greedy answer passes the rule that belongs to it.")
    tasks = tasks_of(found, "instructions")
    if not tasks:
        yield NOTHING
    for name, ran in tasks.items():
        rows = [Row("all", [_accuracy(task) for _, task in ran], strong=True)]
        rows += [
            Row(part, [_accuracy(task["tasks"].get(part)) for _, task in ran])
            for part in ordered(part for _, task in ran for part in task["tasks"])
        ]
        columns = [Column(each.title, "bar", better="higher") for each, _ in ran]
        yield Table(name if len(tasks) > 1 else "", "task", columns, rows)


def _accuracy(counted: Mapping[str, Any] | None) -> Cell:
    if counted is None:
        return Cell(None)
    languages = counted.get("languages") or {}
    small = [f"{name} {100 * own['accuracy']:.1f}".removesuffix(".0") for name, own in languages.items()]
    return Cell(counted["accuracy"], " · ".join(small) if len(small) > 1 else "")


def show_contamination(found: Sequence[Found]) -> Iterator[Block]:
    """Losses of the three sets and their differences."""
    tasks = tasks_of(found, "contamination")
    if not tasks:
        yield NOTHING
        return
    yield Text(
        "Loss in nats per token, ± one standard error, on training data, on test data, and on a reference set made to "
        "look like the test data. δ₁ = test − reference is low where the test data leaked into training. δ₂ = test − "
        "train is high where a model is over-fitted."
    )
    for name, ran in tasks.items():
        rows = [
            Row(each.title, [*(_set(task["sets"][part]) for part in SETS), task["delta1"], task["delta2"]])
            for each, task in ran
        ]
        columns = [*(Column(part) for part in SETS), Column("δ₁"), Column("δ₂")]
        yield Table(name if len(tasks) > 1 else "", "model", columns, rows, GSM8K)


SETS = ("train", "test", "reference")
GSM8K = (
    "Published for InternLM2-7B on GSM8K (report section 5), so not comparable: train 1.14, test 1.48, reference 1.46, "
    "δ₁ 0.02, δ₂ 0.34."
)


def _set(part: Mapping[str, Any]) -> Cell:
    error = part["standard_error"]
    return Cell(part["nats_per_token"], "" if error is None else f"± {error:.3f}")
