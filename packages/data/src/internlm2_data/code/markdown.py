"""A repository as one Markdown document."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from internlm2_data.code.imports import Tree, imports_of
from internlm2_data.code.languages import DOCUMENTATION
from internlm2_data.code.order import dependency_order
from internlm2_data.code.quality import quality_of
from internlm2_data.document import Document
from internlm2_data.io.shards import ShardReader
from internlm2_data.stages.sieves import Sifted
from internlm2_data.stores import InputFile

_TICKS = re.compile(r"`{3,}")
# Notebooks are Markdown with cells of code already.
_AS_THEY_ARE = DOCUMENTATION | {"jupyter"}


@dataclass(frozen=True)
class AssembleSieve:
    """Puts the files of each repository together. Files of one repository must be in one shard."""

    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        for documents in by_repository(document for path in files for document in ShardReader(path)):
            yield assemble(documents[0].meta["repository"], documents), True


def assemble(name: str, documents: Sequence[Document]) -> Document:
    """One document for a repository. Its language is that of most of its code.

    Args:
        name: Of the repository.
        documents: Its files.
    """
    ordered = in_order(name, documents)
    sizes: dict[str, int] = {}
    for document in documents:
        sizes[document.language] = sizes.get(document.language, 0) + document.num_bytes
    text = "\n".join([f"# {name}\n", *map(section, ordered)])
    main = max(sorted(sizes), key=lambda language: (language not in DOCUMENTATION, sizes[language]))
    licence = documents[0].meta.get("licence", "")
    files = [document.meta["path"] for document in ordered]
    meta = {"repository": name, "licence": licence, "files": files, "bytes": sizes, **quality_of(documents)}
    return Document(text=text, source="code", language=main, type="repository", url=name, meta=meta)


def by_repository(documents: Iterable[Document]) -> list[list[Document]]:
    """Files of each repository. By folder, since repositories of several owners may share a name."""
    repositories: dict[str, list[Document]] = {}
    for document in documents:
        repositories.setdefault(document.meta["folder"], []).append(document)
    return list(repositories.values())


def in_order(name: str, documents: Sequence[Document]) -> list[Document]:
    """Files of a repository, each after those that it imports.

    Args:
        name: Of the repository.
        documents: Its files.
    """
    by_path = {document.meta["path"]: document for document in documents}
    docs = {path for path, document in by_path.items() if document.language in DOCUMENTATION}
    tree = Tree({path: document.text for path, document in by_path.items()}, name)
    imports = {p: imports_of(p, d.language, tree) - docs for p, d in by_path.items() if p not in docs}
    return [by_path[path] for path in dependency_order(imports, docs)]


def section(document: Document) -> str:
    """A file under its path."""
    return f"## {document.meta['path']}\n\n{as_markdown(document)}\n"


def as_markdown(document: Document) -> str:
    """A file: documentation as it is, code in a fence longer than any inside it."""
    text = document.text.rstrip("\n")
    if document.language in _AS_THEY_ARE:
        return text
    longest = max((len(found) for found in _TICKS.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{document.language}\n{text}\n{fence}"
