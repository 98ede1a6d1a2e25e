"""MeshStrategy: one Lightning strategy for every layout.

What the LightningModule sees is ordinary training: a network as an attribute, a scalar loss, an optimizer. The strategy
reads the network by its released names and takes it apart after ``configure_model``:

    connect ranks -> meshes -> configure_model -> parallelize each net -> optimizers -> restore

Two conventions make losses equal under every layout:

- every rank of a group that shares rows (tensor, context, pipeline) reads the same batch and sees the same loss;
- gradients are averaged over the ranks that read different rows, and ``reduce(x, "mean")`` averages over the same
  ranks. A module divides its loss *sum* by the mean number of loss tokens per rank; nothing else has to know of the
  layout.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.utilities.distributed import _init_dist_connection
from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.strategy import Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from internlm2_parallel.checkpoint import CheckpointPolicy
from internlm2_parallel.checkpoint.state import weights_of
from internlm2_parallel.checkpoint.store import CheckpointStore, names_in_groups
from internlm2_parallel.clipping import clip_by_global_norm
from internlm2_parallel.launcher import RankLauncher, forget_earlier_job, fresh_store
from internlm2_parallel.layout import Layout, NetShape
from internlm2_parallel.memory import is_deferred
from internlm2_parallel.mesh import Ranks
from internlm2_parallel.parallelize import UNCOMPILED, Treatment, parallelize
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.tensor import TensorContext
from internlm2_parallel.zero import blocked_gradient_sync


class MeshStrategy(ModelParallelStrategy):
    """Data, tensor, sequence, context and pipeline parallelism over one device mesh.

    Args:
        layout: degrees; one may be -1.
        treatment: what is done to each network.
        nets: names of the networks in the LightningModule (PPO has several). Those it lacks are skipped.
        shape: sizes of the network, to refuse a layout that they do not divide before any process group exists.
        tokens: length of a row, for the same reason.
        deferred: make networks on the meta device and give each rank only what it keeps. They must say what their
            weights are (``initial_weights``), as core's and align's do.
        checkpoints: how checkpoints are written, copied and kept.
        timeout_s: seconds that a collective may take before the run is given up.
        process_group_backend: None takes gloo on CPU and nccl on GPUs.

    Raises:
        ValueError: the layout does not fit the world or the network.
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
        timeout_s: float = 1800.0,
        process_group_backend: str | None = None,
    ) -> None:
        super().__init__(process_group_backend=process_group_backend, timeout=timedelta(seconds=timeout_s))
        self.layout, self.treatment = layout or Layout(), treatment or Treatment()
        self.nets, self.shape, self.tokens, self.deferred = tuple(nets), shape, tokens, deferred
        self._ranks: Ranks | None = None
        self._tensor_context = TensorContext()
        self.store = CheckpointStore(checkpoints or CheckpointPolicy())

    # ---- ranks and meshes

    def _configure_launcher(self) -> None:
        self.layout = self.layout.settled(self.num_nodes * self.num_processes)
        if self.shape is not None:
            self.layout.check(self.shape, self.tokens)
        if self.treatment.compile_blocks and self.layout.tensor > 1:
            raise ValueError(UNCOMPILED.format(self.layout.tensor))
        assert self.cluster_environment is not None
        forget_earlier_job()
        if not self.cluster_environment.creates_processes_externally:
            self._launcher = RankLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    def setup_environment(self) -> None:
        """Join the process group and make the meshes."""
        Strategy.setup_environment(self)
        reset_seed()
        self.set_world_ranks()
        self._process_group_backend = self._get_process_group_backend()
        assert self.cluster_environment is not None
        device_id = None if self.root_device.type == "cpu" else self.root_device
        _init_dist_connection(
            self.cluster_environment,
            self._process_group_backend,
            timeout=self._timeout,
            device_id=device_id,
            **fresh_store(self.global_rank, self.world_size, self._timeout),
        )
        self._ranks = Ranks.of(self.layout, self.root_device.type)
        self._device_mesh = self._ranks.weights
        assert self.lightning_module is not None
        self.lightning_module._device_mesh = self._device_mesh

    @property
    def ranks(self) -> Ranks:
        """The meshes; only after the process group was joined."""
        if self._ranks is None:
            raise RuntimeError(
                "The meshes exist from Strategy.setup_environment on; read them in configure_model or later."
            )
        return self._ranks

    @property
    def data_parallel_rank(self) -> int:
        """Index of this rank among the ranks that read different rows."""
        return self.ranks.data_parallel_rank

    @property
    def data_parallel_size(self) -> int:
        """Ranks that read different rows."""
        return self.layout.data_parallel_size

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Share of the rows of this rank, under the names that Lightning and loaders ask for."""
        return {"num_replicas": self.data_parallel_size, "rank": self.data_parallel_rank}

    # ---- what modules and callbacks ask before they use a network between steps

    @property
    def gathers_weights(self) -> bool:
        """Whether each forward pass waits for weights of other ranks.

        Under ``parameters=replica`` only the first pass after an optimizer step does.
        """
        return self.treatment.sharding.parameters != "replica" and self.layout.shard * self.layout.context != 1

    @property
    def splits_rows(self) -> bool:
        """Whether a rank sees only a part of the tokens of a row."""
        return self.layout.context != 1

    @property
    def splits_layers(self) -> bool:
        """Whether a rank holds only a part of the matrices or of the blocks."""
        return self.layout.tensor != 1 or self.has_stages

    @property
    def has_stages(self) -> bool:
        """Whether the blocks are spread over ranks. A network then gives losses, and neither logits nor scores."""
        return self.layout.pipeline != 1

    # ---- the networks

    @contextmanager
    def tensor_init_context(self, empty_init: bool | None = None) -> Iterator[None]:
        """Inside, networks are made: on the meta device where ``deferred`` says so."""
        with super().tensor_init_context(self.deferred if empty_init is None else empty_init):
            yield

    def setup(self, trainer: L.Trainer) -> None:
        """Take the networks apart, then make the optimizers over what is left on this rank."""
        assert self.accelerator is not None and self.model is not None
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        for net in self.networks():
            if not is_deferred(net):
                net.to(self.root_device)
            parallelize(net, self.ranks, self.treatment)
        self.model_to_device()
        self._bind_clipping()
        self.barrier()
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        if fitting:
            _optimizers_to_device(self.optimizers, self.root_device)

    def networks(self) -> list[nn.Module]:
        """The networks that the LightningModule has under the names in ``nets``.

        Raises:
            ValueError: it has none of them.
        """
        found = [net for name in self.nets if isinstance(net := getattr(self.lightning_module, name, None), nn.Module)]
        if not found:
            raise ValueError(
                f"{type(self.lightning_module).__name__} has no network called {' or '.join(self.nets)}; "
                "set strategy.nets to the names of its networks."
            )
        return found

    def _bind_clipping(self) -> None:
        """Lightning clips in its precision plugin, which knows neither DTensors on several meshes nor stages."""
        pipeline = self.ranks.pipeline

        def clip_grad_by_norm(optimizer: Optimizer, clip_val: float) -> None:
            clip_by_global_norm(self.precision_plugin.main_params(optimizer), float(clip_val), pipeline)

        self.precision_plugin.clip_grad_by_norm = clip_grad_by_norm  # type: ignore[method-assign,assignment]

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Backward passes inside communicate no more than the gradients' extent asks for."""
        assert self.model is not None
        with blocked_gradient_sync(self.model, self.treatment.sharding):
            yield

    def _computing(self) -> Any:
        return self._tensor_context if self.layout.tensor > 1 else nullcontext()

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's training step."""
        with self._computing():
            return super().training_step(*args, **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's validation step."""
        with self._computing():
            return super().validation_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's test step."""
        with self._computing():
            return super().test_step(*args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's predict step."""
        with self._computing():
            return super().predict_step(*args, **kwargs)

    def backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """Backward pass; the loss over a split vocabulary needs its context here too."""
        with self._computing():
            return super().backward(closure_loss, optimizer, *args, **kwargs)

    # ---- values of one data rank each

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """Reduce a value over the ranks that read different rows, or over ``group``.

        Lightning's own would count tensor ranks twice, and puts a barrier before every reduction.

        Args:
            tensor: this rank's value; anything but a tensor comes back as it is.
            group: other ranks to reduce over.
            reduce_op: "mean", "avg", "sum", "max", "min", or an operation of torch.
        """
        if not isinstance(tensor, Tensor):
            return tensor
        group = group or self.ranks.data_parallel.get_group()
        named = {"max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN, "sum": dist.ReduceOp.SUM}
        mean = reduce_op in (None, "mean", "avg")
        operation = dist.ReduceOp.SUM if mean else named.get(reduce_op, reduce_op)
        reduced = tensor.detach().clone()
        dist.all_reduce(reduced, op=operation, group=group)
        return reduced / dist.get_world_size(group) if mean else reduced

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Agree over all ranks of the world."""
        flag = torch.tensor(int(decision), device=self.root_device)
        dist.all_reduce(flag, op=dist.ReduceOp.MIN if all else dist.ReduceOp.MAX)
        return bool(flag)

    def whole_weights(self, net: nn.Module) -> dict[str, Tensor]:
        """All weights of a network, whole, on the CPU of the first rank; nothing on the others. Collective."""
        return whole_state(net, self.ranks.pipeline)

    # ---- checkpoints

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Weights by name, still taken apart; hooks of the module may drop some before they are saved."""
        assert self.lightning_module is not None
        return weights_of(self.lightning_module)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Nothing: :meth:`save_checkpoint` reads optimizer state by weight name itself."""
        return {}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a sharded checkpoint: a folder that is whole or not there. Collective."""
        assert self.lightning_module is not None
        target = Path(self.broadcast(str(filepath)))
        optimizers = self.optimizers if checkpoint.pop("optimizer_states", None) is not None else []
        names = [names_in_groups(self.lightning_module, optimizer, self._over_stages) for optimizer in optimizers]
        self.store.save(target, checkpoint, self.lightning_module, optimizers, str(self.layout), names)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a sharded checkpoint of any layout, or a single file of plain Lightning. Collective."""
        assert self.lightning_module is not None
        source = Path(self.broadcast(str(checkpoint_path)))
        strict = self.lightning_module.strict_loading
        return self.store.load(source, self.lightning_module, self.optimizers, str(self.layout), strict, weights_only)

    def _over_stages(self, names: list[str]) -> list[str]:
        if self.layout.pipeline == 1:
            return names
        stages: list[list[str]] = [[] for _ in range(self.layout.pipeline)]
        dist.all_gather_object(stages, names, group=self.ranks.pipeline.get_group())
        return [name for stage in stages for name in stage]

    def teardown(self) -> None:
        """Wait for checkpoints that are still being written."""
        self.store.close()
        super().teardown()
