"""Special tokens, under the names of the released vocabulary."""

SPECIAL_TOKENS = (
    "<unk>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|action_start|>",
    "<|action_end|>",
    "<|interpreter|>",
    "<|plugin|>",
    # The reward model reads its score here.
    "[UNUSED_TOKEN_130]",
)
END_OF_DOCUMENT = "</s>"
