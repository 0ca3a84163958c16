"""What sandboxed code may use."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Limits of one sandboxed process; the wall time is that of a whole judgment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wall_seconds: float = Field(default=10.0, gt=0, le=3600, description="Wall time of one judgment, in seconds.")
    cpu_seconds: int = Field(default=10, ge=1, le=3600, description="CPU time of each process, in seconds.")
    memory_mb: int = Field(default=512, ge=64, le=2**20, description="Address space of each process, in MiB.")
    processes: int = Field(default=8, ge=1, le=1024, description="Processes and threads at once.")
    open_files: int = Field(default=64, ge=32, le=65536, description="Open files of each process.")
    file_mb: int = Field(default=16, ge=0, le=2**20, description="Size of a file, in MiB.")
    tmp_mb: int = Field(default=16, ge=1, le=2**20, description="Size of the private /tmp, in MiB, held in memory.")

    def plain(self) -> dict[str, int]:
        """As the inside wants them: bytes, seconds, counts."""
        return {
            "cpu_seconds": self.cpu_seconds,
            "memory_bytes": self.memory_mb * 2**20,
            "processes": self.processes,
            "open_files": self.open_files,
            "file_bytes": self.file_mb * 2**20,
            "tmp_bytes": self.tmp_mb * 2**20,
        }
