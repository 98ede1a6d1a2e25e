"""Scores of what was read of an answer, from 0 to 1, by the rules of the published scorer of L-Eval."""

import re
import string
from collections import Counter
from functools import cache
from typing import Any

from internlm2_core.evaluation.leval.reading import OPTIONS

INCOMPLETE = 0.25
"""Score of an answer with some of the right options and none that is wrong."""

ROUGE = ("rouge1", "rouge2", "rougeL")


def exact_match(found: str, reference: str) -> float:
    """Whether an answer is right: 0 or 1, or 0.25 for some of the right options.

    Options must be the same, in the same order. Numbers must be equal. Of anything else, the reference must occur in
    the answer, apart from case and spaces.

    Args:
        found: What was read of the answer.
        reference: What was read of the reference answer.
    """
    wanted, given = without_articles(reference), without_articles(found)
    if set(wanted) <= set(OPTIONS):
        return 1.0 if given == wanted else INCOMPLETE * (set(given) <= set(wanted))
    try:
        return float(float(found) == float(reference))
    except ValueError:
        return float(squeezed(reference) in squeezed(found))


def word_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, as in SQuAD: without case, punctuation and articles.

    Args:
        answer: What the model said.
        reference: The reference answer.
    """
    given, wanted = (without_articles(text.lower()).split() for text in (answer, reference))
    same = sum((Counter(given) & Counter(wanted)).values())
    return 2 * same / (len(given) + len(wanted)) if same else 0.0


def rouge(answer: str, reference: str) -> dict[str, float]:
    """F-measures of ROUGE-1, ROUGE-2 and ROUGE-L without stemming, by Google's ``rouge-score``.

    Args:
        answer: What the model said.
        reference: The reference answer.
    """
    return {name: score.fmeasure for name, score in scorer().score(reference, answer).items()}


@cache
def scorer() -> Any:
    """The library's scorer.

    Raises:
        ModuleNotFoundError: If the library is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('ROUGE needs rouge-score: pip install "internlm2-core[leval]".') from error
    return RougeScorer(ROUGE, tokenizer=DefaultTokenizer(use_stemmer=False))  # else it says that it makes one


def without_articles(text: str) -> str:
    """Without punctuation, articles in small letters, and white space that says nothing."""
    plain = text.translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def squeezed(text: str) -> str:
    """In small letters and without spaces."""
    return text.lower().replace(" ", "")
