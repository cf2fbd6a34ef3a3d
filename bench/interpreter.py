"""Which Python is a fast one: compiled with a profile of what it runs (PGO), it takes a tenth less.

`python bench/interpreter.py` says whether it could be the one of .venv, as the Makefile asks it: `1 PATH` if it is
fast, `2 PATH` if it is not, nothing if it cannot make a .venv or is none of the versions that the lock was tried with.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig

TRIED = ((3, 11), (3, 12), (3, 13))


def is_optimised() -> bool:
    """Whether the running interpreter was compiled with a profile.

    A build says so in its configuration. Debian's does not, which runs the same step by a rule of its own: what a
    distribution installs under /usr is taken for optimised.
    """
    return "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") or sys.base_prefix == "/usr"


def makes_venv() -> bool:
    """Whether `-m venv` will do (Debian: the package python3.11-venv)."""
    return all(importlib.util.find_spec(name) for name in ("ensurepip", "venv"))


if __name__ == "__main__" and sys.version_info[:2] in TRIED and makes_venv():
    print(1 if is_optimised() else 2, sys.executable)
