"""`pipeline=code_conversations` (report section 4.3)."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm2_data.code.conversations import Teller
from internlm2_data.code.descriptions import Describe, describe_by_rule
from internlm2_data.code.markdown import by_repository
from internlm2_data.document import Document
from internlm2_data.executor import Executor
from internlm2_data.io.documents import read_documents
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.stages.manifest import write_json
from internlm2_data.stores import InputFile
from internlm2_data.tokens.encoding import TextEncoder


@dataclass(frozen=True)
class CodeConversationsPipeline:
    """Files of repositories to `conversations.jsonl`, which `internlm2 sft` reads, and `counts.json`.

    Attributes:
        tokenizer: A ``tokenizer.json`` or the folder of a model, by which lengths are counted.
        context: Tokens of a conversation at most (report section 4.3: 32k).
        min_files: Repositories of which fewer files fit are left out.
        describe: Gives a sentence for each file. The default takes what the author wrote, or names what it defines.
    """

    tokenizer: str
    context: int = 32768
    min_files: int = 2
    describe: Describe = describe_by_rule

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Inputs are files of code, such as ``runs/code/quality``, those of a repository in one shard.

        Raises:
            ValueError: If the inputs hold no file of code, or ``context`` or ``min_files`` is below 1.
        """
        if min(self.context, self.min_files) < 1:
            raise ValueError(f"context={self.context} and min_files={self.min_files} must be 1 or more.")
        teller = Teller(TextEncoder(self.tokenizer, end=None), self.context, self.describe, self.min_files)
        counts: Counter[str] = Counter()
        conversations = repositories = 0
        output.mkdir(parents=True, exist_ok=True)
        part = output / "conversations.jsonl.part"
        with part.open("w", encoding="utf-8") as out:
            for path in expand_inputs(inputs):
                for documents in by_repository(_files(path, counts)):
                    record, about = teller.tell(documents)
                    counts += about
                    repositories += 1
                    if record is not None:
                        out.write(json.dumps(record, ensure_ascii=False) + "\n")
                        conversations += 1
        if not repositories:
            part.unlink()
            raise ValueError(f"inputs={list(inputs)} must hold files of code, such as runs/code/quality.")
        part.replace(output / "conversations.jsonl")
        write_json(
            output / "counts.json",
            {"repositories": repositories, "conversations": conversations, "files": dict(sorted(counts.items()))},
        )
        print(f"{conversations} conversations of {repositories} repositories. Files: {dict(sorted(counts.items()))}")


def _files(path: InputFile, counts: Counter[str]) -> Iterator[Document]:
    for document in read_documents(path):
        if not isinstance(document, Document):
            counts["not read"] += 1
        elif document.type != "code" or not {"folder", "path", "repository"} <= document.meta.keys():
            counts["not a file of a repository"] += 1
        else:
            yield document
