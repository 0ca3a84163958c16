"""The last step before untrusted code runs: gives up every privilege, sets the limits, installs the system call filter."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from typing import Any

from .namespaces import NEW_NS, NEW_USER, check, die_with_parent, libc, protect_devices, unshare

NOBODY = 65534
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 24, 47, 38, 22
_CAP_AMBIENT_CLEAR_ALL, _SECCOMP_MODE_FILTER, _CAPABILITY_VERSION_3 = 4, 2, 0x20080522


def limit(limits: dict[str, Any], *, isolated: bool) -> None:
    """Sets resource limits. The number of processes is counted per user namespace, so only a sandbox can have that limit."""
    wanted = {
        "RLIMIT_CPU": (limits["cpu_seconds"], limits["cpu_seconds"] + 1),
        "RLIMIT_AS": (limits["memory_bytes"],) * 2,
        "RLIMIT_FSIZE": (limits["file_bytes"],) * 2,
        "RLIMIT_NOFILE": (limits["open_files"],) * 2,
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_MEMLOCK": (0, 0),
        "RLIMIT_MSGQUEUE": (0, 0),
    }
    if isolated:
        wanted["RLIMIT_NPROC"] = (limits["processes"],) * 2
    for name, (soft, hard) in wanted.items():
        number = getattr(resource, name, None)
        if number is None:
            continue
        allowed = resource.getrlimit(number)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)
        with contextlib.nullcontext() if isolated else contextlib.suppress(ValueError, OSError):  # not every system has all
            resource.setrlimit(number, (soft, hard))


def seal(limits: dict[str, Any], seccomp: bytes, devices: list[str]) -> None:
    """Seals this process, which is alone in its PID namespace but for its init.

    It ends in a user namespace of its own that maps no user: processes are counted in it from zero, no further user namespace can
    be made from it, and its capabilities, dropped all the same, would hold over nothing
    but its mounts. ``devices`` are mounts still to be made read-only.
    """
    if os.geteuid() == 0:
        become_nobody()
    unshare(NEW_USER | NEW_NS if devices else NEW_USER)
    protect_devices(devices)
    limit(limits, isolated=True)
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(NO_NEW_PRIVS)")
    libc.prctl(_PR_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    capability = 0
    while libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    check(libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())), "capset")
    die_with_parent()
    if seccomp:
        program = _Program(len(seccomp) // 8, seccomp)
        check(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "prctl(SECCOMP)")


def become_nobody() -> None:
    """Stops being root, whose processes the kernel does not count."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
