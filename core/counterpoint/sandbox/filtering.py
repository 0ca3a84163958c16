"""The system call filter (seccomp): what model-written code has no honest use for, so that less of the kernel can be attacked.

Compiled by libseccomp through the optional package pyseccomp, once per process; a sandboxed process installs the result. Without
the package sandboxes go without it.
"""

from __future__ import annotations

import errno
import tempfile
from functools import cache

_DENIED = {
    "other processes": "kcmp move_pages pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "file systems and namespaces": "chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root "
    "setns sysfs umount umount2 unshare uselib",
    "files by handle": "name_to_handle_at open_by_handle_at",
    "what others do with files and mounts": "fanotify_init inotify_add_watch inotify_init inotify_init1 listmount statmount",
    "writing out what all have written": "sync syncfs",
    "the kernel and its tracing": "bpf create_module delete_module finit_module get_kernel_syms init_module ioperm iopl "
    "kexec_file_load kexec_load lookup_dcookie perf_event_open query_module syslog vm86 vm86old",
    "the machine": "acct clock_adjtime clock_settime nfsservctl personality quotactl quotactl_fd reboot setdomainname sethostname "
    "settimeofday stime swapoff swapon vhangup",
    "keys": "add_key keyctl request_key",
    "large and often attacked": "io_uring_enter io_uring_register io_uring_setup userfaultfd",
    "memory that counts towards no process's limit": "memfd_create memfd_secret mq_open msgget semget shmat shmget",
    "asynchronous input and output, of which the machine has a fixed amount": "io_cancel io_destroy io_getevents io_pgetevents "
    "io_setup io_submit",
    "placement of memory": "get_mempolicy mbind migrate_pages set_mempolicy",
}
"""System calls that fail with EPERM, by what they are about."""

_NUMBERS = {"statmount": 457, "listmount": 458}
"""Numbers of those that are newer than most libraries, the same on all architectures."""

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET
_UNIX, _INET, _INET6 = 1, 2, 10
_LOWEST_OTHERS = (0, 3, 4, 5, 6, 7, 8, 9)
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C


@cache
def program() -> bytes:
    """The filter as BPF instructions for this machine; empty when pyseccomp or libseccomp is not there."""
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError):  # RuntimeError: the package is there and the library is not
        return b""
    refused = seccomp.ERRNO(errno.EPERM)
    made = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in " ".join(_DENIED.values()).split():
        _add(made, refused, name)
    for bit in (1 << shift for shift in range(32) if _NEW_NAMESPACES >> shift & 1):
        _add(made, refused, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, bit, bit))
    _add(
        made, seccomp.ERRNO(errno.ENOSYS), "clone3"
    )  # its flags are out of reach of a filter; the C library falls back to clone
    # Sockets are of the local kinds or of the internet's, which lead nowhere. Others (vsock) belong to no network namespace.
    family = seccomp.ERRNO(errno.EAFNOSUPPORT)
    for name in ("socket", "socketpair"):
        _add(made, family, name, seccomp.Arg(0, seccomp.GT, _INET6))
        for number in _LOWEST_OTHERS:
            _add(made, family, name, seccomp.Arg(0, seccomp.EQ, number))
    for request in (_TIOCSTI, _TIOCLINUX):  # these type into a terminal
        _add(made, refused, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request))
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _add(made: object, action: int, name: str, *arguments: object) -> None:
    import pyseccomp as seccomp

    number = seccomp.resolve_syscall(seccomp.system_arch(), name)
    if number < 0:
        number = _NUMBERS.get(name, number)
    if number < 0:
        return  # not on this architecture, or newer than the library
    made.add_rule(action, number, *arguments)  # type: ignore[attr-defined]
