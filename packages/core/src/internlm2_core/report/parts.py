"""What the packages add to the report, each its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from internlm2_records.report import Part, Reader, Section


@dataclass(frozen=True)
class Parts:
    """Parts of several packages.

    Attributes:
        known: What is installed.
        absent: Modules of packages that are not installed. Their sources are shown as not readable.
    """

    known: Sequence[Part]
    absent: Sequence[str] = ()

    @property
    def readers(self) -> Mapping[str, Reader]:
        """All readers by kind."""
        return {kind: reader for part in self.known for kind, reader in part.readers.items()}

    @property
    def sections(self) -> Sequence[Section]:
        """All sections, in the order of the page."""
        return sorted((section for part in self.known for section in part.sections), key=lambda section: section.place)


def parts(modules: Sequence[str]) -> Parts:
    """Import the parts of the packages that are installed.

    Args:
        modules: Each has a `Part` named ``PART``.

    Raises:
        ValueError: If a module has none.
    """
    known, absent = [], []
    for module in modules:
        if find_spec(module.partition(".")[0]) is None:
            absent.append(module)
            continue
        part = getattr(import_module(module), "PART", None)
        if not isinstance(part, Part):
            raise ValueError(f"modules={module} must have a PART, an internlm2_records.report.Part.")
        known.append(part)
    return Parts(known, absent)
