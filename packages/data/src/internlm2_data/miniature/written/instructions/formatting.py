"""Two to four names or digits with given marks around or between them. An instance is its list and its marks."""

from random import Random

from internlm2_data.miniature.written.instructions.instance import Instance, place_of
from internlm2_data.miniature.written.instructions.items import draw_items
from internlm2_data.miniature.written.instructions.words import Language

FORMATS = {
    "en": {"comma": "", "brackets": "()", "quotes": '""'},
    "zh": {"comma": "", "brackets": "（）", "quotes": "“”"},
}
"""What is before and after the list."""
COMMA = {"en": ", ", "zh": "， "}

WORDINGS = {
    "en": {
        "comma": ("Put commas between: {}", "Make a comma list: {}"),
        "brackets": ("Put in brackets: {}", "Use brackets: {}"),
        "quotes": ("Put in quotes: {}", "Use quotes: {}"),
    },
    "zh": {
        "comma": ("用逗号隔开： {}", "加上逗号： {}"),
        "brackets": ("放进括号： {}", "加上括号： {}"),
        "quotes": ("放进引号： {}", "加上引号： {}"),
    },
}


def draw(rng: Random, language: Language) -> Instance:
    """A list to format.

    Args:
        rng: Source of all that is drawn.
        language: Of question and answer.
    """
    name = rng.choice(list(FORMATS[language]))
    items, text = draw_items(rng, language, 2, 4)
    around = FORMATS[language][name]
    answer = around[0] + text + around[1] if around else COMMA[language].join(items)
    question = rng.choice(WORDINGS[language][name]).format(text)
    return Instance(language, question, answer, "exact", place_of("formatting", name, text))
