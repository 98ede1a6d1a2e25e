"""lm-eval's tasks, loaded with local data and without a call to any hub.

lm-eval reads data sets from the hub, fetches a metric from it when the tasks of programs are loaded, and models of
sentences when those of instructions are. All three are replaced here while tasks are loaded.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks import __file__ as tasks_file
from lm_eval.tasks._factory import TaskFactory
from lm_eval.tasks._index import Kind, TaskIndex

from internlm2_core.evaluation.harness.code import CodeEval
from internlm2_core.evaluation.harness.data import LocalData, Splits
from internlm2_core.sandbox import Sandbox
from internlm2_core.text import Tokenizer

FEWSHOT_SEED, DATA_SEED = 1234, 0
"""Seeds by which lm-eval chooses shots and makes data."""

MADE = ("niah_single_1", "niah_multikey_2", "niah_multikey_3", "ruler_vt", "ruler_cwe", "ruler_fwe")
"""Tasks that make their data and fetch nothing."""

SENTENCES = ("ifeval", "leaderboard_ifeval")
"""Tasks whose rules count sentences."""

SIZED = "lm_eval.tasks.ruler.common_utils"
"""Where RULER gets the tokenizer that its prompts are measured with."""


class LocalTask(ConfigurableTask):
    """A task of lm-eval that reads its data from a folder.

    Args:
        config: What lm-eval knows of the task, and ``splits``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        config.pop("class")
        self.splits: Splits = config.pop("splits")
        super().__init__(config=config)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Take the local splits.

        Args:
            dataset_kwargs: Not used.
            kwargs: Not used.
        """
        self.dataset = self.splits

    def fewshot_docs(self) -> Any:
        """Where shots come from. Without shots that split need not be there."""
        return super().fewshot_docs() if self.config.num_fewshot else self.eval_docs


class LocalFactory(TaskFactory):
    """Builds tasks of lm-eval that read their data from a folder.

    Args:
        data: The folder. None asks the hub, as lm-eval does.
        shots: Solved questions before each. None takes what the task says.
        leave_out: Whether a group may lack tasks whose data is missing.
        meta: What tasks that make their own data are told.

    Attributes:
        left_out: Why each task was left out.
    """

    def __init__(self, data: LocalData | None, shots: int | None, leave_out: bool, meta: dict[str, Any]) -> None:
        super().__init__(meta=meta)
        self.data, self.shots, self.leave_out = data, shots, leave_out
        self.left_out: dict[str, str] = {}

    def _load_full_config(self, entry: Any, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
        config: dict[str, Any] = super()._load_full_config(entry, overrides)
        if entry.kind not in (Kind.TASK, Kind.PY_TASK):
            return config
        if self.shots is not None:
            config["num_fewshot"] = self.shots
        if self.data is None or (config.get("custom_dataset") and entry.name in MADE):
            return config
        if "class" in config:
            raise ValueError(f"The task {entry.name} reads its data in its own way and takes none from data=.")
        made = config.pop("custom_dataset", None)
        path = config.get("dataset_path") or entry.name
        splits = self.data.of(entry.name, entry.name if made else path, config.get("dataset_name"))
        return config | {"class": LocalTask, "splits": splits, "dataset_kwargs": None}

    def _build_group_members(
        self, member_list: list[Any], group_name: str, overrides: Any, registry: dict[str, Any]
    ) -> list[Any]:
        children: list[Any] = []
        for item in (name for member in member_list for name in members(member, registry)):
            try:
                built = super()._build_group_members([item], group_name, overrides, registry)
            except FileNotFoundError as error:
                if not self.leave_out:
                    raise
                self.left_out[item if isinstance(item, str) else str(item.get("task"))] = str(error)
                continue
            children += [child for child in built if not hasattr(child, "get_all_tasks") or child.get_all_tasks()]
        return children


def members(item: Any, registry: dict[str, Any]) -> list[Any]:
    """A member of a group, or those of the tag that it names.

    Args:
        item: Its name, or its name with settings.
        registry: All tasks, groups and tags.
    """
    entry = registry.get(item) if isinstance(item, str) else None
    return sorted(entry.tags) if entry is not None and entry.kind == Kind.TAG else [item]


@cache
def all_tasks() -> dict[str, Any]:
    """Every task, group and tag of lm-eval by name. Reading their 14,000 files takes a while."""
    index: dict[str, Any] = TaskIndex().build([Path(tasks_file).parent])
    return index


@cache
def tasks_near(name: str) -> dict[str, Any]:
    """Tasks by name, those of folders called like the task alone where that is enough."""
    first = name.replace("-", "_").partition("_")[0]
    folders = [folder for folder in Path(tasks_file).parent.glob(f"{first}*") if folder.is_dir()]
    index: dict[str, Any] = TaskIndex().build(sorted(folders))
    return index if is_whole(name, index) else all_tasks()


def is_whole(name: str, index: dict[str, Any]) -> bool:
    """Whether an index holds a task and all members of a group.

    Args:
        name: The task or group.
        index: Entries by name.
    """
    if (entry := index.get(name)) is None:
        return False
    return entry.kind != Kind.GROUP or all(is_whole(part, index) for part in named((entry.cfg or {}).get("task")))


def named(listed: Any) -> Iterator[str]:
    """Names of the members of a group, those of groups inside it too."""
    if isinstance(listed, str):
        yield listed
    elif isinstance(listed, dict):
        yield from named(listed.get("task") or listed.get("group"))
    else:
        for item in listed or ():
            yield from named(item)


def load(name: str, factory: LocalFactory, tokenizer: Tokenizer, sandbox: Sandbox | None = None) -> dict[str, Any]:
    """Tasks by the name of a task, group or tag, as lm-eval's ``evaluate`` takes them.

    Args:
        name: The name.
        factory: Builds them.
        tokenizer: Measures prompts that are made to a length.
        sandbox: Where programs run. None means a process with namespaces of its own.

    Raises:
        FileNotFoundError: If data is missing.
        ValueError: If there is no such task, or a package that it needs is missing.
    """
    tasks = tasks_near(name)
    if name not in tasks:
        near = ", ".join(sorted(known for known in tasks if name.split("_")[0] in known)[:8])
        raise ValueError(f"task={name!r} is not a task of lm-eval{f'. There are {near}' if near else ''}.")
    if factory.data is not None and name in SENTENCES:
        check_sentences(name, factory.data.folder / "nltk_data")
    with offline(factory.data, tokenizer, CodeEval(sandbox), bool(tasks.keys() & set(MADE))):
        try:
            built = factory.build(tasks[name], registry=dict(tasks))
        except ImportError as error:
            raise ValueError(f"The task {name} cannot be loaded: {error}") from error
    loaded: dict[str, Any] = TaskManager(include_defaults=False).load(built if isinstance(built, list) else [built])
    if not loaded["tasks"]:
        raise FileNotFoundError(f"The task {name} has no data: {next(iter(factory.left_out.values()))}")
    for task in loaded["tasks"].values():
        if task.config.num_fewshot is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return loaded


def check_sentences(task: str, folder: Path) -> None:
    """Let nltk find its models of sentences in a folder.

    Args:
        task: Name of the task, for the error.
        folder: The folder.

    Raises:
        FileNotFoundError: If nltk finds none, there or elsewhere.
    """
    data = import_module("nltk").data
    data.path.insert(0, str(folder))
    try:
        data.find("tokenizers/punkt_tab")
    except LookupError:
        data.path.remove(str(folder))
        raise FileNotFoundError(
            f"The task {task} counts sentences with nltk: {folder}/tokenizers/punkt_tab does not exist."
        ) from None


@contextmanager
def offline(data: LocalData | None, tokenizer: Tokenizer, code_eval: CodeEval, makes_data: bool) -> Iterator[None]:
    """While tasks are loaded, what lm-eval would fetch comes from here.

    Args:
        data: The folder of data. None lets models of sentences be fetched.
        tokenizer: Measures prompts.
        code_eval: Runs programs.
        makes_data: Whether RULER may be among the tasks. It gets its tokenizer from Transformers.

    Raises:
        FileNotFoundError: If a task asks for something else.
    """

    def metric(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "code_eval":
            return code_eval
        raise FileNotFoundError(f"The metric {name!r} lies on the hub and has no counterpart here.")

    class Measure:
        @staticmethod
        def from_pretrained(*args: Any, **kwargs: Any) -> "Measured":
            return Measured(tokenizer)

    for module in [name for name, known in sys.modules.items() if holds_code_eval(known)]:
        del sys.modules[module]  # it runs programs where another task wanted them
    state = random.getstate()
    with ExitStack() as stack:
        stack.enter_context(instead("evaluate", "load", metric))
        if data is not None:
            # RULER asks for models of sentences and does without.
            stack.enter_context(instead("nltk", "download", lambda name: False))
        if makes_data and find_spec("transformers"):
            import_module(SIZED).get_tokenizer.cache_clear()
            stack.enter_context(instead(SIZED, "AutoTokenizer", Measure))
        stack.callback(random.setstate, state)
        random.seed(DATA_SEED)
        yield


def holds_code_eval(module: Any) -> bool:
    """Whether a module of lm-eval was loaded with our metric of programs."""
    name = getattr(module, "__name__", "")
    return name.startswith("lm_eval.tasks.") and any(isinstance(value, CodeEval) for value in vars(module).values())


class Measured:
    """A tokenizer as RULER calls it.

    Args:
        tokenizer: Encodes text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.input_ids = tokenizer, list[int]()

    def __call__(self, text: str) -> "Measured":
        """The ids of a text, as ``input_ids``."""
        made = Measured(self.tokenizer)
        made.input_ids = [*self.tokenizer.begin, *self.tokenizer.encode(text)]
        return made


@contextmanager
def instead(module: str, name: str, value: Any) -> Iterator[None]:
    """Another value for a name of a module, and then the old one again.

    Args:
        module: The module.
        name: The name.
        value: The value.
    """
    owner = sys.modules.get(module) or import_module(module)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
