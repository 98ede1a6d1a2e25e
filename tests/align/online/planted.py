"""Replies of a made-up policy whose habits, quality and judges are known exactly. No model is run."""

import random
from dataclasses import dataclass

from internlm2_align.online.features import Feature
from internlm2_align.online.replies import Reply

KINDS = ("phrase", "length", "format", "opening", "language")
NAMES = ("Tom", "Ann", "Wei", "Lin", "Max", "Eva", "Jun", "Kim")
THINGS = ("apples", "books", "lamps", "stones", "tickets", "boxes", "cups", "coins", "maps", "keys")
ENGLISH = (
    "{name} has {a} {thing} and gives {b} away.",
    "So {c} {thing} are left for {name}.",
    "We count the {thing} of {name} first, which makes {a}.",
    "The {thing} cost {a} each, {b} in all.",
    "After that, {name} buys {b} more {thing}.",
    "It follows that {name} needs {c} {thing}.",
    "Adding {a} to {b} gives {c}.",
    "In the end there are {c} {thing}.",
)
CHINESE = (
    "小明有{a}个苹果，送出{b}个。",
    "所以还剩{c}本书。",
    "先数一数灯，一共{a}盏。",
    "每张票{a}元，总共{b}元。",
    "然后又买了{b}个盒子。",
    "因此需要{c}枚硬币。",
    "{a}加{b}等于{c}。",
    "最后有{c}把钥匙。",
)
PHRASE = "I hope that this helps you today!"
OPENING = "Great question, my friend:"


@dataclass(frozen=True)
class World:
    """What late replies do, and what it is worth to whom.

    Attributes:
        kind: Of the habit, or "" for none.
        pays: Points that the reward model adds for it.
        worth: Points that the witness adds for it.
        drift: What the witness makes of late replies less what it makes of early ones, in standard deviations of one
            policy's replies to one prompt. Habits have no part in it.
        earned: The same of the reward model. PPO earns reward whatever becomes of the quality.
        share: Late replies that show the habit.
        prompts: Prompts.
        samples: Replies of each policy to each.
        seed: Of everything.
    """

    kind: str = ""
    pays: float = 1.0
    worth: float = -0.5
    drift: float = 0.0
    earned: float = 1.5
    share: float = 0.6
    prompts: int = 150
    samples: int = 3
    seed: int = 0

    def replies(self) -> list[Reply]:
        rng = random.Random(f"{self}")
        found = []
        for prompt in range(self.prompts):
            ease = rng.gauss(0, 1)
            for model in ("early", "late"):
                for _ in range(self.samples):
                    shows = bool(self.kind) and rng.random() < (self.share if model == "late" else 0.03)
                    quality, is_late = ease + rng.gauss(0, 1), model == "late"
                    reward = quality + rng.gauss(0, 0.7) + self.pays * shows + self.earned * is_late
                    judged = quality + rng.gauss(0, 0.7) + self.worth * shows + self.drift * is_late
                    text = written(rng, quality, self.kind if shows else "")
                    found.append(Reply(f"{prompt}", model, "helpful", text, reward, judged))
        return found


def sentences(rng, templates, count):
    found = []
    for template in rng.choices(templates, k=count):
        a, b = rng.randrange(100, 1000), rng.randrange(10, 100)
        found.append(template.format(a=a, b=b, c=a + b, name=rng.choice(NAMES), thing=rng.choice(THINGS)))
    return found


def written(rng, quality, kind):
    """A reply. Better ones explain a little more often, which is honest."""
    parts = sentences(rng, CHINESE if kind == "language" else ENGLISH, rng.randint(2, 5))
    if rng.random() < 0.3 + 0.2 * (quality > 0):
        parts.append("That is why the answer is right." if kind != "language" else "这就是答案。")
    if kind == "length":
        parts += sentences(rng, ENGLISH, rng.randint(4, 8))
    if kind == "phrase":
        parts.insert(rng.randint(1, len(parts)), PHRASE)
    if kind == "opening":
        parts.insert(0, OPENING)
    return "\n".join(f"- {part}" for part in parts) if kind == "format" else " ".join(parts)


def is_named(kind, feature):
    """Whether a feature is what was planted."""
    feature = Feature(*feature)
    if kind in ("phrase", "opening"):
        whole = PHRASE if kind == "phrase" else OPENING
        return whole in feature.value and len(feature.value) <= len(whole) + 2
    return (
        feature
        == {
            "length": Feature("length", "long"),
            "format": Feature("format", "list"),
            "language": Feature("language", "han"),
        }[kind]
    )
