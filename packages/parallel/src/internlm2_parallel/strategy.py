"""MeshStrategy: one Lightning strategy for every layout.

What the LightningModule sees is ordinary training: a network as an attribute, a scalar loss, an optimizer. The strategy
reads the network by its released names and splits it after ``configure_model``:

    connect ranks -> meshes -> configure_model -> parallelize each net -> optimizers -> restore

Two conventions make losses equal under every layout:

- Every rank of a group that shares rows (tensor, context, pipeline) reads the same batch and sees the same loss.
- Gradients are averaged over the ranks that read different rows, and ``reduce(x, "mean")`` averages over the same
  ranks. A module divides its loss *sum* by the mean number of loss tokens per rank, and nothing else has to know of the
  layout.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from internlm2_parallel.checkpoint import CheckpointPolicy
from internlm2_parallel.checkpoint.state import weights_of
from internlm2_parallel.checkpoint.store import CheckpointStore
from internlm2_parallel.communication import Communication
from internlm2_parallel.computing import computing, evaluating
from internlm2_parallel.context import ContextAttention
from internlm2_parallel.dropout import refuse_dropout, watching_draws
from internlm2_parallel.launcher import RankLauncher
from internlm2_parallel.layout import Layout, NetShape
from internlm2_parallel.lightning_private import HookedStrategy, optimizers_to_device
from internlm2_parallel.memory import is_deferred
from internlm2_parallel.names import named_weights
from internlm2_parallel.parallelize import Treatment, keep_whole, parallelize
from internlm2_parallel.pipeline import Pipeline, whole_state
from internlm2_parallel.saving import SavingStrategy
from internlm2_parallel.tensor import TensorContext
from internlm2_parallel.zero import SHARDINGS, blocked_gradient_sync, filled, neighbours


class MeshStrategy(SavingStrategy):
    """Data, tensor, sequence, context and pipeline parallelism over one device mesh.

    The class methods below make the usual ones. Each takes the options of the constructor, too.

    Args:
        layout: Degrees. One may be -1.
        treatment: What is done to each network.
        nets: Names of the networks in the LightningModule (PPO has several). Those it lacks are skipped. Frozen ones
            that are not named stay whole on each rank.
        shape: Sizes of the network, to refuse a layout that they do not divide before any process group exists.
        tokens: Length of a row, for the same reason.
        deferred: Make networks on the meta device and give each rank only what it keeps. They must say what their
            weights are (``initial_weights``), as core's and align's do.
        checkpoints: How checkpoints are written, copied and kept.
        communication: What NCCL, gloo and torch's collectives are told.
        timeout_s: Seconds that a collective may take before the run is given up.
        process_group_backend: None takes gloo on CPU and nccl on GPUs.

    Raises:
        ValueError: If the layout does not fit the world or the network.
    """

    strategy_name = "mesh"

    def __init__(
        self,
        layout: Layout | None = None,
        treatment: Treatment | None = None,
        *,
        nets: Sequence[str] = ("net",),
        shape: NetShape | None = None,
        tokens: int | None = None,
        deferred: bool = False,
        checkpoints: CheckpointPolicy | None = None,
        communication: Communication | None = None,
        timeout_s: float = 1800.0,
        process_group_backend: str | None = None,
    ) -> None:
        super().__init__(layout or Layout(), shape, tokens, timeout_s, process_group_backend)
        self.treatment, self.nets, self.deferred = treatment or Treatment(), tuple(nets), deferred
        self.tensor_context = TensorContext()
        self.order: list[str] = []
        self.groups: dict[int, DeviceMesh] = {}
        self.store = CheckpointStore(checkpoints or CheckpointPolicy())
        self.communication = communication or Communication()

    # ---- the usual ones by name

    @classmethod
    def ddp(cls, **options: Any) -> "MeshStrategy":
        """Whole copies on every rank, gradients averaged once a step."""
        return cls(Layout(replicate=-1), Treatment(sharding=SHARDINGS["ddp"]), **options)

    @classmethod
    def zero1(cls, **options: Any) -> "MeshStrategy":
        """Optimizer state split over all ranks."""
        return cls(Layout(shard=-1), Treatment(sharding=SHARDINGS["zero1"]), **options)

    @classmethod
    def zero2(cls, **options: Any) -> "MeshStrategy":
        """Optimizer state and gradients split over all ranks."""
        return cls(Layout(shard=-1), Treatment(sharding=SHARDINGS["zero2"]), **options)

    @classmethod
    def fsdp(cls, **options: Any) -> "MeshStrategy":
        """Weights, gradients and optimizer state split over all ranks (FSDP2, ZeRO-3)."""
        return cls(Layout(shard=-1), **options)

    @classmethod
    def hsdp(cls, shard: int = -1, **options: Any) -> "MeshStrategy":
        """Split over ``shard`` ranks (those of a node) and copied across such groups. -1 makes one group of all."""
        layout = Layout(replicate=1 if shard == -1 else -1, shard=shard)
        return cls(layout, Treatment(sharding=SHARDINGS["hsdp"]), **options)

    @classmethod
    def tensor(cls, ranks: int = -1, sequence_parallel: bool = False, **options: Any) -> "MeshStrategy":
        """Every matrix over ``ranks`` ranks (-1 for all), the rest of them sharding the state of the weights."""
        shard = 1 if ranks == -1 else -1
        return cls(Layout(shard=shard, tensor=ranks, sequence_parallel=sequence_parallel), **options)

    @classmethod
    def context(cls, ranks: int = -1, attention: ContextAttention = "gather", **options: Any) -> "MeshStrategy":
        """The tokens of a row over ``ranks`` ranks (-1 for all), the rest of them reading other rows."""
        layout = Layout(shard=1 if ranks == -1 else -1, context=ranks)
        return cls(layout, Treatment(context=attention), **options)

    @classmethod
    def pipeline(cls, ranks: int = -1, micro_batches: int = 4, **options: Any) -> "MeshStrategy":
        """The blocks over ``ranks`` ranks (-1 for all), each batch passing them in ``micro_batches`` pieces."""
        layout = Layout(pipeline=ranks, shard=1 if ranks == -1 else -1)
        # A pipeline passes every stage many times a step, so weights are gathered once.
        return cls(layout, Treatment(SHARDINGS["zero2"], pipeline=Pipeline(micro_batches=micro_batches)), **options)

    @classmethod
    def register_strategies(cls, strategy_registry: Any) -> None:
        """Let ``Trainer(strategy="internlm2_fsdp")`` find them."""
        for make in (cls.ddp, cls.zero1, cls.zero2, cls.fsdp, cls.hsdp, cls.tensor, cls.context, cls.pipeline):
            strategy_registry.register(f"internlm2_{make.__name__}", make, override=True)
        strategy_registry.register("internlm2_tensor_sequence", cls.tensor, override=True, sequence_parallel=True)

    @property
    def gathers_weights(self) -> bool:
        """Whether each forward pass waits for weights of other ranks.

        Under ``parameters=replica`` only the first pass after an optimizer step does.
        """
        return self.treatment.sharding.parameters != "replica" and self.layout.shard * self.layout.context != 1

    def make_launcher(self) -> RankLauncher | None:
        """What starts the other ranks, once no network is there whose dropout is refused."""
        launcher = super().make_launcher()
        if launcher is not None:
            launcher.check = partial(refuse_dropout, self.nets, self.layout)
        return launcher

    def setup_environment(self) -> None:
        """Join the process group, told what `Communication` says."""
        self.communication.prepare()
        super().setup_environment()

    # ---- the networks

    @contextmanager
    def tensor_init_context(self, empty_init: bool | None = None) -> Iterator[None]:
        """Inside, networks are made on the meta device where ``deferred`` says so."""
        with super().tensor_init_context(self.deferred if empty_init is None else empty_init):
            yield

    def setup(self, trainer: L.Trainer) -> None:
        """Split the networks, then make the optimizers over what is left on this rank."""
        assert self.accelerator is not None and self.model is not None and self.lightning_module is not None
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        self.order = [name for name, _ in named_weights(self.lightning_module)]
        refuse_dropout(self.nets, self.layout, trainer)
        for net in self.networks():
            if not is_deferred(net):
                net.to(self.root_device)
            with watching_draws(net, self.ranks):
                parallelize(net, self.ranks, self.treatment)
        keep_whole(self.lightning_module, self.nets, self.layout.ranks, self.root_device.type)
        self.model_to_device()
        self.bind_clipping()
        self.barrier()
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        if fitting:
            optimizers_to_device(self.optimizers, self.root_device)
            for optimizer in self.optimizers:
                optimizer.register_step_pre_hook(self.store.staging.before_step)

    def networks(self) -> list[nn.Module]:
        """The networks that the LightningModule has under the names in ``nets``.

        Raises:
            ValueError: If it has none of them.
        """
        assert self.lightning_module is not None
        children = dict(self.lightning_module.named_children())
        if not (found := [children[name] for name in self.nets if name in children]):
            raise ValueError(
                f"{type(self.lightning_module).__name__} has no network called {' or '.join(self.nets)}. "
                "nets must name its networks."
            )
        return found

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Backward passes inside communicate no more than the gradients' extent asks for."""
        assert self.model is not None
        with blocked_gradient_sync(self.model, self.treatment.sharding):
            yield

    training_step = computing(HookedStrategy.training_step)
    validation_step = evaluating(HookedStrategy.validation_step)
    test_step = evaluating(HookedStrategy.test_step)
    predict_step = evaluating(HookedStrategy.predict_step)
    backward = computing(HookedStrategy.backward)

    def whole_weights(self, net: nn.Module) -> dict[str, Tensor]:
        """All weights of a network, whole, on the CPU of the first rank, nothing on the others. Collective."""
        return whole_state(net, self.ranks.pipeline)

    def each_whole_weight(self, net: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Whole weights of a network without stages, by name, one at a time, on every rank. Collective."""
        for name, weight in weights_of(net).items():
            yield name, weight.full_tensor() if isinstance(weight, DTensor) else weight

    @contextmanager
    def shared_copy(self, copy: nn.Module, net: nn.Module, ranks: int) -> Iterator[dist.ProcessGroup]:
        """Inside, a copy has the weights of a network without stages, split over neighbours that wait for nobody else.

        Args:
            copy: On the meta device. It has no weights any more afterwards.
            net: A network in training. All ranks enter together.
            ranks: Of a group.

        Yields:
            The group of this rank.

        Raises:
            ValueError: If ``ranks`` does not divide the ranks of the run.
        """
        if ranks not in self.groups:
            self.groups[ranks] = neighbours(ranks, self.world_size, self.root_device.type)
        with filled(copy, partial(self.each_whole_weight, net), self.groups[ranks]):
            yield self.groups[ranks].get_group()


MeshStrategy.register_strategies(StrategyRegistry)
