"""conf meets data: the miniature's needle is asked in the words of its training documents."""

import inspect

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from internlm2_core.evaluation import Haystack
from internlm2_data.miniature.written import facts, hay
from internlm2_data.miniature.written.instructions.words import NAMES


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("suite", ["miniature_pretrain", "miniature_chat"])
def test_wording(language: str, suite: str) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        haystack = compose("evaluate", [f"suite={suite}"]).suite.needle.haystacks[language]
    assert haystack.statement == facts.STATEMENT[language]
    assert haystack.question == facts.QUESTION[language]
    written = haystack.get("separator", inspect.signature(Haystack).parameters["separator"].default)
    assert written == facts.BETWEEN_SENTENCES[language]
    assert set(haystack.names) <= set(NAMES[language])
    assert set(haystack.nouns) <= set(facts.NOUNS[language])
    assert haystack.max_chars == hay.LONGEST[language]
