"""The processes of a run: the upstream, nginx, Sluicegate. Each is ended by its id when its context ends."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
import os
from pathlib import Path
import re
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Self, cast
import urllib.error
import urllib.request

import trustme
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
START_LIMIT = 30.0
PATH = "/v1/chat/completions"
SCRAPED_MODELS = 40


class BenchError(Exception):
    """The run cannot go on; the message says why and what would help."""


@dataclass(frozen=True)
class Cores:
    """Where processes run: the proxy under test alone on one core, load and upstream on another."""

    proxy: int | None
    others: int | None

    @classmethod
    def choose(cls) -> Self:
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) == 1 or shutil.which("taskset") is None:
            return cls(None, None)
        return cls(usable[0], usable[1])

    @staticmethod
    def pinned(core: int | None, command: Sequence[str]) -> list[str]:
        return [*command] if core is None else ["taskset", "-c", str(core), *command]


def has_nginx() -> bool:
    return shutil.which("nginx") is not None


def build_load() -> Path:
    """Build the load generator, optimised and without Python, and give its path."""
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--no-default-features", "--example", "bench-load"]
    subprocess.run(command, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release" / "examples" / "bench-load"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A child process with its stderr in a file. A context manager: on leaving it is ended, by id."""

    def __init__(self, command: Sequence[str], log: Path, extra: Mapping[str, str] | None = None) -> None:
        with log.open("wb") as stderr:
            self._child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, env={**os.environ, **(extra or {})}
            )
        self._stdout = cast("IO[bytes]", self._child.stdout)
        self._log = log

    def line(self, pattern: str) -> re.Match[str]:
        """Wait for the first line on stdout; it must match."""
        readable, _, _ = select.select([self._stdout], [], [], START_LIMIT)
        text = self._stdout.readline().decode() if readable else ""
        match = re.match(pattern, text)
        if match is None:
            raise BenchError(f"{self._child.args!r} said {text!r} where {pattern!r} was due; {self.complaint()}")
        return match

    def wait_for_port(self, port: int, limit: float = START_LIMIT) -> None:
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and self._child.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise BenchError(f"{self._child.args!r} does not listen on {port}; {self.complaint()}")

    def complaint(self) -> str:
        return "stderr: " + self._log.read_text(errors="replace")[-2000:]

    def pids(self) -> list[int]:
        """The process and its descendants."""
        found = [self._child.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
        return found

    def end(self) -> None:
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._stdout.close()


@dataclass
class Upstreams:
    """The one upstream process, on its plain and its TLS port."""

    process: Process
    plain: int
    tls: int
    ca_file: Path

    @classmethod
    def start(cls, load: Path, folder: Path, cores: Cores) -> Self:
        authority = trustme.CA()
        server = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        server.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        certificate = ["--cert", str(folder / "server.pem"), "--key", str(folder / "server.pem")]
        process = Process(cores.pinned(cores.others, [str(load), "upstream", *certificate]), folder / "upstream.log")
        ports = process.line(r"ready plain=(\d+) tls=(\d+)")
        return cls(process, int(ports[1]), int(ports[2]), folder / "ca.pem")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end()


class Proxy:
    """What is measured: a context manager that runs it. `targets` maps an upstream's kind to host:port and model.

    `takes_part` names the scenarios that it is measured in; empty: all.
    """

    name = ""
    takes_part: tuple[str, ...] = ()

    def __init__(self, folder: Path, upstreams: Upstreams, cores: Cores) -> None:
        self.folder, self.upstreams, self.cores = folder, upstreams, cores
        self.targets: dict[str, tuple[str, str]] = {}
        self.headers: tuple[str, ...] = ()
        self.path = PATH
        self.process: Process | None = None

    def start(self) -> None:
        """Start it, and set `targets` and `process`."""
        raise NotImplementedError

    def version(self) -> str:
        return "?"

    def pids(self) -> list[int]:
        return self.process.pids() if self.process else []

    def cpu_us(self) -> float:
        """What all threads of its processes have had of a CPU so far."""
        files = (path for pid in self.pids() for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(path.read_text().split()[0]) for path in files) / 1000

    def rows(self) -> int:
        """How many requests it has written into a store, if it does."""
        return 0

    def wait_for_rows(self, due: int) -> None:
        """Return when its store has so many: until then it works for the requests it has answered."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.end()
            self.process = None


class Direct(Proxy):
    """No proxy at all: what the upstream and the load themselves take."""

    name = "direct"

    def __init__(self, upstreams: Upstreams) -> None:
        super().__init__(upstreams.ca_file.parent, upstreams, Cores(None, None))
        self.targets = {"plain": (f"127.0.0.1:{upstreams.plain}", "bench")}

    @override
    def start(self) -> None:
        """There is nothing to start."""


NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err; {user}
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 64m; client_body_buffer_size 2m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
  upstream plain {{ server 127.0.0.1:{plain}; keepalive 512; keepalive_requests 100000000; }}
  upstream tls {{ server 127.0.0.1:{tls}; keepalive 512; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{to_plain} backlog=4096; location / {{ proxy_pass http://plain; }} }}
  server {{ listen 127.0.0.1:{to_tls} backlog=4096; location / {{ proxy_pass https://tls; }} }}
}}
"""


class Nginx(Proxy):
    """nginx that passes bytes: the yardstick."""

    name = "nginx"

    @override
    def start(self) -> None:
        to_plain, to_tls = free_port(), free_port()
        configuration = self.folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        ports = {"plain": self.upstreams.plain, "tls": self.upstreams.tls, "to_plain": to_plain, "to_tls": to_tls}
        configuration.write_text(NGINX.format(folder=self.folder, user=user, **ports))
        command = ["nginx", "-p", str(self.folder), "-e", str(self.folder / "nginx.err"), "-c", str(configuration)]
        self.process = Process(self.cores.pinned(self.cores.proxy, command), self.folder / "nginx.log")
        self.process.wait_for_port(to_plain)
        self.targets = {"plain": (f"127.0.0.1:{to_plain}", "bench"), "tls": (f"127.0.0.1:{to_tls}", "bench")}

    @override
    def version(self) -> str:
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        return said.strip().removeprefix("nginx version: nginx/")


# All defaults, but that 2,000 idle streams must fit one upstream.
SLUICEGATE = """
listen: 127.0.0.1:0
admin: 127.0.0.1:0
upstreams:
  plain: {{dialect: openai, base_url: "http://127.0.0.1:{plain}/v1", api_key: sk-upstream}}
  tls: {{dialect: openai, base_url: "https://localhost:{tls}/v1", api_key: sk-upstream, ca_file: "{ca_file}"}}
models:
  bench: {{targets: [{{upstream: plain, model: gpt-4o-mini}}]}}
  bench-tls: {{targets: [{{upstream: tls, model: gpt-4o-mini}}]}}
{scraped}
keys:
  - {{name: bench, key: {key}, models: ["*"]{limits}}}
limits: {{per_upstream: 4000}}
store: {store}
"""
# Limits that are asked at each request and never reached.
ALLOWED = ", requests_per_minute: 1000000000, tokens_per_minute: 1000000000000, concurrent_streams: 1000000"


class Sluicegate(Proxy):
    """This package's gateway, as installed, without a ledger; a debug build is refused."""

    name = "sluicegate"
    store = "none"
    limits = ""
    admin = ""
    build = ""

    @override
    def start(self) -> None:
        entry = "  scrape-{number}: {{targets: [{{upstream: plain, model: gpt-4o-mini}}]}}"
        scraped = "\n".join(entry.format(number=number) for number in range(SCRAPED_MODELS))
        ports = {"plain": self.upstreams.plain, "tls": self.upstreams.tls, "ca_file": self.upstreams.ca_file}
        folder = self.folder / self.name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        configuration = folder / "sluicegate.yaml"
        configured = {"store": self.store.format(folder=folder), "limits": self.limits}
        configuration.write_text(SLUICEGATE.format(key=KEY, scraped=scraped, **ports, **configured))
        command = [sys.executable, "-m", "sluicegate", "serve", "--config", str(configuration)]
        self.process = Process(self.cores.pinned(self.cores.proxy, command), folder / "sluicegate.log")
        ready = self.process.line(r"ready listen=http://(\S+) admin=(\S+)")
        self.targets = {"plain": (ready[1], "bench"), "tls": (ready[1], "bench-tls")}
        self.admin = ready[2]
        build = re.search(r"^sluicegate_build_info\{([^}]*)\}", self.metrics(), re.MULTILINE)
        self.build = build[1] if build else "unknown"
        if 'profile="release"' not in self.build:
            raise BenchError(f"this is no release build ({self.build}): run `make build`")

    def metrics(self) -> str:
        try:
            with urllib.request.urlopen(f"{self.admin}/metrics", timeout=10) as answer:  # noqa: S310 - loopback
                text: str = answer.read().decode()
                return text
        except urllib.error.URLError as error:
            raise BenchError(f"{self.admin}/metrics: {error}") from error

    @override
    def version(self) -> str:
        return self.build


class Accounting(Sluicegate):
    """The same with its ledger and limits on."""

    name = "accounting"
    store = "sqlite:///{folder}/rows.db"
    limits = ALLOWED
    takes_part = ("json plain",)

    @override
    def rows(self) -> int:
        # Asking the gateway would cost it CPU of its own.
        store = self.folder / self.name / "rows.db"
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT coalesce(sum(requests), 0) FROM daily").fetchone()[0])

    @override
    def wait_for_rows(self, due: int) -> None:
        deadline = time.monotonic() + START_LIMIT
        while self.rows() < due:
            if time.monotonic() > deadline:
                raise BenchError(f"{due - self.rows()} rows have not reached the store after {START_LIMIT:.0f} s")
            time.sleep(0.05)
