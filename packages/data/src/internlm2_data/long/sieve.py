"""Length selection."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from internlm2_data.io.documents import read_documents
from internlm2_data.io.items import Fault, Passed
from internlm2_data.stages.sieves import Sifted
from internlm2_data.stores import InputFile
from internlm2_data.verdict import Drop, apply


@dataclass(frozen=True)
class LengthSieve:
    """Keeps documents of more than `min_bytes` bytes. Of the shorter ones only the id is noted."""

    min_bytes: int = 32 << 10
    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        for path in files:
            for document in read_documents(path):
                if isinstance(document, Fault | Passed):
                    yield document
                elif document.num_bytes > self.min_bytes:
                    yield document, True
                else:
                    short = apply(Drop("long.bytes", document.num_bytes, self.min_bytes), document, stage)
                    yield replace(short, text=""), False
