"""The vocabulary, small on purpose: a model of a million weights learns what it sees often."""

from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

_NAMES = {
    "en": "Ann Ben Tom Eva Sam Kate Jack Lucy Max Mary Paul Rose John Anna Mark Lily",
    "zh": "小明 小红 小刚 小丽 小华 小芳 小军 小兰 小强 小梅 小龙 小燕 小东 小玲 小伟 小雪",
}
NAMES: dict[str, list[str]] = {language: names.split() for language, names in _NAMES.items()}
NOUNS = {"en": ["number", "room", "seat"], "zh": ["号码", "房间", "座位"]}
SECRET_NOUN = {"en": "password", "zh": "密码"}
DIGITS = "0123456789"
