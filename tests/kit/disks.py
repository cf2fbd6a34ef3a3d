"""Small disks of a test's own, which can run full or go read-only as real ones do. Needs the right to mount."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import subprocess
import time

import pytest


def run(*command: str | Path) -> str:
    """What a program says; without it, or the right to do that, the test is skipped, and says so."""
    try:
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError as error:
        pytest.skip(f"no disk can be made here: {error}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no disk can be made here: {' '.join(map(str, command))}: {error.stderr.strip()}")


class Disk:
    """A file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room for another page."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (65_536, 4096, 1):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    def make_room(self) -> None:
        """Take away what fills it."""
        self._filler.unlink()


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Disk]:
    """A disk of so many bytes, there until the block's end."""
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield Disk(folder)
    finally:
        _unmount(folder)


class BlockDisk:
    """A journaling file system on a device, which an error makes read-only."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.folder = folder
        self._image = image
        self._device = Path()

    def mount(self) -> None:
        """Mount it, as after a repair."""
        run("mount", "-o", "loop,errors=remount-ro", self._image, self.folder)
        self._device = Path(run("findmnt", "-no", "SOURCE", self.folder))

    def unmount(self) -> None:
        """Take it away; nobody may use it any more."""
        _unmount(self.folder)

    def goes_read_only(self) -> None:
        """Let the kernel find an error on it: from now on nothing is written, also to files that are open."""
        try:
            (Path("/sys/fs/ext4") / self._device.name / "trigger_fs_error").write_text("x")
        except OSError as error:
            pytest.skip(f"no disk can be made to fail here: {error}")
        with pytest.raises(OSError, match="Read-only file system"):
            (self.folder / "new").touch()


@contextmanager
def ext4(folder: Path, megabytes: int) -> Iterator[BlockDisk]:
    """A mounted disk of that size, on a loop device."""
    folder.mkdir()
    image = folder.with_suffix(".image")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", image)
    made = BlockDisk(image, folder)
    made.mount()
    try:
        yield made
    finally:
        made.unmount()


def _unmount(folder: Path) -> None:
    """A process that has just ended may be seen for a moment longer."""
    deadline = time.monotonic() + 10
    while folder.is_mount():
        done = subprocess.run(["umount", str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0 or time.monotonic() < deadline, done.stderr
        if done.returncode:
            time.sleep(0.05)
