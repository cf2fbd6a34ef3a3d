"""Files that fail on demand as they do on real disks: by the kernel's own means, for whoever writes to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import fcntl
import os
from pathlib import Path
import resource

#: What stands behind a descriptor whose writes fail with that error.
_REFUSE = {
    errno.ENOSPC: ("/dev/full", os.O_WRONLY),
    errno.EIO: ("/proc/self/mem", os.O_WRONLY),
    errno.EBADF: ("/dev/null", os.O_RDONLY),
}
#: The errors with which :func:`refusing` can refuse.
ERRORS = (*_REFUSE, errno.EFBIG)


@contextmanager
def refusing(descriptor: int, error: int) -> Iterator[None]:
    """Every write to it fails with that error until the block's end."""
    if error == errno.EFBIG:
        with room(0):
            yield
        return
    path, flags = _REFUSE[error]
    other = os.open(path, flags)
    try:
        with _behind(descriptor, other):
            yield
    finally:
        os.close(other)


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes by this process: the write that would is short, the next one fails."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@contextmanager
def uncut(descriptor: int, file: Path) -> Iterator[None]:
    """The file behind it can grow, but never shrink, until the block's end."""
    held = file.read_bytes()
    sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    try:
        os.write(sealed, held)
        fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        with _behind(descriptor, sealed):
            yield
        os.write(descriptor, os.pread(sealed, 1 << 20, len(held)))
    finally:
        os.close(sealed)


def writes() -> int:
    """Count the writes that this thread has asked the kernel for."""
    told = dict(line.split(": ") for line in Path("/proc/thread-self/io").read_text().splitlines())
    return int(told["syscw"])


@contextmanager
def _behind(descriptor: int, other: int) -> Iterator[None]:
    kept = os.dup(descriptor)
    os.dup2(other, descriptor, inheritable=False)
    try:
        yield
    finally:
        os.dup2(kept, descriptor, inheritable=False)
        os.close(kept)
