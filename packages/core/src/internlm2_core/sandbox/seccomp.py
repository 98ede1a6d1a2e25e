"""The system calls that programs may not make, as a filter for the kernel (seccomp-BPF).

Namespaces already hide the network, other processes and files. The filter closes what they leave open: sockets that
belong to no network namespace (``AF_VSOCK`` reaches a virtual machine's host), ways to make namespaces and mounts anew,
the keyring, tracing, and memory that no other limit counts (``memfd``, System V shared memory).
"""

import errno
import platform
import struct
from dataclasses import dataclass

SYSCALLS = {
    # name: (x86_64, arm64), from the kernel's unistd.h. None where the architecture has no such call.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "mknod": (133, None), "mknodat": (259, 33), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "vmsplice": (278, 75),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "create_module": (174, None), "swapon": (167, 224), "swapoff": (168, 225),
    "reboot": (169, 142), "syslog": (103, 116), "vhangup": (153, 58), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "personality": (135, 92), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "move_pages": (279, 239), "migrate_pages": (256, 238), "mbind": (237, 235),
    "set_mempolicy": (238, 237),
}  # fmt: skip
"""Refused with EPERM."""
ABSENT = {"clone3": (435, 435), "memfd_create": (319, 279), "memfd_secret": (447, 447)}
"""Refused with ENOSYS, upon which callers take another way."""
SOCKET, CLONE, PRLIMIT = (41, 198), (56, 220), (302, 261)
NEWEST = 450
"""Calls above this number came after this table was written."""

NEW_NAMESPACES = 0x7E020080
"""Flags of ``clone`` that make a namespace: time, mount, cgroup, UTS, IPC, user, PID, network."""
AF_UNIX = 1
X32 = 0x40000000

_LOAD, _JUMP_EQUAL, _JUMP_OVER, _JUMP_ANY, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


@dataclass(frozen=True)
class Machine:
    """What the filter must know of the processor.

    Attributes:
        audit: The kernel's number of the architecture.
        column: Its column in the table of calls.
    """

    audit: int
    column: int


MACHINES = {"x86_64": Machine(0xC000003E, 0), "aarch64": Machine(0xC00000B7, 1)}


def seccomp_filter(machine: str | None = None) -> bytes:
    """The filter, as an array of ``struct sock_filter``.

    Args:
        machine: Processor, as ``uname -m`` says it. None means this one.

    Raises:
        ValueError: If its system calls are not known.
    """
    machine = machine or platform.machine()
    if machine not in MACHINES:
        raise ValueError(f"machine={machine!r} must be one of {', '.join(MACHINES)}.")
    about = MACHINES[machine]
    column = about.column
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_EQUAL, about.audit, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        # x32 calls have numbers of their own and are above the newest, like calls that nobody has looked at.
        _step(_JUMP_OVER, NEWEST, 0, 1),
        _step(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for calls, error in ((SYSCALLS, errno.EPERM), (ABSENT, errno.ENOSYS)):
        for numbers in calls.values():
            if numbers[column] is not None:
                steps += [_step(_JUMP_EQUAL, numbers[column], 0, 1), _step(_RETURN, _ERRNO | error)]
    # Sockets are for pairs and servers among the program's own processes. It sets limits of its own process alone.
    steps += _unless_first_argument(SOCKET[column], _JUMP_EQUAL, AF_UNIX, allowed_if=True)
    steps += _unless_first_argument(PRLIMIT[column], _JUMP_EQUAL, 0, allowed_if=True)
    steps += _unless_first_argument(CLONE[column], _JUMP_ANY, NEW_NAMESPACES, allowed_if=False)
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _unless_first_argument(number: int, jump: int, value: int, allowed_if: bool) -> list[bytes]:
    """Refuse a call unless its first argument passes a comparison."""
    return [
        _step(_JUMP_EQUAL, number, 0, 4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(jump, value, *((0, 1) if allowed_if else (1, 0))),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ERRNO | errno.EPERM),
    ]


def _step(code: int, value: int | None, if_true: int = 0, if_false: int = 0) -> bytes:
    assert value is not None
    return struct.pack("HBBI", code, if_true, if_false, value)
