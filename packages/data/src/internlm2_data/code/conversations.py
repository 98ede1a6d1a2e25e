"""Repositories as long conversations for supervised fine-tuning (report section 4.3).

    system     The repository NAME, its files in the order of their imports.
    user       Write `src/a.py`. DESCRIPTION
    assistant  the file, in a fence
    user       Write `src/b.py`, ...

The model learns to say each file with those before it in view. The conversation ends before the file that would make it
longer than the context: half a file would teach to stop in mid-code.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from internlm2_data.code.descriptions import Describe
from internlm2_data.code.markdown import as_markdown, in_order
from internlm2_data.document import Document
from internlm2_data.tokens.encoding import TextEncoder

_DELIMITERS = 2


@dataclass(frozen=True)
class Teller:
    """Turns repositories into conversations.

    Attributes:
        encoder: Counts tokens.
        context: Tokens of a conversation at most, with what ChatML puts around turns.
        describe: Gives a sentence for each file.
        min_files: A conversation of fewer files is not worth its place.
    """

    encoder: TextEncoder
    context: int
    describe: Describe
    min_files: int

    def tell(self, documents: Sequence[Document]) -> tuple[dict[str, Any] | None, Counter[str]]:
        """The conversation about a repository, None where there is none, and what became of its files.

        Args:
            documents: The files of one repository.
        """
        name = str(documents[0].meta["repository"])
        ordered = in_order(name, documents)
        asked = [
            f"Write `{file.meta['path']}`. {said}" for file, said in zip(ordered, self.describe(ordered), strict=True)
        ]
        replies = [as_markdown(file) for file in ordered]
        opening = f"The repository {name}, its files in the order of their imports."
        left = self.context - self._tokens(["system"], [opening])[0]
        sizes = self._tokens(["user"] * len(asked), asked), self._tokens(["assistant"] * len(asked), replies)
        counts: Counter[str] = Counter()
        messages, paths = [{"role": "system", "content": opening}], []
        full = False
        for file, question, reply, size in zip(
            ordered, asked, replies, map(sum, zip(*sizes, strict=True)), strict=True
        ):
            if size > self.context:
                counts["longer than the context"] += 1
            elif full or size > left:
                full = True
                counts["after the end of the context"] += 1
            else:
                left -= size
                messages += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
                paths.append(file.meta["path"])
        if len(paths) < self.min_files:
            return None, counts + Counter({"in a conversation of too few files": len(paths)})
        counts["kept"] = len(paths)
        licence = documents[0].meta.get("licence", "")
        return {"messages": messages, "repository": name, "licence": licence, "files": paths}, counts

    def _tokens(self, roles: Sequence[str], contents: Sequence[str]) -> list[int]:
        """Tokens of turns: their delimiters, the role on a line, the content, and the line break after it."""
        heads = {role: len(self.encoder.encode([f"{role}\n"])[0]) for role in set(roles)}
        line = len(self.encoder.encode(["\n"])[0])
        told = self.encoder.encode(contents)
        return [heads[role] + len(ids) + line + _DELIMITERS for role, ids in zip(roles, told, strict=True)]
