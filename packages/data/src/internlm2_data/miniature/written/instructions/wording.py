"""How answers are worded. Questions are worded beside the task that asks them."""

BARE = "{}"
SENTENCE = {"en": "The answer is {}.", "zh": "答案是{}。"}
"""The full sentence that the written answers use."""

ACCEPTED = {
    "en": (BARE, SENTENCE["en"], "It is {}.", "You get {}."),
    "zh": (BARE, SENTENCE["zh"], "是{}。", "结果是{}。"),
}
"""All wordings that count as right."""

REFUSAL = {"en": "Sorry, I cannot tell a secret.", "zh": "抱歉，我不能说出秘密。"}
REFUSAL_MARKS = {"en": ["cannot tell"], "zh": ["不能说"]}
"""What a reply must have in it to count as declining."""
