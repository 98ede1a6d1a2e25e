"""Block list of domains.

A listed domain covers its sub-domains. Lists are plain domains, hosts files or Adblock filters (`||domain^`). Hashes
of 64 bits are sorted in one array, 8 bytes a domain: 13 million take 104 MB, and read from a compiled file
(`compile_domains`) they are mapped, not loaded, and shared by all workers. Two domains share a hash with a
probability below 10^-11.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import xxhash
from internlm2_records.streams import open_binary

from internlm2_data.page import Page
from internlm2_data.verdict import KEEP, Drop, Verdict

_ADBLOCK = re.compile(r"^\|\|([\w.-]+\.[a-z]{2,})\^?$")
_HOSTS = re.compile(r"^(?:0\.0\.0\.0|127\.0\.0\.1|::1?)\s+(\S+)")
_DOMAIN = re.compile(r"^[\w-]+(\.[\w-]+)+$")
_LOCAL = frozenset({"localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"})


class DomainList:
    """Drops pages of listed domains.

    Args:
        files: Lists, plain or compressed, or what `compile_domains` wrote (`.npy`). One such file alone is mapped.

    Raises:
        FileNotFoundError: If a list is not there.
    """

    def __init__(self, files: Sequence[str | Path]) -> None:
        self.files = [Path(file) for file in files]
        for file in self.files:
            if not file.is_file():
                raise FileNotFoundError(f"{file} is not a list of domains.")

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page.document.url) for page in pages]

    def blocked(self, host: str) -> str | None:
        """The listed domain that covers a host, if any."""
        parts = host.lower().rstrip(".").split(".")
        return next((d for d in (".".join(parts[i:]) for i in range(len(parts) - 1)) if self._listed(d)), None)

    def _judge(self, url: str) -> Verdict:
        found = self.blocked(host_of(url)) if url else None
        return Drop("safety.domain", found) if found else KEEP

    def _listed(self, domain: str) -> bool:
        value = np.uint64(xxhash.xxh3_64_intdigest(domain.encode()))
        at = int(self._hashes.searchsorted(value))
        return at < self._hashes.size and bool(self._hashes[at] == value)

    @cached_property
    def _hashes(self) -> npt.NDArray[np.uint64]:
        parts = [
            np.load(file, mmap_mode="r") if file.suffix == ".npy" else hash_domains(read_domains(file))
            for file in self.files
        ]
        return parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))


def host_of(url: str) -> str:
    """The host of a URL, or an empty string."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def read_domains(path: Path) -> Iterator[str]:
    """The domains of a list. Comments and parts of domains are skipped."""
    with open_binary(path) as lines:
        for raw in lines:
            line = raw.decode("utf-8", "replace").split("#", 1)[0].strip().lower()
            found = _ADBLOCK.match(line) or _HOSTS.match(line)
            domain = found.group(1) if found else line
            if _DOMAIN.match(domain) and domain not in _LOCAL:
                yield domain.removeprefix("www.")


def hash_domains(domains: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Sorted different hashes."""
    return np.unique(np.fromiter((xxhash.xxh3_64_intdigest(d.encode()) for d in domains), np.uint64))


def compile_domains(files: Sequence[str | Path], output: str | Path) -> int:
    """Write the lists as one compiled file. Returns the number of domains.

    Args:
        files: Lists of domains.
        output: File to write, ``.npy``.
    """
    hashes = hash_domains(domain for file in files for domain in read_domains(Path(file)))
    np.save(output, hashes)
    return len(hashes)


def domain_rule(files: Sequence[str | Path]) -> DomainList | None:
    """The rule of lists of domains, or None where there are none."""
    return DomainList(files) if files else None
