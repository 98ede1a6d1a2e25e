"""The four networks of PPO in Lightning: made, optimised, saved and loaded. `PPOSystem` trains them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from internlm2_core.callbacks.export import gathered
from internlm2_core.generation import Engine, LocalEngine, Sampling
from internlm2_core.generation.answers import complete
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.shares import CopiesWholeWeights, SaysHowWeightsLie, SharesCopies
from internlm2_core.text import load_tokenizer
from internlm2_core.training import StepModule
from internlm2_records import Message
from torch import Tensor, nn
from torch.optim import Optimizer

from internlm2_align.actors import save_actor
from internlm2_align.ppo.responses import Responses, token_logprobs, token_values
from internlm2_align.reward.conditions import conditions_beside
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import RewardNetwork
from internlm2_align.roles.local import Roles, dtype_of, local_roles
from internlm2_align.roles.lockstep import Lockstep
from internlm2_align.roles.on_ray import RayEngines
from internlm2_align.roles.remote import StandIn
from internlm2_align.roles.rollouts import GroupEngine, PeersEngine, whole_copy
from internlm2_align.roles.stand_ins import EngineThere, RemoteOptimizer, RemoteTrained, make_optimizer

TRAINED = ("actor.", "critic.")


class PPONetworks(StepModule):
    """Actor and critic, which are trained, reference and reward model, which are not.

    Args:
        roles: Makers of the four models.
        encoder: Encodes conversations for the reward model under their condition.
        engine: Makes the engine that samples, given the actor's network.
        sampling: How the actor replies.
        make_optimizers: Make the optimizers of actor and critic from parameter groups.
        weight_decay: Of the matrices of both.
        max_grad_norm: Gradients of actor and critic are clipped to this norm each. 0 clips nothing.
        seed: Of the sampling.
    """

    actor: LanguageModel
    critic: RewardNetwork
    reference: LanguageModel
    reward: RewardNetwork

    def __init__(
        self,
        roles: Roles,
        encoder: ConversationEncoder,
        engine: Callable[[LanguageModel], Engine] = LocalEngine,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        make_optimizers: tuple[Callable[..., Optimizer], ...] = (),
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        seed: int = 1,
    ) -> None:
        super().__init__(max_grad_norm)
        self.strict_loading = False  # Checkpoints leave out the frozen models. `on_load_checkpoint` checks the rest.
        self.roles, self.encoder, self.make_engine, self.sampling = roles, encoder, engine, sampling
        self.make_optimizers, self.weight_decay, self.seed = make_optimizers, weight_decay, seed

    def configure_model(self) -> None:
        """Make the four networks, once."""
        if hasattr(self, "actor"):
            return
        self.actor, self.critic = self.roles.actor(), self.roles.critic()
        self.reference = self.roles.reference().requires_grad_(False).eval()
        self.reward = self.roles.reward().requires_grad_(False).eval()

    def configure_optimizers(self) -> list[Optimizer]:
        """One optimizer for the actor, one for the critic. Norms do not decay."""
        nets = (self.actor, self.critic)
        return [
            make_optimizer(net, make, self.weight_decay) for make, net in zip(self.make_optimizers, nets, strict=True)
        ]

    def clip_by_norm(self, optimizer: Optimizer) -> Tensor:
        """Clip the gradients of an optimizer, wherever they are, to ``max_grad_norm``.

        Returns:
            Their norm before, a scalar, the same on every rank.
        """
        if isinstance(optimizer, RemoteOptimizer):
            return optimizer.clip_by_norm(self.max_grad_norm)
        return super().clip_by_norm(optimizer)

    def sampler(self) -> Engine:
        """What replies with the actor's weights. Collective."""
        how = self.trainer.strategy
        if not (isinstance(how, SaysHowWeightsLie) and (how.gathers_weights or how.splits_layers)):
            return self._engine()
        assert isinstance(how, CopiesWholeWeights)
        dtype = dtype_of(self.roles.copy_dtype, "copy_dtype")
        engine: Engine
        if self.roles.sample_with == "shards":
            engine = self._engine()
        elif self.roles.sample_with == "copies":
            engine = self.make_engine(whole_copy(self.actor, how, dtype))
        else:
            assert isinstance(how, SharesCopies)
            ranks = self.roles.group_size
            engine = GroupEngine(self.make_engine, self.actor, how, ranks, self._lockstep_of, dtype)
        return PeersEngine(engine, how.of_first_peer)

    def _engine(self) -> Engine:
        """An engine on the actor as it is: those of Ray get its weights, others are where it is."""
        if isinstance(self.actor, RemoteTrained) and not isinstance(self.make_engine, RayEngines):
            return EngineThere(self.make_engine, self.actor)
        return self.make_engine(self.actor)

    @contextmanager
    def at_work(self, *roles: str) -> Iterator[None]:
        """Inside, ranks may call networks a different number of times, and the offloaded ones named are at hand.

        Args:
            roles: Names of networks, the same on each rank. Those that a system does not have are passed over.
        """
        offloaded = [getattr(self, role) for role in roles if role in self.roles.offloaded]
        for net in offloaded:
            net.to(self.device)
        nets = [net for role in roles if (net := getattr(self, role)) is not None]
        with self._lockstep([net for net in nets if not isinstance(net, StandIn)]):
            yield
        for net in offloaded:
            net.to("cpu")

    def _lockstep(self, nets: Sequence[nn.Module]) -> AbstractContextManager[None]:
        how = self.trainer.strategy
        if not (isinstance(how, SaysHowWeightsLie) and how.gathers_weights):
            return nullcontext()
        return Lockstep(nets, self._least, self._pass_one_token)

    def _lockstep_of(self, net: nn.Module, group: Any) -> Lockstep:
        return Lockstep([net], partial(self._least, group=group), self._pass_one_token)

    def _least(self, number: int, group: Any = None) -> int:
        """The least of a number over the ranks that read other rows, or over a group."""
        return int(self.trainer.strategy.reduce(torch.tensor(number, device=self.device), group, reduce_op="min"))

    def _pass_one_token(self, net: nn.Module) -> Tensor:
        packed = Responses([[0]], [[0]]).pack(self.device)
        return token_values(net, packed) if isinstance(net, RewardNetwork) else token_logprobs(net, packed)  # type: ignore[arg-type]

    @property
    def speech(self) -> Sampling:
        """How the actor replies: without special tokens, and without ids that only pad its vocabulary."""
        padding = range(self.encoder.tokenizer.vocab_size, self.actor.size.vocab_size)
        return replace(self.sampling, never_ids=(*self.encoder.unspoken, *padding))

    def save(self, folder: str | Path, tensors: dict[str, Tensor] | None = None) -> None:
        """Write the actor as a folder in released layout, atomically.

        Args:
            folder: Where. An older model is replaced.
            tensors: Whole weights by name, [...] each, where a strategy has gathered them. None takes those at hand.

        Raises:
            ValueError: If a weight is not finite.
        """
        save_actor(folder, self.actor, self.encoder.tokenizer, tensors)

    def whole_actor(self) -> dict[str, Tensor]:
        """All weights of the actor in training, on the CPU of the first rank, nothing on the others. Collective."""
        return self.actor.state_dict() if isinstance(self.actor, RemoteTrained) else gathered(self.trainer, self.actor)

    @classmethod
    def load(cls, actor: str | Path, reward: str | Path, **settings: Any) -> Self:
        """A system from the folders of an actor (an SFT model, or what PPO wrote) and of a reward model.

        Args:
            actor: A language model of either layout, with its tokenizer.
            reward: A reward model with its condition table.
            **settings: Of the constructor.

        Raises:
            ValueError: If the two have other tokenizers.
        """
        encoder = ConversationEncoder(load_tokenizer(actor, like=reward), conditions_beside(reward))
        system = cls(**{"roles": local_roles(actor, reward), "encoder": encoder, **settings})
        system.configure_model()
        return system

    def generate(self, prompt: str | Sequence[Message], seed: int | None = None) -> str:
        """What the actor says, sampled as in training.

        Args:
            prompt: A user's words, or a whole conversation.
            seed: Of the sampling. None takes the system's.
        """
        messages: Sequence[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        sampling = replace(self.speech, seed=self.seed if seed is None else seed)
        return complete(self._engine(), self.encoder.tokenizer, messages, sampling)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the frozen models."""
        super().on_save_checkpoint(checkpoint)
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name.startswith(TRAINED)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check what is loaded, and continue the count of steps that were left out.

        Raises:
            ValueError: If the checkpoint lacks weights of actor or critic.
        """
        wanted = {name for name in self.state_dict() if name.startswith(TRAINED)}
        if missing := wanted - set(checkpoint["state_dict"]):
            raise ValueError(f"The checkpoint lacks {len(missing)} weights of PPO, {min(missing)} among them.")
        super().on_load_checkpoint(checkpoint)
