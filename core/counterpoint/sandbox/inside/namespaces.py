"""A file system, process table and network of one's own, from user namespaces alone (Linux 5.14 or newer)."""

from __future__ import annotations

import ctypes
import os
from typing import Any

NEW_NS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_MOUNT_SETATTR = 442  # on every architecture
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raises for a libc function that failed, saying what was tried."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Puts this process (for NEW_PID: its next child) into new namespaces."""
    check(libc.unshare(flags), f"unshare({flags:#x})")


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent goes. A change of credentials takes that back."""
    check(libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl(PDEATHSIG)")


def enter(*, root: bool) -> None:
    """Unshares everything. Root needs no user namespace for it, and can then become a user whose processes are counted."""
    every = NEW_NS | NEW_PID | NEW_NET | NEW_IPC | NEW_UTS | NEW_CGROUP
    if root:
        unshare(every)
    else:
        uid, gid = os.geteuid(), os.getegid()
        unshare(every | NEW_USER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            _write(f"/proc/self/{name}", text)
    check(libc.sethostname(b"sandbox", 7), "sethostname")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [part.encode() if part is not None else None for part in (source, target, kind, data)]
    check(libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]), f"mount {source} at {target}")


def _protect(path: str, attributes: int, *, deeply: bool) -> None:
    request = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if deeply else 0
    result = libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, ctypes.byref(request), ctypes.sizeof(request))
    check(result, f"mount_setattr {path}")


def build_root(layout: dict[str, Any], tmp_bytes: int) -> None:
    """Replaces the root by one that holds only what ``layout`` names, read-only, and a /tmp of limited size."""
    os.umask(0o022)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    # First a stage from which both the old root and the new one can be seen, as bubblewrap does it.
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=64k,mode=755")
    os.mkdir("/tmp/old")
    os.mkdir("/tmp/new")
    check(libc.pivot_root(b"/tmp", b"/tmp/old"), "pivot_root")
    os.chdir("/")
    _mount("tmpfs", "/new", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for link, target in layout["symlinks"]:
        os.makedirs(os.path.dirname(f"/new{link}"), exist_ok=True)
        os.symlink(target, f"/new{link}")
    for source, target in layout["binds"]:
        _bind(f"/old{source}", f"/new{target}", _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    for device in layout["devices"]:
        _bind(
            f"/old{device}", f"/new{device}", _ATTR_RDONLY | _ATTR_NOSUID
        )  # which is about its times, not about writing to it
    os.mkdir("/new/tmp")
    size = f"size={tmp_bytes},nr_inodes=4096,mode=1777"
    _mount("tmpfs", "/new/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, size)
    _protect("/new", _ATTR_RDONLY, deeply=False)
    os.chdir("/new")
    check(libc.pivot_root(b".", b"."), "pivot_root")
    check(libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/tmp")


def protect_devices(devices: list[str]) -> None:
    """Makes mounts of devices read-only, which bubblewrap cannot, in a mount namespace of this process."""
    for device in devices:
        _protect(device, _ATTR_RDONLY, deeply=False)


def _bind(source: str, target: str, attributes: int) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    _mount(source, target, None, _MS_BIND | _MS_REC)
    _protect(target, attributes, deeply=True)
