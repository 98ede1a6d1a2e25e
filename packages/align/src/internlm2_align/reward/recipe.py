"""How reward models are trained and measured: one recipe serves the job `reward` and every round of online RLHF."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.callbacks import StepProgress
from internlm2_core.shares import replicas_of
from internlm2_core.text.tokenizer import load_tokenizer
from lightning.pytorch.callbacks import ModelCheckpoint

from internlm2_align.preferences.preference import OnBad, Preference, check_on_bad
from internlm2_align.quiet import without_needless_warnings
from internlm2_align.reward.callbacks import Curve, SaveReward
from internlm2_align.reward.conditions import ConditionTable
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.evaluation import pair_figures
from internlm2_align.reward.model import RewardModel
from internlm2_align.reward.network import start_reward
from internlm2_align.reward.pairs import EncodedPair, PairBatches, Pairs, encode_pairs


@dataclass(frozen=True)
class RewardRecipe:
    """How to train.

    Attributes:
        conditions: The condition table.
        batches: How pairs become batches.
        module: `RewardModel` with its constants bound; gets ``net``, ``encoder`` and ``schedule``.
        schedule: Makes the factor of the learning rate, given ``total_steps``.
        trainer: Makes Lightning's Trainer, given ``max_epochs`` and ``enable_checkpointing``; ``max_steps``
            of it may stop the run before the end of its schedule.
        epochs: Passes over the pairs; 1 in the report.
        max_tokens: Longest conversation, in tokens.
        on_bad: Whether unusable pairs are skipped or refused.
        margin_per_gap: Margin wanted between scores, per unit of a pair's ``meta["score_gap"]``.
        checkpoint_every: Optimizer steps between checkpoints to continue from.
        seed: Of the head and all else that is random.
    """

    conditions: ConditionTable
    batches: PairBatches
    module: Callable[..., RewardModel]
    schedule: Callable[..., Callable[[int], float]]
    trainer: Callable[..., L.Trainer]
    epochs: int = 1
    max_tokens: int = 8192
    on_bad: OnBad = "skip"
    margin_per_gap: float = 0.0
    checkpoint_every: int = 200
    seed: int = 1

    def __post_init__(self) -> None:
        check_on_bad(self.on_bad)

    def encoder(self, checkpoint: str | Path) -> ConversationEncoder:
        """What encodes pairs for training from an SFT model, and for measuring what comes of it.

        Raises:
            FileNotFoundError: If there is no such model.
        """
        try:
            tokenizer = load_tokenizer(checkpoint)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{checkpoint} is no folder of an SFT model; set checkpoint=FOLDER.") from error
        return ConversationEncoder(tokenizer, self.conditions, self.max_tokens)

    def encode(
        self,
        pairs: Iterable[Preference],
        encoder: ConversationEncoder,
        counts: Counter[str],
        key: str = "preferences",
    ) -> list[EncodedPair]:
        """Pairs as training and measuring take them; see `encode_pairs`.

        Args:
            pairs: Any pairs.
            encoder: From `encoder`.
            counts: Gets one count a pair.
            key: Setting that the pairs come from, for messages.

        Raises:
            ValueError: If there are pairs and none can be used, or one names an unknown domain.
        """
        encoded = encode_pairs(pairs, encoder, counts, on_bad=self.on_bad, share_prompts=self.batches.share_prompts)
        if not encoded and (+counts).total():
            left_out = ", ".join(f"{count} {name}" for name, count in (+counts).most_common())
            raise ValueError(
                f"No usable pairs are left of {key}: {left_out}; name others in {key}=[FILE], or see the first bad "
                "one with on_bad=raise."
            )
        return encoded

    def train(
        self, checkpoint: str | Path, pairs: Iterable[Preference], folder: Path, counts: Counter[str] | None = None
    ) -> "TrainedReward":
        """Train from an SFT model; goes on from ``FOLDER/checkpoints/last.ckpt`` if it is there.

        Whether that was taken under the same settings is not asked here; the command compares them before.

        Args:
            checkpoint: Folder of the model to start from, in released or Llama layout; its head is dropped.
            pairs: Training pairs.
            folder: Of the run; gets ``model``.
            counts: Of pairs left out before; gets those of ``pairs``.

        Raises:
            ValueError: If no usable pair is left, a pair names an unknown domain, or margins are wanted of pairs
                that have no gap.
        """
        L.seed_everything(self.seed, verbose=False)
        counts = Counter() if counts is None else counts
        encoder = self.encoder(checkpoint)
        encoded = self.encode(self._with_margins(list(pairs)), encoder, counts)
        trainer = self.trainer(max_epochs=-1, enable_checkpointing=False)
        loader = self.batches.loader(encoded, dp_size=replicas_of(trainer))
        steps = len(loader) * self.epochs
        if trainer.max_steps < 0:
            # Not epochs: each is planned anew and may have a batch more or less than the first.
            trainer.fit_loop.epoch_loop.max_steps = steps
        make_net = partial(start_reward, checkpoint, self.seed)
        model = self.module(net=make_net, encoder=encoder, schedule=self.schedule(total_steps=steps))
        curve = Curve(stretches=40, total_steps=steps)
        trainer.callbacks[:0] = [SaveReward(folder / "model", checkpoint), StepProgress(), curve]  # type: ignore[attr-defined]
        start = time.perf_counter()
        self._fit(trainer, model, Pairs(self.batches, encoded), folder / "checkpoints")
        seconds = time.perf_counter() - start
        done = (trainer.global_step - curve.first_step) / steps  # of the pairs, by this attempt
        figures = {
            "steps": trainer.global_step,
            "epochs": self.epochs,
            "seconds": round(seconds, 2),
            "pairs_per_second": round(done * len(encoded) * self.epochs / seconds, 1),
            "fill_rate": loader.fill_rate(),
            "curve": curve.points,
        }
        return TrainedReward(folder / "model", dict(+counts), figures, trainer.is_global_zero)

    def measure(
        self, folder: Path, held: Sequence[EncodedPair], hard_gap: float | None = None
    ) -> dict[str, Any] | None:
        """Figures of a model on held-out pairs; None without pairs.

        Args:
            folder: Of the model; under some strategies no rank has the whole network at hand after training.
            held: Held-out pairs, from `encode`.
            hard_gap: See `pair_figures`.
        """
        if not held:
            return None
        model = RewardModel.load(folder, self.conditions, self.max_tokens)
        scores = model.scorer(self.batches.budget_tokens).scores([encoded.group for encoded in held])
        sides = [(chosen, rejected) for chosen, rejected in scores]
        return pair_figures([encoded.pair for encoded in held], sides, hard_gap)

    def _fit(self, trainer: L.Trainer, model: RewardModel, pairs: Pairs, checkpoints: Path) -> None:
        saver = ModelCheckpoint(
            checkpoints, save_last=True, every_n_train_steps=self.checkpoint_every, save_on_train_epoch_end=False
        )
        trainer.callbacks.append(saver)  # type: ignore[attr-defined]
        last = checkpoints / "last.ckpt"
        with without_needless_warnings():
            trainer.fit(model, datamodule=pairs, ckpt_path=last if last.exists() else None)
        if trainer.interrupted:
            raise KeyboardInterrupt

    def _with_margins(self, pairs: Sequence[Preference]) -> list[Preference]:
        if not self.margin_per_gap:
            return list(pairs)
        gaps = [float(pair.meta.get("score_gap", 0.0)) for pair in pairs]
        if not any(gaps):
            raise ValueError(
                f"margin_per_gap={self.margin_per_gap} but none of {len(pairs)} pairs has a meta.score_gap, so no "
                "margin would be asked for; set margin_per_gap=0 or take pairs of `internlm2 label`."
            )
        wanted = (pair.margin + self.margin_per_gap * gap for pair, gap in zip(pairs, gaps, strict=True))
        return [replace(pair, meta={**pair.meta, "margin": margin}) for pair, margin in zip(pairs, wanted, strict=True)]


@dataclass(frozen=True)
class TrainedReward:
    """A trained model with its record.

    Attributes:
        folder: Of the model.
        counts: Training pairs ``used`` and, by reason, left out.
        figures: Steps, seconds, pairs per second, fill rate, curve.
        is_first_rank: Whether this process is the one that measures and writes.
    """

    folder: Path
    counts: dict[str, int]
    figures: dict[str, Any]
    is_first_rank: bool
