"""Builds a sandbox around one program and waits for it. A process of its own, with Python's standard library alone.

    caller ── warden ─┬─ init, process 1 of the sandbox ─┬─ the program
     plan →           │  no capabilities, own user       │  + limits, system call filter
     ← status         │                                  └─ its children, even those that left it
                      └ outside, holds what the caller holds

When the caller ends in whatever way, its end of ``lifeline`` closes, and the warden kills init. When the warden ends,
the kernel kills init. When init ends, the kernel kills all processes of the sandbox, and its files are gone: they only
ever were in memory.
"""

import base64
import ctypes
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
SYSCALLS = {"x86_64": {"pivot_root": 155}, "aarch64": {"pivot_root": 41}}
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
NAMESPACES = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET
PDEATHSIG, SET_DUMPABLE, SET_SECCOMP, CAPBSET_DROP, SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
CAP_SETUID, CAP_SYS_ADMIN = 7, 21
DEVICES = ("null", "zero", "full", "random", "urandom")


class RefusedError(Exception):
    """The kernel does not give what isolation needs."""


def call(step: str, function: str, *arguments: Any) -> None:
    """Call a function of libc.

    Args:
        step: What it is for, in words.
        function: Its name.
        arguments: Integers, bytes or None.
    """
    longs = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    if getattr(LIBC, function)(*longs) == -1:
        raise RefusedError(f"{step}: {os.strerror(ctypes.get_errno())}")


def main() -> None:
    """Build the sandbox, start init in it, and stay until it or the caller ends."""
    status, lifeline = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (status, lifeline):
        os.set_inheritable(descriptor, False)
    plan = json.loads(exactly(lifeline, int.from_bytes(exactly(lifeline, 8), "big")))
    try:
        procfs = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        layers = namespaces(plan, procfs)
        new_root(plan)
    except (RefusedError, OSError) as error:
        say(status, refused=str(error))
        return
    say(status, layers=layers)
    alive, warden_lives = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(warden_lives)
        os.close(lifeline)
        be_init(plan, status, alive, procfs)
    say(status, init=init)
    for descriptor in (status, alive, procfs, 0, 1, 2):
        os.close(descriptor)
    ended = os.pidfd_open(init)
    select.select([ended, lifeline], [], [])
    os.kill(init, signal.SIGKILL)  # our own child, not waited for: the number is still its
    os.waitpid(init, 0)


def exactly(descriptor: int, count: int) -> bytes:
    """Read so many bytes. Ends this process if the caller has gone.

    Args:
        descriptor: Where they come from.
        count: How many.
    """
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 16))
        if not part:
            sys.exit(1)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def say(status: int, **message: Any) -> None:
    """Tell the caller, as one line of JSON.

    Args:
        status: The pipe to it.
        message: What is told.
    """
    os.write(status, json.dumps(message).encode() + b"\n")


def namespaces(plan: dict[str, Any], procfs: int) -> list[str]:
    """Leave the caller's namespaces.

    A privileged caller builds mounts first and takes a user namespace last, so that the program's namespace has no
    power over the mounts. Others get the power to mount from their user namespace.

    Args:
        plan: What the caller sent.
        procfs: Descriptor of the caller's /proc.

    Returns:
        What was left, in words.
    """
    plan["privileged"] = privileged(plan["uid"])
    if plan["privileged"]:
        call("mount, network, process, IPC and host name namespaces", "unshare", NAMESPACES)
    else:
        call("user namespace", "unshare", NEWUSER)
        map_user(procfs, plan["uid"], plan["caller"])
        call("mount, network, process, IPC and host name namespaces", "unshare", NAMESPACES)
    call("host name", "sethostname", b"sandbox", 7)
    return ["user", "mount", "network", "process", "ipc", "host name", "cgroup"]


def privileged(uid: int) -> bool:
    """Whether we may make namespaces and become that user outside of a user namespace of our own."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held = int(status["CapEff"], 16)
    mapped = [[int(part) for part in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return all(held >> bit & 1 for bit in (CAP_SETUID, CAP_SYS_ADMIN)) and any(
        first <= uid < first + count for first, _, count in mapped
    )


def map_user(procfs: int, inside: int, outside: Sequence[int]) -> None:
    """Say who we are in the user namespace that we just made.

    Args:
        procfs: Descriptor of the caller's /proc.
        inside: User and group number there.
        outside: User and group number in the namespace above.
    """
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside} {outside[0]} 1"),
        ("gid_map", f"{inside} {outside[1]} 1"),
    ):
        file = os.open(f"self/{name}", os.O_WRONLY, dir_fd=procfs)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)


def new_root(plan: dict[str, Any]) -> None:
    """Replace all files by an empty folder in memory, with a few of the old ones to read."""
    call("private mounts", "mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    call("root folder", "mount", b"tmpfs", b"/tmp", b"tmpfs", MS_NOSUID, b"size=1m,nr_inodes=256,mode=0755")
    os.chdir("/tmp")
    Path("old").mkdir()
    call("new root", "syscall", SYSCALLS[os.uname().machine]["pivot_root"], b".", b"old")
    os.chdir("/")
    for path in plan["readable"]:
        show(f"/old{path[0]}", path[1])
    for path in plan["hidden"]:
        flags = MS_RDONLY | MS_NOSUID | MS_NODEV
        call(f"empty {path}", "mount", b"tmpfs", path.encode(), b"tmpfs", flags, b"size=4k,nr_inodes=1")
    for name in DEVICES:
        show(f"/old/dev/{name}", f"/dev/{name}", device=True)
    for path, target in plan["links"]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).symlink_to(target)
    for path, text in plan["etc"].items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    Path("/scratch").mkdir()
    limits = plan["limits"]
    size = f"size={limits['files_bytes']},nr_inodes={limits['files'] + 1},mode=0777"
    call("scratch folder", "mount", b"tmpfs", b"/scratch", b"tmpfs", MS_NOSUID | MS_NODEV, size.encode())
    call("old root", "umount2", b"/old", MNT_DETACH)
    Path("/old").rmdir()
    call("read-only root", "mount", None, b"/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, None)


def show(source: str, target: str, device: bool = False) -> None:
    """Make a file or folder of the old root readable.

    Args:
        source: Where it is.
        target: Where the program finds it.
        device: Whether it is a device, which is written to as well.
    """
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    call(f"mount of {target}", "mount", source.encode(), target.encode(), None, MS_BIND | MS_REC, None)
    attributes = (ctypes.c_uint64 * 4)(ATTR_NOSUID | (0 if device else ATTR_RDONLY | ATTR_NODEV), 0, 0, 0)
    call(
        f"read-only {target}", "syscall", MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, 32
    )  # fmt: skip


def be_init(plan: dict[str, Any], status: int, alive: int, procfs: int) -> NoReturn:
    """Give up all power, start the program, and wait for it while reaping what others leave.

    Args:
        plan: What the caller sent.
        status: The pipe to it.
        alive: A pipe that ends with the warden.
        procfs: Descriptor of the caller's /proc.
    """
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 cannot be hit by signals that it does not handle
        if plan["privileged"]:
            uid = plan["uid"]
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            call("own files in /proc", "prctl", SET_DUMPABLE, 1, 0, 0, 0)  # not ours while it is off, as after setuid
            call("user namespace", "unshare", NEWUSER)
            map_user(procfs, uid, (uid, uid))
        os.close(procfs)
        powerless()
        call("end with the warden", "prctl", PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if select.select([alive], [], [], 0)[0]:
            os._exit(1)
        os.umask(0o022)
        os.chdir("/scratch")
        for name, text in plan["files"].items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(text.encode("utf-8", "replace"))
        program = os.fork()
        if program == 0:
            be_program(plan, status)
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        ended = 0
        while ended != program:
            ended, code = os.waitpid(-1, 0)
        say(status, exit=os.waitstatus_to_exitcode(code))
    except BaseException as error:
        say(status, refused=str(error))
    os._exit(0)


def powerless() -> None:
    """Drop every capability, for good."""
    last = 0
    while LIBC.prctl(CAPBSET_DROP, ctypes.c_long(last), 0, 0, 0) == 0:
        last += 1
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    call("capabilities", "capset", header, (ctypes.c_uint32 * 6)())
    call("no new privileges", "prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def be_program(plan: dict[str, Any], status: int) -> NoReturn:
    """Take the limits and the filter of system calls, and become the program.

    Args:
        plan: What the caller sent.
        status: The pipe to it.
    """
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for name, value in plan["rlimits"].items():
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        steps = base64.b64decode(plan["filter"])
        buffer = ctypes.create_string_buffer(steps, len(steps))

        class Filter(ctypes.Structure):
            _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_void_p))

        whole = Filter(len(steps) // 8, ctypes.addressof(buffer))
        call("system call filter", "prctl", SET_SECCOMP, 2, ctypes.byref(whole), 0, 0)
        os.execve(plan["command"][0], plan["command"], plan["environment"])
    except BaseException as error:
        say(status, refused=str(error))
    os._exit(127)


main()
