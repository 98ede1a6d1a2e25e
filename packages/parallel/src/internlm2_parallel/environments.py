"""Who has started the ranks: what Lightning found out, where that cannot be."""

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment


def settled(environment: ClusterEnvironment, num_processes: int, num_nodes: int) -> ClusterEnvironment:
    """The environment of a run. Slurm that has started one task for all ranks of a node has started none of them.

    Args:
        environment: As Lightning has chosen it.
        num_processes: Ranks of this node.
        num_nodes: Nodes.

    Raises:
        ValueError: If Slurm has started another number of tasks than there are ranks. They would wait for each other.
    """
    if not isinstance(environment, SLURMEnvironment) or environment.world_size() == num_processes * num_nodes:
        return environment
    if environment.world_size() == num_nodes == 1:
        return LightningEnvironment()
    raise ValueError(
        f"devices={num_processes} on num_nodes={num_nodes} need a task of Slurm for each rank, and "
        f"SLURM_NTASKS={environment.world_size()}. Submit with --ntasks-per-node={num_processes} "
        f"--nodes={num_nodes}, and begin the command with srun."
    )
