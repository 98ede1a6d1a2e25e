import pytest
from internlm2_data.executor import DaftExecutor, Failure, LocalExecutor, SlurmExecutor

# Spawned workers cannot import test modules: tasks are expressions, and the function is `eval`.
SQUARES = [f"{i} * {i}" for i in range(20)]
WRONG = ["0", "1", "int('two')", "3"]
DEADLY = ["0", "__import__('os')._exit(3)", "2", "3", "4"]
ONCE = "'done' if __import__('pathlib').Path({!r}).exists() else [open({!r}, 'x').close(), 1 / 0]"


@pytest.mark.parametrize("workers", [0, 2])
def test_results_in_order_and_failures_in_place(workers):
    executor = LocalExecutor(workers)
    assert list(executor.map(eval, SQUARES)) == [i * i for i in range(20)]
    results = list(executor.map(eval, WRONG))
    executor.close()
    assert results[:2] + results[3:] == [0, 1, 3]
    assert results[2] == Failure("ValueError: invalid literal for int() with base 10: 'two'")


def test_a_worker_that_dies_takes_only_its_own_task_along():
    executor = LocalExecutor(2)
    results = list(executor.map(eval, DEADLY))
    executor.close()
    assert isinstance(results[1], Failure)
    assert [r for r in results if not isinstance(r, Failure)] == [0, 2, 3, 4]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_attempt(tmp_path, workers):
    names = [str(tmp_path / name) for name in "abc"]
    executor = LocalExecutor(workers)
    assert list(executor.map(eval, [ONCE.format(name, name) for name in names[:2]])) == ["done", "done"]
    executor.close()
    (only,) = LocalExecutor(0, attempts=1).map(eval, [ONCE.format(names[2], names[2])])
    assert only == Failure("ZeroDivisionError: division by zero")


def executors(tmp_path):
    yield "submitit", lambda attempts: SlurmExecutor(tmp_path / "slurm", jobs=3, attempts=attempts, cluster="local")
    yield "daft", lambda attempts: DaftExecutor(attempts=attempts)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["submitit", "daft"])
def test_the_same_on_other_engines(tmp_path, library):
    pytest.importorskip(library)
    make = dict(executors(tmp_path))[library]
    assert list(make(1).map(eval, SQUARES)) == [i * i for i in range(20)]
    results = list(make(1).map(eval, WRONG))
    assert results[:2] + results[3:] == [0, 1, 3]
    assert results[2] == Failure("ValueError: invalid literal for int() with base 10: 'two'")
    name = str(tmp_path / "once")
    assert list(make(2).map(eval, [ONCE.format(name, name)])) == ["done"]
    assert list(make(1).map(eval, [])) == []
