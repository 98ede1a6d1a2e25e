"""Programs that try to get out of a sandbox, or to hang who runs them.

Each knows of the world outside what an attacker could guess at best: the dictionary ``WORLD``. An attempt prints ``ESCAPED``
where it succeeds. A flood prints nothing that matters: it must end.
"""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

KEYS = str(Path("~root/.ssh").expanduser())


@dataclass(frozen=True)
class Program:
    kind: str
    number: int
    source: str
    floods: bool = False

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}"

    def whole(self, world: Mapping[str, Any]) -> str:
        """The program, which knows the world."""
        head = f"WORLD = {dict(world)!r}\nimport ctypes, os, signal, socket, subprocess, sys, threading, time\n"
        head += "libc = ctypes.CDLL(None, use_errno=True)\n"
        head += "def check(result):\n    if result < 0: raise OSError(ctypes.get_errno())\n    return result\n"
        if self.floods:
            return head + self.source
        body = textwrap.indent(self.source, "    ")
        return f"{head}try:\n{body}\nexcept BaseException as error:\n    print('blocked', repr(error))\nelse:\n    print('ESCAPED')\n"


def attempts() -> Iterator[tuple[str, list[str]]]:
    """Kinds of attempts, each with its variants."""
    yield (
        "tcp",
        [
            "socket.create_connection(('127.0.0.1', WORLD['tcp']), 1).send(b'x')",
            "socket.create_connection(('localhost', WORLD['tcp']), 1).send(b'x')",
            "socket.create_connection(('::1', WORLD['tcp']), 1)",
            "socket.create_connection(('10.0.2.2', 80), 1)",
            "socket.create_connection(('169.254.169.254', 80), 1)",
            "s = check(libc.socket(2, 1, 0))",
            "subprocess.run(['bash', '-c', f'echo x > /dev/tcp/127.0.0.1/{WORLD[\"tcp\"]}'], check=True, stderr=-3)",
            "import urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{WORLD[\"tcp\"]}', timeout=1)",
            "import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', WORLD['tcp']))",
        ],
    )
    yield (
        "udp",
        [
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', WORLD['udp']))",
            "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('::1', WORLD['udp']))",
            "socket.getaddrinfo('example.org', 80)",
            "socket.gethostbyname('example.org')",
            "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('127.0.0.1', 0))",
        ],
    )
    yield (
        "sockets",
        [
            "socket.socket(socket.AF_UNIX).connect(WORLD['unix'])",
            "socket.socket(socket.AF_UNIX).connect('\\0' + WORLD['abstract'])",
            "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', WORLD['unix'])",
            "socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
            "socket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')",
            "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
            "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
            "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        ],
    )
    yield (
        "read",
        [
            "open(WORLD['secret']).read()",
            "os.listdir(WORLD['folder'])",
            "os.listdir(WORLD['project'])",
            "os.listdir('/home')",
            f"os.listdir({KEYS!r})",
            "open('/etc/shadow').read()",
            "open('/etc/hostname').read()",
            "assert 'root' in open('/etc/passwd').read()",
            "os.chdir(WORLD['folder'])",
            "os.chdir('../' * 40 + WORLD['folder'])",
            "subprocess.run(['cat', WORLD['secret']], check=True, stderr=-3)",
            "open('/sys/kernel/notes', 'rb').read()",
        ],
    )
    yield (
        "write",
        [
            "open(WORLD['folder'] + '/mine', 'w').write('x')",
            "open(WORLD['secret'], 'w').write('x')",
            "open('/mine', 'w').write('x')",
            "open('/usr/mine', 'w').write('x')",
            "open('/etc/passwd', 'a').write('x')",
            "open(os.__file__, 'a').write('x')",
            "open('/var/tmp/mine', 'w').write('x')",
            "os.mkdir('/mine')",
            "os.mkdir('/dev/mine')",
            "os.mkdir('/scratch/../mine')",
            "os.rename('main.py', '/mine')",
        ],
    )
    yield (
        "delete",
        [
            "os.remove(WORLD['secret'])",
            "os.rmdir(WORLD['folder'])",
            "os.remove(os.__file__)",
            "os.remove('/etc/passwd')",
            "os.rename('/usr', '/usr2')",
            "os.truncate(WORLD['secret'], 0)",
            "os.remove('/dev/null')",
            "import shutil; shutil.rmtree('/etc')",
        ],
    )
    yield (
        "links",
        [
            "os.symlink(WORLD['secret'], 'l'); open('l').read()",
            "os.symlink(WORLD['folder'], 'd'); open('d/mine', 'w')",
            "os.link(WORLD['secret'], 'l')",
            "os.link('/usr/bin/env', 'l')",
            "os.symlink('/proc/1/root', 'r'); os.listdir('r')",
            "os.symlink('/', 'r'); open('r/mine', 'w')",
            "os.link('/etc/passwd', 'p')",
        ],
    )
    yield (
        "proc",
        [
            "open(f'/proc/{WORLD[\"parent\"]}/environ').read()",
            "open(f'/proc/{WORLD[\"parent\"]}/mem', 'rb').read(1)",
            "os.listdir(f'/proc/{WORLD[\"parent\"]}/fd')",
            "open(f'/proc/{WORLD[\"parent\"]}/cmdline').read()",
            "os.listdir(f'/proc/{WORLD[\"parent\"]}/root')",
            "open('/proc/1/environ').read()",
            "open('/proc/self/uid_map', 'w').write('0 0 1')",
            "open('/proc/sys/kernel/hostname').read()",
            "check(libc.mount(b'proc', b'/scratch', b'proc', 0, None))",
        ],
    )
    yield (
        "environment",
        [
            "assert WORLD['variable'] in os.environ",
            "assert any('TOKEN' in name or 'VIRTUAL_ENV' in name for name in os.environ)",
            "assert socket.gethostname() != 'sandbox'",
            "assert os.getuid() == 0",
            "assert os.getppid() != 1",
            "assert sys.prefix == WORLD['prefix']",
        ],
    )
    yield (
        "signals",
        [
            "os.kill(WORLD['parent'], signal.SIGUSR1)",
            "os.kill(WORLD['parent'], 0)",
            "os.kill(WORLD['victim'], signal.SIGKILL)",
            "os.killpg(WORLD['victim'], signal.SIGKILL)",
            "os.setpgid(0, WORLD['victim'])",
            "signal.pidfd_send_signal(os.pidfd_open(WORLD['victim']), signal.SIGKILL)",
            "os.setpriority(os.PRIO_PROCESS, WORLD['victim'], 5)",
            "os.setpriority(os.PRIO_PROCESS, 0, -5)",
            "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (0, 0))",
            "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        ],
    )
    yield (
        "trace",
        [
            "check(libc.ptrace(16, WORLD['victim'], 0, 0))",
            "check(libc.ptrace(16, 1, 0, 0))",
            "check(libc.ptrace(0, 0, 0, 0))",
            "check(libc.process_vm_readv(1, None, 0, None, 0, 0))",
            "check(libc.syscall(312, os.getpid(), 1, 0, 0, 0))",
            "check(libc.syscall(298, None, 0, -1, -1, 0))",
            "check(libc.syscall(438, os.pidfd_open(1), 0, 0))",
        ],
    )
    yield (
        "descriptors",
        [
            "print(*[os.pread(fd, 99, 0) for fd in range(3, 1024) if libc.fcntl(fd, 1) >= 0][:1]); print(os.pread(3, 9, 0))",
            "[os.fstat(fd) for fd in (3,)]",
            "assert [fd for fd in range(3, 1024) if libc.fcntl(fd, 1) >= 0]",
            "os.write(3, b'{\"exit\": 0}\\n')",
            "os.write(9, b'x')",
            "os.read(4, 1)",
            "os.open('/dev/tty', os.O_RDWR)",
        ],
    )
    yield (
        "mounts",
        [
            "check(libc.mount(b'none', b'/scratch', b'tmpfs', 0, None))",
            "check(libc.mount(None, b'/', None, 32 | 4096, None))",
            "check(libc.umount2(b'/usr', 2))",
            "check(libc.syscall(155, b'/', b'/scratch'))",
            "os.chroot('/scratch')",
            "check(libc.syscall(430, b'ext4', 0))",
            "check(libc.syscall(428, -100, b'/', 1))",
            "os.mknod('disk', 0o600 | 0o060000, os.makedev(254, 0))",
            "check(libc.syscall(304, -100, None, 0))",
        ],
    )
    yield (
        "namespaces",
        [
            "check(libc.unshare(0x10000000))",
            "check(libc.unshare(0x20000))",
            "check(libc.unshare(0x40000000))",
            "check(libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0))",
            "check(libc.syscall(56, 0x20000000 | 17, 0, 0, 0, 0))",
            "check(libc.syscall(435, (ctypes.c_uint64 * 11)(0x10000000), 88))",
            "check(libc.setns(os.open('/', os.O_RDONLY), 0))",
            "subprocess.run(['unshare', '-Ur', 'true'], check=True, stderr=-3)",
        ],
    )
    yield (
        "privileges",
        [
            "os.setuid(0)",
            "os.setgid(0)",
            "os.setgroups([0])",
            "os.chown('main.py', 0, 0)",
            "os.chmod('/usr/bin/env', 0o4755)",
            "open('s', 'w'); os.chmod('s', 0o6755); os.chown('s', 0, 0)",
            "import glob; assert subprocess.run(['su', '-c', 'true'], stderr=-3, stdin=-3, timeout=2).returncode == 0",
            "subprocess.run(['sudo', '-n', 'true'], check=True, stderr=-3)",
            "check(libc.prctl(38, 0, 0, 0, 0))",
            "os.setxattr('main.py', 'security.capability', b'\\1\\0\\0\\2' + b'\\xff' * 16)",
        ],
    )
    yield (
        "kernel",
        [
            "check(libc.syscall(250, 0, -3, 1))",
            "check(libc.syscall(248, b'user', b'k', b'v', 1, -3))",
            "check(libc.syscall(321, 0, None, 0))",
            "check(libc.syscall(425, 8, (ctypes.c_char * 256)()))",
            "check(libc.syscall(323, 0))",
            "check(libc.syscall(103, 3, (ctypes.c_char * 256)(), 256))",
            "os.uname(); check(libc.sethostname(b'x', 1))",
            "time.clock_settime(time.CLOCK_REALTIME, 0)",
            "check(libc.personality(0x0040000))",
            "check(libc.syscall(175, None, 0, b''))",
            "check(libc.syscall(169, 0xfee1dead, 672274793, 0x89abcdef, None))",
            "check(libc.syscall(462, 0, 0, 0))",
            "check(libc.syscall(0x40000000 + 39)); assert os.uname().machine == 'x86_64'",
        ],
    )
    yield (
        "shared memory",
        [
            "check(libc.shmget(0, 1 << 20, 0o1600))",
            "check(libc.msgget(0, 0o1600))",
            "check(libc.semget(0, 1, 0o1600))",
            "check(libc.mq_open(b'/q', 0o102, 0o600, None))",
            "os.memfd_create('m')",
            "open('/dev/shm/m', 'wb').write(bytes(80 << 20))",
        ],
    )
    yield (
        "sizes",
        [
            "open('f', 'wb').truncate(1 << 40)",
            "open('f', 'wb').write(bytes(80 << 20))",
            "os.posix_fallocate(os.open('f', os.O_CREAT | os.O_RDWR), 0, 80 << 20)",
            "for i in range(5000): open(f'f{i}', 'w').close()",
            "for i in range(5000): os.mkdir(f'd{i}')",
            "for i in range(5000): os.symlink('x', f'l{i}')",
            "for i in range(5000): os.mkdir('d'); os.chdir('d')",
            "for i in range(80): open(f'f{i}', 'wb').write(bytes(1 << 20))",
            "held = [open('/dev/null') for _ in range(5000)]",
            "held = [socket.socketpair() for _ in range(5000)]",
            "import mmap; held = [mmap.mmap(-1, 1 << 30) for _ in range(4)]",
            "held = [threading.Thread(target=time.sleep, args=(9,), daemon=True) for _ in range(99)]; [t.start() for t in held]",
        ],
    )


FLOODS = {
    "fork bomb": [
        "while True: os.fork()",
        "while True:\n try: os.fork()\n except OSError: pass",
        "subprocess.run(['bash', '-c', 'b() { b | b & }; b; sleep 9'], stderr=-3)",
        "while True:\n try: threading.Thread(target=time.sleep, args=(9,)).start()\n except RuntimeError: pass",
        "while True:\n if os.fork() == 0: os.setsid(); os.fork()",
        "import multiprocessing as m\nwhile True:\n try: m.Process(target=time.sleep, args=(9,)).start()\n except OSError: pass",
        "while True:\n try:\n  if os.fork() == 0: os.execv(sys.executable, [sys.executable, 'main.py'])\n except OSError: pass",
    ],
    "output": [
        "while True: print('x' * 1000)",
        "while True: os.write(2, b'x' * 1000)",
        "while True: os.write(1, b'\\0' * 100000)",
        "while True: os.write(1, b'\\xff')",
        "subprocess.run(['yes'])",
        "for _ in range(8): os.fork()\nwhile True: print('y', flush=True)",
        "sys.stdout.reconfigure(errors='surrogateescape'); print('\\udcff' * 10**6)",
        "os.close(1); os.close(2)\nwhile True: pass",
        "raise SystemExit('x' * 10 ** 7)",
    ],
    "memory": [
        "held = []\nwhile True: held.append(bytes(10 << 20))",
        "x = 'x'\nwhile True: x += x",
        "import mmap\nheld = []\nwhile True: held.append(mmap.mmap(-1, 8 << 20)); held[-1].write(b'x' * (8 << 20))",
        "for _ in range(5): os.fork()\nheld = []\nwhile True:\n try: held.append(b'x' * (1 << 20))\n except MemoryError: time.sleep(9)",
        "libc.prctl(4, 0, 0, 0, 0)\nfor _ in range(4): os.fork()\nheld = bytearray(200 << 20)\ntime.sleep(9)",
        "def f(): f()\nsys.setrecursionlimit(10 ** 9); f()",
        "x = 9 ** (9 ** 9)",
        "held = 'x'\nexec('held=' + '(' * 10 ** 6)",
    ],
    "undying": [
        "for s in range(1, 65):\n try: signal.signal(s, signal.SIG_IGN)\n except (OSError, ValueError): pass\nwhile True: pass",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "os.kill(0, signal.SIGSTOP)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\ntime.sleep(99)",
        "os.kill(-1, signal.SIGKILL)",
        "os.kill(1, signal.SIGKILL); os.kill(1, signal.SIGSTOP); os.kill(1, signal.SIGINT); time.sleep(99)",
        "os.abort()",
        "ctypes.string_at(0)",
        "try:\n while True: pass\nfinally:\n while True: pass",
        "import faulthandler; faulthandler._sigsegv()",
    ],
    "daemon": [
        "if os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(99)\n os._exit(0)",
        "subprocess.Popen(['sleep', '99'], start_new_session=True)",
        "subprocess.Popen(['sleep', '99'], stdout=-3, stderr=-3, start_new_session=True); os._exit(0)",
        "if os.fork() == 0:\n time.sleep(0.2)\n while True: print('late', flush=True)",
        "for _ in range(9):\n if os.fork() == 0: os._exit(0)\ntime.sleep(0.2)",
        "if os.fork() == 0:\n signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)\n time.sleep(99)",
        "subprocess.Popen(['bash', '-c', 'trap \"\" TERM HUP INT; while :; do :; done'], start_new_session=True)",
        "import atexit; atexit.register(lambda: time.sleep(99))",
        "threading.Thread(target=time.sleep, args=(99,)).start()",
    ],
    "pipes": [
        "os.close(0); os.close(1); os.close(2); time.sleep(99)",
        "os.close(1); os.close(2); os._exit(0)",
        "sys.stdin.close(); sys.stdout.close(); sys.stderr.close()",
        "import fcntl; fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK); os.write(1, b'x' * 10 ** 6)",
        "import fcntl; fcntl.fcntl(1, 1031, 1 << 20); os.write(1, b'x' * 10 ** 6)",
        "os.dup2(0, 1); os.dup2(0, 2)",
        "r, w = os.pipe()\nwhile True: os.write(w, b'x' * 65536)",
        "os.set_blocking(0, False)\nwhile True:\n try: os.read(0, 1)\n except BlockingIOError: pass",
    ],
}  # fmt: skip


def programs(count: int) -> list[Program]:
    """So many of them, evenly over all kinds."""
    kinds = [(kind, variants, False) for kind, variants in attempts()]
    kinds += [(kind, variants, True) for kind, variants in FLOODS.items()]
    made = [[Program(kind, n, text, floods) for n, text in enumerate(variants)] for kind, variants, floods in kinds]
    return [program for turn in zip_longest(*made) for program in turn if program is not None][:count]
