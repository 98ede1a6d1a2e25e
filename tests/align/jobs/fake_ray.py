"""As much of Ray as roles use, in this process. Everything that would go to another process is pickled on its way."""

import sys
from types import ModuleType, SimpleNamespace

import cloudpickle


class RayActorError(Exception):
    """An actor has died."""


def copied(value):
    return cloudpickle.loads(cloudpickle.dumps(value))


class Handle:
    """An actor."""

    def __init__(self, kind, options, args):
        self.options, self.is_alive = options, True
        self.object = kind(*args)
        self.call = SimpleNamespace(remote=self.begin)

    def begin(self, method, *args, **keywords):
        args = [arg.value if isinstance(arg, Reference) else copied(arg) for arg in args]
        if not self.is_alive:
            return Reference(RayActorError())
        return Reference(copied(self.object.call(method, *args, **copied(keywords))))


class Reference:
    """Something in the store."""

    def __init__(self, value):
        self.value = value


def remote(kind):
    def options(**asked):
        return SimpleNamespace(remote=lambda *args: Handle(kind, asked, copied(args)))

    return SimpleNamespace(options=options)


def get(reference):
    if isinstance(reference.value, Exception):
        raise reference.value
    return reference.value


def kill(handle):
    handle.is_alive = False


def install(monkeypatch):
    """Put it in Ray's place."""
    fake = ModuleType("ray")
    fake.remote, fake.get, fake.kill, fake.is_initialized = remote, get, kill, lambda: True
    fake.put = lambda value: Reference(copied(value))
    fake.exceptions = SimpleNamespace(RayActorError=RayActorError)
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake
