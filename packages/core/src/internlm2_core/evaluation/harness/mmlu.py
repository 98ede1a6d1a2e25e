"""MMLU from files of one row a question or one row an answer (arXiv 2009.03300).

Files of the second kind do not name the subject. They keep the order of the published set, in which subjects follow
each other: so many questions of each in the test set, five of each among the shots.
"""

from collections import defaultdict
from itertools import accumulate
from typing import Any

SIZES = """
abstract_algebra 100, anatomy 135, astronomy 152, business_ethics 100, clinical_knowledge 265, college_biology
144, college_chemistry 100, college_computer_science 100, college_mathematics 100, college_medicine 173,
college_physics 102, computer_security 100, conceptual_physics 235, econometrics 114, electrical_engineering
145, elementary_mathematics 378, formal_logic 126, global_facts 100, high_school_biology 310,
high_school_chemistry 203, high_school_computer_science 100, high_school_european_history 165,
high_school_geography 198, high_school_government_and_politics 193, high_school_macroeconomics 390,
high_school_mathematics 270, high_school_microeconomics 238, high_school_physics 151, high_school_psychology
545, high_school_statistics 216, high_school_us_history 204, high_school_world_history 237, human_aging 223,
human_sexuality 131, international_law 121, jurisprudence 108, logical_fallacies 163, machine_learning 112,
management 103, marketing 234, medical_genetics 100, miscellaneous 783, moral_disputes 346, moral_scenarios 895,
nutrition 306, philosophy 311, prehistory 324, professional_accounting 282, professional_law 1534,
professional_medicine 272, professional_psychology 612, public_relations 110, security_studies 245, sociology
201, us_foreign_policy 100, virology 166, world_religions 171
"""
"""Questions of each subject in the test set, 14,042 in all."""

SHOTS = 5


def mmlu_rows(rows: list[dict[str, Any]], subset: str, split: str) -> list[dict[str, Any]]:
    """Questions of a subject with their four choices.

    Args:
        rows: Questions (``question``, ``choices``, ``answer`` from 0, ``subject``), or answers (``question``,
            ``answer``, ``is_correct``, ``eval_instance_index``).
        subset: The subject.
        split: ``test`` or ``dev``.

    Raises:
        ValueError: If a question has no right answer, or several.
    """
    if not rows or "is_correct" not in rows[0]:
        return [row for row in rows if row.get("subject", subset) == subset]
    wanted = places(split).get(subset, range(0))
    answers: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["eval_instance_index"] in wanted and row.get("split", split) == split:
            answers[row["eval_instance_index"]].append(row)
    return [question_of(answers[place], subset) for place in sorted(answers)]


def places(split: str) -> dict[str, range]:
    """Numbers of the questions of each subject, from 0."""
    sizes = {name: int(count) for name, count in (entry.split() for entry in SIZES.replace("\n", " ").split(","))}
    if split == "dev":
        sizes = dict.fromkeys(sizes, SHOTS)
    elif split != "test":
        return {}
    ends = accumulate(sizes.values())
    return {name: range(end - sizes[name], end) for name, end in zip(sizes, ends, strict=True)}


def question_of(answers: list[dict[str, Any]], subject: str) -> dict[str, Any]:
    """One question from its answers.

    Args:
        answers: Its rows in order.
        subject: The subject.

    Raises:
        ValueError: If not exactly one is right.
    """
    right = [place for place, row in enumerate(answers) if row["is_correct"]]
    if len(right) != 1:
        raise ValueError(
            f"Question {answers[0]['eval_instance_index']} of MMLU has {len(right)} right answers of {len(answers)}, "
            "but must have one."
        )
    choices = [row["answer"] for row in answers]
    return {"question": answers[0]["question"], "choices": choices, "answer": right[0], "subject": subject}
