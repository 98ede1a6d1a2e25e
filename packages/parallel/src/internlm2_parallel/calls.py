"""The arguments of a call of a network, by the place or the name that parallelism knows them by.

A network is called ``net(input_ids, position_ids, labels)``, its trunk ``model(input_ids, position_ids, cache)``.
Each argument comes at its place or by its name, which a shape suffix may follow (``labels_BT``). A trunk may be told by
name the ``segments`` of its rows, and the ``places`` whose states are read.
"""

from collections.abc import Sequence
from typing import Any

NET = ("input_ids", "position_ids", "labels")
TRUNK = ("input_ids", "position_ids", "cache")


class Arguments:
    """Arguments of one call, to read and to change.

    Args:
        order: Names of the first arguments, in their order.
        args: Arguments by place.
        kwargs: Arguments by name.
    """

    def __init__(self, order: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.order, self.args, self.kwargs = order, list(args), dict(kwargs)

    def __getitem__(self, name: str) -> Any:
        """The argument. None where it was not given."""
        place = self.order.index(name)
        return self.args[place] if place < len(self.args) else self.kwargs.get(self._key(name))

    def __setitem__(self, name: str, value: Any) -> None:
        place = self.order.index(name)
        if place < len(self.args):
            self.args[place] = value
        elif place == len(self.args) and self._key(name) not in self.kwargs:
            self.args.append(value)
        else:
            self.kwargs[self._key(name)] = value

    def read_everywhere(self) -> None:
        """Take away the places of a trunk, which count tokens of whole rows. It gives all states then."""
        self.kwargs.pop(self._key("places"), None)

    def _key(self, name: str) -> str:
        return next((key for key in self.kwargs if key == name or key.startswith(f"{name}_")), name)
