"""Classifiers of documents: trained, calibrated, evaluated and saved by `internlm2 classifier`, used by the stages.

    labels (JSONL, CSV) ──┐                                            ┌─ model: weights.npz or a Transformers folder
    texts spoiled by rule ┴─► train / validation / test ─► threshold ─►┤
                                                                       └─ card.json: precision and recall a language

A model scores one target (toxicity, pornography, advertisement) or several (fluency: consistency, noise,
information, grammar), and its card says at which score a document is to be dropped. `linear` reads megabytes a
second; `transformer` is a BERT. Nothing is pickled.
"""

from internlm2_data.classifiers.classifier import Classifier, load_classifier
from internlm2_data.classifiers.labels import LabelFile
from internlm2_data.classifiers.linear import LinearClassifier
from internlm2_data.classifiers.rule import ClassifierRule, classifier_rule
from internlm2_data.classifiers.source import FromFile, MadeByRule
from internlm2_data.classifiers.training import train_classifier

__all__ = [
    "Classifier",
    "ClassifierRule",
    "FromFile",
    "LabelFile",
    "LinearClassifier",
    "MadeByRule",
    "classifier_rule",
    "load_classifier",
    "train_classifier",
]
