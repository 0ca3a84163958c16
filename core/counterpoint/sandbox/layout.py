"""What a sandbox sees of the file system: what Python needs, and nothing else."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

INSIDE = Path(__file__).parent / "inside"
MOUNTED = "/sandbox/inside"
"""Where a sandbox sees ``INSIDE``."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

# Libraries, not programs: a sandbox has no shell and no set-uid program.
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/nix/store")
_TOP = ("/lib", "/lib32", "/lib64", "/libx32")


@dataclass(frozen=True)
class Layout:
    """Mounts of a sandbox. A path maps to itself but for the folder of the programs that run inside."""

    python: str
    """The interpreter, which is not that of a virtual environment."""
    binds: tuple[tuple[str, str], ...]
    """Read-only: what is mounted, and where."""
    symlinks: tuple[tuple[str, str], ...]
    """A link, and what it says."""

    def folders(self) -> list[str]:
        """Every folder above a mount or a link, outermost first."""
        places = [place for _, place in self.binds] + [link for link, _ in self.symlinks] + list(DEVICES)
        return sorted({str(folder) for place in places for folder in Path(place).parents} - {"/"})

    def plain(self) -> dict[str, object]:
        """As JSON."""
        return {"binds": self.binds, "symlinks": self.symlinks, "devices": DEVICES}


@cache
def layout() -> Layout:
    """The layout on this machine."""
    python = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    prefixes = {python.parents[1], Path(sys.base_prefix), Path(sys.base_exec_prefix)}
    wanted = {python, *(Path(path) for path in _SYSTEM)}
    wanted |= {prefix / name for prefix in prefixes for name in ("lib", "lib64")}
    symlinks = [("/dev/shm", "/tmp")]
    for top in map(Path, _TOP):
        if top.is_symlink():
            symlinks.append((str(top), str(top.readlink())))
        else:
            wanted.add(top)
    found = sorted({path.resolve() if path.is_symlink() else path for path in wanted if path.exists()})
    binds = [path for path in found if not any(other in path.parents for other in found)]
    mounts = [*((str(path), str(path)) for path in binds), (str(INSIDE), MOUNTED)]
    return Layout(str(python), tuple(mounts), tuple(symlinks))
