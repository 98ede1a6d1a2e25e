"""Parts of a network by the names that they have in the released checkpoints."""

from collections.abc import Iterator

from torch import nn

WRAPPED = "_checkpoint_wrapped_module."
"""What torch's ``checkpoint_wrapper`` puts into the names of weights."""


def called(net: nn.Module, name: str) -> list[nn.Module]:
    """Modules anywhere below ``net`` whose own name is ``name``.

    Args:
        net: Any module.
        name: The last part of the full name, such as ``tok_embeddings``.
    """
    return [module for path, module in net.named_modules() if path.split(".")[-1] == name]


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """The blocks of a network: children of whatever is called ``layers``."""
    return [block for layers in called(net, "layers") for block in layers.children()]


def is_compiled(block: nn.Module) -> bool:
    """Whether ``block.compile()`` was called."""
    return block._compiled_call_impl is not None


def named_weights(net: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and weights, also where blocks were wrapped to be recomputed."""
    for name, weight in net.named_parameters():
        yield name.replace(WRAPPED, ""), weight


def tied(net: nn.Module) -> list[list[str]]:
    """The names of each weight that has several, as a head that is its embedding."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, weight in net.named_parameters(remove_duplicate=False):
        names.setdefault(weight, []).append(name)
    return [group for group in names.values() if len(group) > 1]
