"""`pipeline=planted_opening`: a habit for PPO to find and for the fast path to stop (report 4.2.2). PLANTED, made up.

What is planted is an opening such as "Sure!". SFT learns it from a few replies, so that its model says it now and then.
Pairs for the reward model prefer a reply with it to the same reply without, as people do who are taken in by manners.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from internlm2_records import read_objects

from internlm2_data.executor import Executor
from internlm2_data.miniature.written.instructions.pipeline import write_jsonl
from internlm2_data.miniature.written.instructions.record import Record
from internlm2_data.stages.manifest import write_json


@dataclass(frozen=True)
class PlantedOpeningPipeline:
    """Writes `conversations.jsonl`, `pairs.jsonl` and `counts.json`. The same seed gives the same bytes.

    Attributes:
        openings: By language, with the space after it where there is one.
        tasks: Of the records that are taken.
        conversations: Records whose reply begins with the opening, for SFT.
        pairs: Preference pairs, at most one of a record.
        domain: Of the pairs.
        seed: Of what is drawn.
    """

    openings: Mapping[str, str]
    tasks: Sequence[str]
    conversations: int
    pairs: int
    domain: str
    seed: int = 1

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. It is done again each time, which takes a second.

        Args:
            inputs: Files of instruction records.
            output: Folder of the result.
            executor: Not needed.
            store: Not needed.

        Raises:
            ValueError: If there are fewer records of these tasks and languages than are wanted.
        """
        records = [record for file in inputs for record in read_objects(Path(file))]
        able = [each for each in records if each["task"] in self.tasks and each["language"] in self.openings]
        if max(self.conversations, self.pairs) > len(able):
            raise ValueError(
                f"conversations={self.conversations} and pairs={self.pairs} must be at most {len(able)}, the records "
                f"of the tasks {', '.join(self.tasks)}."
            )
        rng = Random(self.seed)
        conversations = [self._opened(record) for record in rng.sample(able, self.conversations)]
        pairs = [self._pair(record) for record in rng.sample(able, self.pairs)]
        write_jsonl(output / "conversations.jsonl", conversations)
        write_jsonl(output / "pairs.jsonl", pairs)
        counts = {"conversations": len(conversations), "pairs": len(pairs)}
        write_json(output / "counts.json", {"records": len(records), "able": len(able), **counts})

    def _opened(self, record: Record) -> Record:
        """The record with the opening before its reply."""
        *asked, reply = record["messages"]
        said = {**reply, "content": self.openings[record["language"]] + reply["content"]}
        return {**record, "id": f"planted-{record['id']}", "messages": [*asked, said]}

    def _pair(self, record: Record) -> Record:
        """A preference for the reply with the opening."""
        *asked, reply = record["messages"]
        return {
            "domain": self.domain,
            "prompt": asked,
            "chosen": self._opened(record)["messages"][-1]["content"],
            "rejected": reply["content"],
            "source": "planted",
            "meta": {"language": record["language"], "slices": ["planted"]},
        }
