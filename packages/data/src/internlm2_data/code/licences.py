"""Which licence a repository has, as far as its own files say.

Not legal advice: what is recognised are the SPDX tags of package files, and words of the usual licence texts.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from internlm2_data.page import Page
from internlm2_data.verdict import KEEP, Drop, Verdict

_FILE = re.compile(r"(un)?licen[cs]e|copying|copyright", re.IGNORECASE)
_TAG = re.compile(r"SPDX-License-Identifier:\s*([\w.+-]+(?:\s+(?:AND|OR|WITH)\s+[\w.+-]+)*)")
_DECLARED = {
    "pyproject.toml": re.compile(r"^license\s*=\s*(?:\{\s*text\s*=\s*)?[\"']([\w.+-]+)[\"']", re.MULTILINE),
    "setup.cfg": re.compile(r"^license\s*=\s*([\w.+-]+)\s*$", re.MULTILINE),
    "package.json": re.compile(r"\"license\"\s*:\s*\"([^\"]+)\""),
    "Cargo.toml": re.compile(r"^license\s*=\s*\"([^\"]+)\"", re.MULTILINE),
}
# The first whose words all occur. Those that contain others come before them.
_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AGPL-3.0", ("gnu affero general public license",)),
    ("LGPL-3.0", ("gnu lesser general public license", "version 3")),
    ("LGPL-2.1", ("gnu lesser general public license",)),
    ("GPL-3.0", ("gnu general public license", "version 3")),
    ("GPL-2.0", ("gnu general public license", "version 2")),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("EPL-2.0", ("eclipse public license", "2.0")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
    ("ISC", ("permission to use, copy, modify, and/or distribute this software", "provided that")),
    ("MIT", ("permission is hereby granted, free of charge", "the software is provided \"as is\"")),
    ("MIT", ("mit license",)),
    ("CC0-1.0", ("creative commons", "cc0")),
    ("CC-BY-4.0", ("creative commons attribution 4.0",)),
    ("Unlicense", ("free and unencumbered software released into the public domain",)),
    ("MulanPSL-2.0", ("mulan psl v2",)),
)  # fmt: skip
UNKNOWN = "unknown"


def is_licence(path: str) -> bool:
    """Whether a file holds a licence, by its name: ``LICENSE``, ``COPYING.txt``.

    Args:
        path: Inside the repository, with slashes.
    """
    name = PurePosixPath(path)
    return _FILE.match(name.name) is not None and name.suffix.lower() in ("", ".txt", ".md", ".rst", ".mit", ".apache")


def licence_of(files: Mapping[str, str]) -> str:
    """The SPDX identifier of a repository's licence, `UNKNOWN` where its files do not say.

    The top of the repository decides, licence files before what package files declare.

    Args:
        files: Texts of licence files and package files by path.
    """
    found = {_of_text(text) for path, text in sorted(files.items()) if is_licence(path) and "/" not in path}
    if known := sorted(found - {""}):
        return " OR ".join(known)
    for name, pattern in _DECLARED.items():
        if name in files and (declared := pattern.search(files[name])):
            return declared.group(1)
    return UNKNOWN


def _of_text(text: str) -> str:
    if tag := _TAG.search(text):
        return tag.group(1)
    plain = " ".join(text.lower().split())
    return next((name for name, words in _TEXTS if all(word in plain for word in words)), "")


class Licences:
    """Drops files of repositories under other licences than these.

    Args:
        allowed: SPDX identifiers, and "unknown" for repositories that do not say. Of "A OR B" one must be allowed.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = sorted(allowed)

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(str(page.document.meta.get("licence", UNKNOWN))) for page in pages]

    def _judge(self, licence: str) -> Verdict:
        offered = {part.strip("() ") for part in licence.split(" OR ")}
        return KEEP if offered & set(self.allowed) else Drop("code.licence", licence, "+".join(self.allowed))
