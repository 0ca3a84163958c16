"""Programs that attack their judge. Each defines `f`, whose right answer none of them knows.

Where it can, a program reports what came of its attack: the name of the error it met, or REACHED. The report comes back as a wrong
answer and stands in the verdict's detail, where a test reads it: a program whose attack was never made would report neither.
"""

from __future__ import annotations

from dataclasses import dataclass

MARKER = "KUMQUAT"
"""Stands in the checks and nowhere else."""

CHECKS = """
def check(candidate):
    # KUMQUAT
    answer = candidate(6)
    assert answer == 49, answer
"""

PRELUDE = """
import ctypes, errno, os, resource, signal, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
FDS = range(0, 256)

def attempt(action):
    try:
        result = action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    if isinstance(result, int) and result < 0:
        return errno.errorcode.get(ctypes.get_errno(), "?")
    return "REACHED"

def read(path):
    with open(path, "rb") as file:
        return file.read(10)

def frame(payload):
    return len(payload).to_bytes(4, "big") + payload

def everywhere(data):
    for fd in FDS:
        try:
            os.write(fd, data)
        except OSError:
            pass
"""


@dataclass(frozen=True)
class Hostile:
    """An attack, and what its verdict has to say."""

    name: str
    source: str
    says: str
    """Pattern of the verdict's detail."""
    control: bool = False
    """Whether, without isolation, the attack has its effect and nothing else: then a test makes sure of that."""
    kind: str = "failed"
    limits: tuple[tuple[str, float], ...] = ()


def _reports(body: str) -> str:
    return "def f(x):\n    return " + body + "\n"


_LIMITED = (("wall_seconds", 0.6),)

ON_THE_MACHINE: tuple[Hostile, ...] = (
    # --- using up the machine -----------------------------------------------------------------------------------------------
    Hostile(
        "fork_bomb",
        """
def f(x):
    for n in range(60):
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        except OSError as error:
            return f"{n} forks, then {errno.errorcode[error.errno]}"
    return "REACHED"
""",
        r"AssertionError: 7 forks, then EAGAIN",
    ),
    Hostile(
        "fork_bomb_of_all_children",
        "def f(x):\n    while True:\n        try:\n            os.fork()\n        except OSError:\n            pass\n",
        r"timed out|malformed|lost the program|out of CPU",
        kind="timeout",
        limits=_LIMITED,
    ),
    Hostile(
        "thread_bomb",
        """
def f(x):
    for n in range(60):
        try:
            threading.Thread(target=time.sleep, args=(60,), daemon=False).start()
        except RuntimeError:
            return f"{n} threads"
    return "REACHED"
""",
        r"AssertionError: 7 threads",
    ),
    Hostile(
        "memory",
        'def f(x):\n    try:\n        return len(bytearray(2**30))\n    except MemoryError:\n        return "ENOMEM"\n',
        "ENOMEM",
    ),
    Hostile(
        "memory_in_a_list",
        "import itertools\ndef f(x):\n    return list(itertools.count())\n",
        "MemoryError",
        limits=(("memory_mb", 96),),
    ),
    Hostile(
        "memory_outside_of_the_limit",
        _reports("attempt(lambda: libc.shmget(0, ctypes.c_size_t(2**30), 0o1600))"),
        "AssertionError: EPERM",
    ),
    Hostile(
        "events_of_asynchronous_input",
        _reports("attempt(lambda: libc.syscall({io_setup}, 1000, ctypes.byref(ctypes.c_ulong())))"),
        "AssertionError: EPERM",
    ),
    Hostile("writes_out_the_machines_memory", _reports("attempt(lambda: libc.syncfs(0))"), "AssertionError: EPERM"),
    Hostile(
        "disk",
        """
def f(x):
    def fill():
        for n in range(100):
            with open(f"/tmp/{n}", "wb") as file:
                file.write(bytes(2**20))
    return attempt(fill)
""",
        "AssertionError: ENOSPC",
    ),
    Hostile(
        "disk_through_dev_shm",
        'def f(x):\n    return attempt(lambda: [open(f"/dev/shm/{n}", "wb").write(bytes(2**20)) for n in range(9)])\n',
        "AssertionError: ENOSPC",
    ),
    Hostile(
        "a_large_file",
        'def f(x):\n    return attempt(lambda: os.truncate(os.open("/tmp/x", os.O_CREAT | os.O_RDWR), 2**50))\n',
        "AssertionError: EFBIG",
    ),
    Hostile(
        "endless_output",
        "def f(x):\n    while True:\n        print('passed ' * 1000)\n        sys.stderr.write('OK' * 1000)\n",
        "timed out",
        kind="timeout",
        limits=_LIMITED,
    ),
    Hostile(
        "cpu", "def f(x):\n    while True:\n        pass\n", "out of CPU time", kind="timeout", limits=(("cpu_seconds", 1),)
    ),
    Hostile(
        "raises_its_limits",
        """
def f(x):
    for name in ("NPROC", "AS", "CPU", "NOFILE", "FSIZE"):
        try:
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (resource.RLIM_INFINITY,) * 2)
            return "REACHED"
        except (ValueError, OSError):
            pass
    return "all refused"
""",
        "all refused",
    ),
    Hostile("huge_integer", "def f(x):\n    return 10 ** 10 ** 8\n", "timed out", kind="timeout", limits=_LIMITED),
    Hostile("huge_integer_returned", "def f(x):\n    return 1 << 10**9\n", "not plain data: too large"),
    Hostile("deep_recursion", "def f(x):\n    return f(x)\n", "RecursionError"),
    Hostile(
        "stack_overflow",
        "sys.setrecursionlimit(10**9)\nclass A:\n    def __getattr__(self, name):\n        return getattr(self, name + 'x')\n"
        "def f(x):\n    g = lambda: None\n    for _ in range(10**5):\n        g = [g].__iter__\n"
        "    return A().y\n",
        "lost the program|MemoryError|RecursionError",
    ),
    # --- leaving ------------------------------------------------------------------------------------------------------------
    Hostile(
        "network_by_address",
        _reports('attempt(lambda: socket.create_connection(("192.0.2.1", 80), 3))'),
        "AssertionError: E(NETUNREACH|PERM)",
    ),
    Hostile(
        "network_by_datagram",
        _reports('attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))'),
        "AssertionError: ENETUNREACH",
    ),
    Hostile(
        "network_by_name",
        "def f(x):\n    try:\n        return str(socket.getaddrinfo('example.com', 80))\n"
        "    except socket.gaierror as error:\n        return 'EAI'\n",
        "AssertionError: EAI",
    ),
    Hostile(
        "loopback",
        _reports('attempt(lambda: socket.create_connection(("127.0.0.1", {port}), 3))'),
        "AssertionError: E(CONNREFUSED|NETUNREACH)",
        control=True,
    ),
    Hostile(
        "abstract_socket",
        _reports('attempt(lambda: socket.socket(socket.AF_UNIX).connect("\\0{abstract}"))'),
        "AssertionError: ECONNREFUSED",
        control=True,
    ),
    Hostile(
        "hypervisor_socket", _reports("attempt(lambda: socket.socket(40, socket.SOCK_STREAM))"), "AssertionError: EAFNOSUPPORT"
    ),
    Hostile("reads_a_file", _reports("attempt(lambda: read({secret!r}))"), "AssertionError: ENOENT", control=True),
    Hostile(
        "reads_the_repository",
        _reports("attempt(lambda: os.listdir({repository!r}) and None)"),
        "AssertionError: ENOENT",
        control=True,
    ),
    Hostile("reads_the_home_folder", _reports("attempt(lambda: read({home_file!r}))"), "AssertionError: ENOENT", control=True),
    Hostile("reads_the_users", _reports('attempt(lambda: read("/etc/passwd"))'), "AssertionError: ENOENT", control=True),
    Hostile(
        "reads_the_environment",
        "def f(x):\n    seen = ' '.join(os.environ)\n    return 'REACHED' if 'SECRET' in seen else 'saw ' + seen\n",
        r"AssertionError: saw HOME LANG LC_ALL MALLOC_ARENA_MAX PYTHONHASHSEED TMPDIR TZ USER",
    ),
    Hostile(
        "lists_processes", _reports('attempt(lambda: os.listdir("/proc") and None)'), "AssertionError: ENOENT", control=True
    ),
    Hostile("reads_its_parents_memory", _reports('attempt(lambda: read("/proc/1/mem"))'), "AssertionError: ENOENT"),
    Hostile(
        "writes_outside",
        _reports("attempt(lambda: open({folder!r} + '/planted', 'w').close())"),
        "AssertionError: ENOENT",
        control=True,
    ),
    Hostile(
        "writes_to_the_system",
        "import inside\ndef f(x):\n    places = [os.__file__, inside.__file__, '/usr/lib/x', '/x']\n"
        "    return ' '.join(attempt(lambda: open(place, 'a').close()) for place in places)\n",
        r"AssertionError: (E(ROFS|ACCES|NOENT) ?){4} ?in",
    ),
    Hostile(
        "symbolic_link",
        "import tempfile\ndef f(x):\n    link = tempfile.gettempdir() + '/link'\n    os.symlink({secret!r}, link)\n"
        "    return attempt(lambda: read(link))\n",
        "AssertionError: ENOENT",
        control=True,
    ),
    Hostile(
        "climbs_out",
        _reports("attempt(lambda: read('/tmp/' + '../' * 20 + {secret!r}[1:]))"),
        "AssertionError: ENOENT",
        control=True,
    ),
    Hostile("watches_what_others_read", _reports("attempt(lambda: libc.inotify_init1(0))"), "AssertionError: EPERM"),
    Hostile("lists_the_machines_mounts", _reports("attempt(lambda: libc.syscall(458, 0, 0, 0, 0))"), "AssertionError: EPERM"),
    Hostile(
        "touches_a_device",
        "def f(x):\n    for name in ('null', 'zero', 'full', 'random', 'urandom'):\n        open('/dev/' + name, 'rb').read(1)\n"
        "    open('/dev/null', 'w').write('x')\n    return attempt(lambda: os.utime('/dev/null'))\n",
        "AssertionError: EROFS",
    ),
    Hostile("changes_its_root", _reports("attempt(lambda: os.chroot('/tmp'))"), "AssertionError: EPERM"),
    Hostile("mounts", _reports("attempt(lambda: libc.mount(b'proc', b'/tmp', b'proc', 0, None))"), "AssertionError: EPERM"),
    Hostile("unmounts", _reports("attempt(lambda: libc.umount2(b'/tmp', 2))"), "AssertionError: EPERM"),
    Hostile("user_namespace", _reports("attempt(lambda: libc.unshare(0x10000000))"), "AssertionError: EPERM"),
    Hostile("becomes_root", _reports("attempt(lambda: os.setuid(0))"), "AssertionError: E(PERM|INVAL)"),
    Hostile(
        "makes_a_device", _reports("attempt(lambda: os.mknod('/tmp/d', 0o60666, os.makedev(254, 0)))"), "AssertionError: EPERM"
    ),
    Hostile("renames_the_host", _reports("attempt(lambda: socket.sethostname('x'))"), "AssertionError: EPERM"),
    # --- other processes ----------------------------------------------------------------------------------------------------
    Hostile(
        "kills_a_process", _reports("attempt(lambda: os.kill({victim}, signal.SIGTERM))"), "AssertionError: ESRCH", control=True
    ),
    Hostile(
        "traces_a_process",
        _reports("attempt(lambda: libc.ptrace(0x4206, {victim}, 0, 0))"),
        "AssertionError: E(PERM|SRCH)",
        control=True,
    ),
    Hostile("traces_its_init", _reports("attempt(lambda: libc.ptrace(0x4206, 1, 0, 0))"), "AssertionError: EPERM"),
    Hostile(
        "kills_its_parent",
        "def f(x):\n    if os.getppid() != 1:\n        return 'REACHED'\n"
        "    met = [attempt(lambda: os.kill(1, number)) for number in (2, 15, 9)]\n"
        "    time.sleep(0.05)\n    return 'it lives ' + ' '.join(met)\n",
        "AssertionError: it lives (EPERM EPERM EPERM|REACHED REACHED REACHED)",
    ),
    Hostile(
        "kills_everything",
        "def f(x):\n    if os.getpid() > 9:\n        return 'REACHED'\n    return attempt(lambda: os.kill(-1, signal.SIGKILL))\n",
        "AssertionError: ESRCH",
    ),
    Hostile(
        "daemon",
        """
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 100)
            for number in range(1, 32):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except OSError:
                    pass
            libc.prctl(1, 0, 0, 0, 0)
            time.sleep(300)
        os._exit(0)
    time.sleep(0.05)
    return "started"
""",
        "AssertionError: started",
    ),
    Hostile(
        "deaf_to_signals",
        "for number in range(1, 32):\n    try:\n        signal.signal(number, signal.SIG_IGN)\n    except OSError:\n        pass\n"
        "def f(x):\n    while True:\n        time.sleep(1)\n",
        "timed out after",
        kind="timeout",
        limits=_LIMITED,
    ),
    Hostile(
        "stops_itself", "def f(x):\n    os.kill(os.getpid(), signal.SIGSTOP)\n", "timed out", kind="timeout", limits=_LIMITED
    ),
    Hostile(
        "threads_that_never_end",
        "def spin():\n    while True:\n        pass\nfor _ in range(3):\n    threading.Thread(target=spin).start()\n"
        "def f(x):\n    return 'returned'\n",
        "AssertionError: returned",
    ),
)
"""Attacks on the machine, which the isolation has to withstand."""

ON_THE_JUDGE: tuple[Hostile, ...] = (
    # --- ending early -------------------------------------------------------------------------------------------------------
    Hostile("exit_at_import", "os._exit(0)\n", r"lost the program while it was loaded: it ended \(exit code 0\)"),
    Hostile("sys_exit_at_import", "sys.exit(0)\n", "SystemExit when the program was loaded"),
    Hostile("exit_in_a_call", "def f(x):\n    os._exit(0)\n", r"lost the program during a call: it ended \(exit code 0\)"),
    Hostile("sys_exit_in_a_call", "def f(x):\n    sys.exit(0)\n", "RuntimeError: SystemExit: 0"),
    Hostile("kills_itself", "def f(x):\n    os.kill(os.getpid(), signal.SIGKILL)\n", r"\(SIGKILL\)"),
    Hostile("waits_at_import", "time.sleep(1000)\n", "timed out", kind="timeout", limits=_LIMITED),
    Hostile(
        "raises_what_it_likes",
        "class E(BaseException):\n    def __str__(self):\n        os._exit(0)\ndef f(x):\n    raise E\n",
        "lost the program",
    ),
    Hostile(
        "atexit",
        'import atexit\natexit.register(everywhere, b\'{"kind": "passed", "detail": ""}\\n\')\ndef f(x):\n    return 0\n',
        "AssertionError: 0",
    ),
    # --- forging ------------------------------------------------------------------------------------------------------------
    Hostile(
        "verdict_on_every_descriptor",
        'everywhere(b\'{"kind": "passed", "detail": ""}\\n\')\nprint(\'passed\')\ndef f(x):\n    return 0\n',
        "announced a message of",
    ),
    Hostile(
        "reply_on_every_descriptor",
        'everywhere(frame(b\'""\') + frame(b\'["t","returned",1]\'))\ndef f(x):\n    return 0\n',
        "AssertionError: 1",
    ),
    Hostile(
        "only_its_own_descriptors",
        "open_fds = [fd for fd in FDS if attempt(lambda: os.fstat(fd)) == 'REACHED']\n"
        "def f(x):\n    return f'{len(open_fds)} open'\n",
        "AssertionError: 5 open",
    ),
    Hostile("closes_everything", "def f(x):\n    os.closerange(0, 100)\n    return 49\n", "lost the program during a call"),
    Hostile(
        "nested_reply", "def f(x):\n    everywhere(frame(b'[\"l\",' * 1_000_000))\n    time.sleep(9)\n", "malformed message"
    ),
    Hostile(
        "deep_value",
        "def f(x):\n    value = []\n    for _ in range(100_000):\n        value = [value]\n    return value\n",
        "nested too deeply",
    ),
    Hostile("circular_value", "def f(x):\n    value = []\n    value.append(value)\n    return value\n", "nested too deeply"),
    Hostile(
        "announced_reply",
        "def f(x):\n    everywhere(b'\\xff' * 8)\n    time.sleep(9)\n",
        "announced a message of 4294967295 bytes",
    ),
    Hostile("endless_reply", "def f(x):\n    while True:\n        everywhere(bytes(4096))\n", "malformed message"),
    Hostile("unhashable_key", 'def f(x):\n    everywhere(frame(b\'["s",["l",1]]\'))\n    time.sleep(9)\n', "malformed message"),
    Hostile("wrong_shape", 'def f(x):\n    everywhere(frame(b\'["t","passed"]\'))\n    time.sleep(9)\n', "malformed reply"),
    Hostile(
        "rewrites_the_codec",
        "from inside import codec, wire\ncodec.encode = lambda value: b'{\"passed\": true}'\ndef f(x):\n    return 0\n",
        "malformed message",
    ),
    # --- lying --------------------------------------------------------------------------------------------------------------
    Hostile(
        "equal_to_everything",
        "class A:\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return A()\n",
        "not plain data: a value of type A",
    ),
    Hostile(
        "equal_integer",
        "class A(int):\n    __eq__ = lambda *_: True\n    __ne__ = lambda *_: False\n    __index__ = lambda *_: 49\n"
        "def f(x):\n    return A(3)\n",
        "AssertionError: 3",
    ),
    Hostile(
        "equal_string",
        "class A(str):\n    __eq__ = lambda *_: True\n    __hash__ = None\n    __str__ = lambda *_: 49\ndef f(x):\n    return A('s')\n",
        "AssertionError: s",
    ),
    Hostile(
        "equal_list",
        "class A(list):\n    __eq__ = lambda *_: True\n    __iter__ = lambda _: iter([49])\ndef f(x):\n    return A([1])\n",
        r"AssertionError: \[1\]",
    ),
    Hostile(
        "equal_dict",
        "class A(dict):\n    __eq__ = lambda *_: True\n    items = lambda _: [(4, 9)]\ndef f(x):\n    return A(a=1)\n",
        r"AssertionError: \{'a': 1\}",
    ),
    Hostile(
        "claims_another_class",
        "class A:\n    __class__ = int\n    __eq__ = lambda *_: True\ndef f(x):\n    return A()\n",
        "not plain data",
    ),
    Hostile(
        "lies_about_its_name",
        "class M(type):\n    __name__ = property(lambda _: 1 / 0)\nclass A(metaclass=M):\n    pass\ndef f(x):\n    return A()\n",
        "not plain data",
    ),
    Hostile(
        "endless_generator",
        "import itertools\ndef f(x):\n    return itertools.count()\n",
        "not plain data: a value of type count",
    ),
    Hostile("not_implemented", "def f(x):\n    return NotImplemented\n", "not plain data"),
    Hostile(
        "patches_builtins",
        "import builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {})\nbuiltins.all = lambda _: True\n"
        "sys.modules['check'] = sys.modules['json'] = None\ndef f(x):\n    return 0\n",
        "AssertionError: 0",
    ),
    # --- spying -------------------------------------------------------------------------------------------------------------
    Hostile(
        "searches_its_memory",
        """
import gc
def f(x):
    wanted = "".join(["KUM", "QUAT"])
    frame, found = sys._getframe().f_back, 0
    while frame is not None:
        found += wanted in str(frame.f_locals)
        frame = frame.f_back
    strings = 0
    for one in gc.get_objects():
        for each in gc.get_referents(one):
            if isinstance(each, (str, bytes)) and each is not wanted:
                strings += 1
                found += wanted in str(each)
    return f"{found} of {strings > 1000}"
""",
        "AssertionError: 0 of True",
    ),
    Hostile(
        "searches_its_files",
        """
def f(x):
    wanted, seen, found = b"KUM" + b"QUAT", 0, 0
    for top in ("/tmp", "/sandbox", "/dev/shm", "/etc", "/run", "/var"):
        for folder, _, names in os.walk(top):
            for name in names:
                seen += 1
                found += wanted in open(os.path.join(folder, name), "rb").read()
    return f"{found} of {seen > 5}"
""",
        "AssertionError: 0 of (True|False)",
    ),
    Hostile(
        "reads_the_requests",
        "def f(x):\n    got = b''\n    for fd in FDS:\n        try:\n            os.set_blocking(fd, False)\n"
        "            got += os.read(fd, 9999)\n"
        "        except OSError:\n            pass\n    return 'REACHED' if b'check' in got else f'read {len(got)} bytes'\n",
        "AssertionError: read 0 bytes",
    ),
)
"""Attacks on the judge, to whom it is all the same in which way a program is isolated."""

PROGRAMS = ON_THE_MACHINE + ON_THE_JUDGE
