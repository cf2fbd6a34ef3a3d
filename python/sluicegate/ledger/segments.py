"""The folder of spools: which there are, whose owners live, and how their files are read.

::

    FOLDER/writer.lock             held by the one process that carries this folder's records into the store
    FOLDER/INSTANCE/owner.lock     held by the worker that writes them, for as long as it lives
    FOLDER/INSTANCE/00000001.spool segments, each appended to until it is full

Rules: a lock is flock's, which the kernel gives back however its holder ends; no process id is ever looked at. The
folder belongs on a local disk: network file systems may not keep locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
import secrets
import time

OWNER = "owner.lock"
WRITER = "writer.lock"
_SUFFIX = ".spool"
_UNBORN = ".new-"


def create_instance(folder: Path) -> tuple[Path, int]:
    """Make a spool of one's own and lock it: its folder and the lock's descriptor. Raises OSError.

    The folder gets its name once it is locked, so that nobody takes its owner for dead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{int(time.time()):08x}-{secrets.token_hex(6)}"
    unborn = folder / (_UNBORN + name)
    unborn.mkdir()
    lock = _lock(unborn / OWNER)
    if lock is None:
        raise OSError(errno.EAGAIN, "the spool's lock is taken", str(unborn))
    unborn.rename(folder / name)
    return folder / name, lock


def instances(folder: Path) -> list[Path]:
    """List the spools, the oldest first."""
    try:
        return sorted(one for one in folder.iterdir() if not one.name.startswith(_UNBORN) and one.is_dir())
    except FileNotFoundError:
        return []


def is_dead(spool: Path) -> bool:
    """Tell whether nobody writes to a spool any more."""
    try:
        lock = _lock(spool / OWNER, create=False)
    except FileNotFoundError:
        return True
    if lock is None:
        return False
    os.close(lock)
    return True


def take_writer_lock(folder: Path) -> int | None:
    """Become the folder's writer: the lock's descriptor, or None if somebody is. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    return _lock(folder / WRITER)


def segments(spool: Path) -> list[int]:
    """List the numbers of a spool's segments, in order."""
    try:
        names = [entry.name for entry in os.scandir(spool)]
    except FileNotFoundError:
        return []
    return sorted(int(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX))


def segment_file(spool: Path, number: int) -> Path:
    """Name a segment's file."""
    return spool / f"{number:08}{_SUFFIX}"


def read_segment(spool: Path, number: int, offset: int, size: int) -> bytes:
    """Read up to ``size`` bytes of a segment from ``offset`` on. Raises OSError."""
    descriptor = os.open(segment_file(spool, number), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def size_of(spool: Path) -> int:
    """Sum the bytes of a spool's segments."""
    total = 0
    for number in segments(spool):
        try:
            total += segment_file(spool, number).stat().st_size
        except FileNotFoundError:
            continue
    return total


def remove_segment(spool: Path, number: int) -> None:
    """Remove a segment, if it is there. Raises OSError."""
    segment_file(spool, number).unlink(missing_ok=True)


def remove_instance(spool: Path) -> None:
    """Remove a spool that holds no segments any more. Raises OSError."""
    (spool / OWNER).unlink(missing_ok=True)
    spool.rmdir()


def _lock(path: Path, *, create: bool = True) -> int | None:
    """Lock a file: its descriptor, or None if it is locked. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
