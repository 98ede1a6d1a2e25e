"""Signing shards, in this run and in earlier ones."""

import json
from dataclasses import dataclass
from pathlib import Path

from internlm2_data.dedup.records import sign_shard
from internlm2_data.dedup.settings import DedupSettings
from internlm2_data.fingerprint import describe
from internlm2_data.stages.manifest import write_json
from internlm2_data.stages.run import Shard
from internlm2_data.stores import is_remote, store_file


@dataclass(frozen=True)
class SignTask:
    """Signing one shard."""

    shard: Shard
    settings: DedupSettings
    output: Path
    made_by: str

    @property
    def manifest(self) -> Path:
        """Where it is written that this was done."""
        return self.output.with_suffix(".json")

    @property
    def removals(self) -> Path:
        """File of the rows that go."""
        return self.output.with_name(self.output.stem.replace("sign", "removed") + ".json")

    def removed(self) -> list[int]:
        """The rows that went."""
        return [int(row) for row in json.loads(self.removals.read_text("utf-8"))]


def sign_task(task: SignTask) -> None:
    """Sign a shard. The manifest is written last."""
    records = sign_shard(task.shard.files, task.settings)
    records.save(task.output)
    about = {
        "files": [str(path.absolute() if isinstance(path, Path) else path) for path in task.shard.files],
        "settings": describe(task.settings),
    }
    write_json(task.manifest, {"made_by": task.made_by, "documents": len(records.sizes), **about})


def signed_before(run: Path, stage: str, settings: DedupSettings) -> list[SignTask]:
    """What an earlier run signed.

    Args:
        run: Folder of the earlier run.
        stage: Name of its stage.
        settings: Those of this run.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If its settings differ.
    """
    folder = run / "_shards" / stage
    if not (folder / "removals.json").is_file():
        raise FileNotFoundError(f"{run} holds no finished stage {stage}. earlier must be folders of runs.")
    found = []
    for path in sorted(folder.glob("sign-*.json")):
        manifest = json.loads(path.read_text("utf-8"))
        if manifest["settings"] != describe(settings):
            raise ValueError(
                f"{run} was deduplicated with {manifest['settings']}, and this run has {describe(settings)}. The "
                "settings must be the same."
            )
        shard = Shard(
            tuple(store_file(name) if is_remote(name) else Path(name) for name in manifest["files"]),
            manifest["made_by"],
        )
        found.append(SignTask(shard, settings, path.with_suffix(".npz"), manifest["made_by"]))
    return found
