"""A real PostgreSQL server from the system's packages, in a folder of its own, ended by its pid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any

#: It refuses to run as root; then it runs as the package's own user.
USER = "postgres"
LIMIT = 30.0


def programs() -> Path:
    """Where Debian keeps the server's programs, the newest version's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "no PostgreSQL: apt-get install postgresql"
    return found[-1].parent


class Server:
    """A server that can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": USER, "group": user.pw_gid, "extra_groups": []}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "--auth=trust", "--no-sync", "--username=ledger", "--encoding=UTF8", "--locale=C")

    def dsn(self, database: str = "postgres") -> str:
        """How to reach a database of it."""
        return f"postgresql://ledger:with%3Aodd%40signs@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = (f"-p{self.port}", "-h127.0.0.1", f"-k{self._folder}", "-F")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [programs() / "postgres", "-D", self._folder / "data", *options],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._as_user,
            )
        deadline = time.monotonic() + LIMIT
        while subprocess.run(
            [programs() / "pg_isready", "-q", "-h127.0.0.1", f"-p{self.port}"], check=False
        ).returncode:
            assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: at once and properly, unless `how` says otherwise."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(LIMIT)

    def freeze(self) -> None:
        """Let all of its processes stand still: what is connected stays so, and hears nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for one in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(one, number)

    def database(self, name: str) -> str:
        """Make a database; gives its DSN."""
        self._run("createdb", "-h127.0.0.1", f"-p{self.port}", "-Uledger", name)
        return self.dsn(name)

    def _run(self, program: str, *arguments: str) -> None:
        environment = {"PGDATA": str(self._folder / "data"), "PATH": os.environ["PATH"], "LC_ALL": "C"}
        subprocess.run(
            [programs() / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            env=environment,
            **self._as_user,
        )


@contextmanager
def server() -> Iterator[Server]:
    """A server that answers."""
    folder = Path(tempfile.mkdtemp(prefix="sluicegate-postgres-"))
    made = Server(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
