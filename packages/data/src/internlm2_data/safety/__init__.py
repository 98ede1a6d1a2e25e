"""The Safe stage: block lists of domains and words, then toxicity and pornography classifiers (report 3.1.1)."""

from internlm2_data.safety.domains import DomainList, compile_domains, domain_rule
from internlm2_data.safety.words import WordList, default_words

__all__ = ["DomainList", "WordList", "compile_domains", "default_words", "domain_rule"]
