"""Scores of given answers by the rules of L-Eval.

Expected values are those that the published scorer (github.com/OpenLMLab/LEval, commit cd34b05, run outside this
project) gives for the same answers.
"""

import pytest
from internlm2_core.evaluation.leval.scoring import rouge, word_f1
from internlm2_core.evaluation.leval.sets import Question

COURSERA = [
    ("BD", "BD", 1),
    ("DB", "BD", 1),
    ("D B", "BD", 0.25),
    ("B", "BD", 0.25),
    ("ABD", "BD", 0),
    ("B. D.", "BD", 1),
    ("The answers are B) and D).", "BD", 1),
    ("B) Question 2. D)", "BD", 0.25),
    ("options: DB", "BD", 0.25),
    ("", "BD", 0),
    ("I do not know", "A", 1),
]
QUALITY = [
    ("B", "(B) Through the gate", 1),
    ("(B) Through the gate", "(B) Through the gate", 1),
    ("Because of B", "(B) Through the gate", 1),
    ("AB", "(B) Through the gate", 0),
    ("Both A and B", "(B) Through the gate", 1),
    ("no", "(A) Chelsea", 1),
]
GSM = [
    ("so 3 + 4 = 7. The answer is 7", "7", 1),
    ("The answer is $1,234.50.", "1234", 1),
    ("It is 12 or 13\n\nNo, 14", "13", 1),
    ("The answer is unknown, not 7", "7", 0),
    ("none", "7", 0),
    ("The answer is 7 and not 8", "Then 7 it is. The answer is 7", 1),
]
CODE = [
    ("the final output is [[1, 2],[3]].", "[[1, 2], [3]]", 1),
    ("'abc' will be printed", "abc", 1),
    ("3.0", "3", 1),
    ("first [1, 2] and then a lot of other words follow it", "[1, 2]", 0),
]


@pytest.mark.parametrize(
    ("group", "answer", "reference", "score"),
    [("coursera", *row) for row in COURSERA]
    + [("quality", *row) for row in QUALITY]
    + [("gsm100", *row) for row in GSM]
    + [("codeU", *row) for row in CODE]
    + [("topic_retrieval_longchat", "It was the role of Art in society.", "The role of art in society", 1)]
    + [("topic_retrieval_longchat", "Sports", "The role of art in society", 0)],
)
def test_exact_match(group: str, answer: str, reference: str, score: float) -> None:
    question = Question(group, "", "", "", reference, "exact_match")
    assert question.scored([answer])[1] == {"exact_match": score}


@pytest.mark.parametrize(
    ("answers", "loyalty", "fact"),
    [
        (["True.", "False"], 1, 1),
        (["It is untrue, or false", "Surely true"], 1, 0),
        (["No", "False"], 0, 1),
    ],
)
def test_true_of_the_document_and_of_the_world(answers: list[str], loyalty: float, fact: float) -> None:
    question = Question("sci_fi", "", "", "", "True [fact: False]", "exact_match")
    assert question.scored(answers)[1] == {"exact_match": (loyalty + fact) / 2, "loyalty": loyalty, "fact": fact}


def test_open_answers() -> None:
    answer, reference = "The dataset has 14,100 tweets and a few labels.", "14100 tweets"
    assert word_f1(answer, reference) == pytest.approx(2 * 2 / (7 + 2))
    assert word_f1("", reference) == word_f1("no", "the") == 0
    found = rouge("the cat sat on the mat today", "a cat sat on a mat")
    assert found == pytest.approx({"rouge1": 8 / 13, "rouge2": 4 / 11, "rougeL": 8 / 13})
