"""Other gateways: by name, installed from their registry when asked, or any by its command and address."""

from __future__ import annotations

import os
from pathlib import Path
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from typing_extensions import override

from bench.servers import KEY, BenchError, Cores, Process, Proxy, Upstreams, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sluicegate-bench"
SLOW_START = 120.0

LITELLM = """
model_list:
  - model_name: bench
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{plain}/v1", api_key: sk-upstream}}
litellm_settings: {{telemetry: false}}
"""


class Rival(Proxy):
    """A gateway in front of the plain upstream, started by a command."""

    def __init__(self, folder: Path, upstreams: Upstreams, cores: Cores, name: str) -> None:
        super().__init__(folder, upstreams, cores)
        self.name = name

    def launch(self, command: Sequence[str], port: int, extra: Mapping[str, str] | None = None) -> None:
        pinned = self.cores.pinned(self.cores.proxy, command)
        self.process = Process(pinned, self.folder / f"{self.name}.log", extra)
        self.process.wait_for_port(port, SLOW_START)
        self.targets = {"plain": (f"127.0.0.1:{port}", "bench")}


def in_venv(name: str, *requirements: str) -> Path:
    """Install Python packages into an environment of their own, once; gives its bin folder."""
    home = CACHE / name
    if not (home / "installed").exists():
        print(f"installing {' '.join(requirements)} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", *requirements], check=True)
        (home / "installed").touch()
    return home / "bin"


class LiteLLM(Rival):
    version_wanted = "1.106.2"

    @override
    def start(self) -> None:
        tools = in_venv("litellm", f"litellm[proxy]=={self.version_wanted}")
        configuration = self.folder / "litellm.yaml"
        configuration.write_text(LITELLM.format(plain=self.upstreams.plain))
        port = free_port()
        command = [str(tools / "litellm"), "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)]
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": KEY}
        self.launch(command, port, quiet)

    @override
    def version(self) -> str:
        return self.version_wanted


class Portkey(Rival):
    version_wanted = "1.15.2"

    @override
    def start(self) -> None:
        home = CACHE / "portkey"
        packages = [f"@portkey-ai/gateway@{self.version_wanted}", "@hono/node-server@1.13.8", "hono@4.9.7"]
        if shutil.which("npm") is None:
            raise BenchError("portkey wants npm")
        if not (home / "installed").exists():
            home.mkdir(parents=True, exist_ok=True)
            subprocess.run(["npm", "install", "--silent", "--prefix", str(home), *packages], check=True)
            (home / "installed").touch()
        port = free_port()
        server = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        upstream = f"http://127.0.0.1:{self.upstreams.plain}/v1"
        self.headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: {upstream}")
        self.launch(["node", str(server), f"--port={port}", "--headless"], port)

    @override
    def version(self) -> str:
        return self.version_wanted


class Smg(Rival):
    version_wanted = "1.13.0"

    @override
    def start(self) -> None:
        tools = in_venv("smg", f"smg=={self.version_wanted}")
        port = free_port()
        upstream = f"http://127.0.0.1:{self.upstreams.plain}"
        command = [str(tools / "smg"), "launch", "--backend", "openai", "--worker-urls", upstream]
        self.launch([*command, "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"], port)

    @override
    def version(self) -> str:
        return self.version_wanted


class Given(Rival):
    """`NAME=COMMAND@HOST:PORT`; `{upstream}` in the command becomes the upstream's base URL."""

    def __init__(self, folder: Path, upstreams: Upstreams, cores: Cores, name: str, given: str) -> None:
        super().__init__(folder, upstreams, cores, name)
        self.command, _, self.address = given.rpartition("@")
        if not self.command or ":" not in self.address:
            raise BenchError(f"a rival of one's own is NAME=COMMAND@HOST:PORT, not {name}={given}")

    @override
    def start(self) -> None:
        command = self.command.replace("{upstream}", f"http://127.0.0.1:{self.upstreams.plain}/v1")
        self.launch(shlex.split(command), int(self.address.rpartition(":")[2]))
        self.targets = {"plain": (self.address, "bench")}


KNOWN: dict[str, type[Rival]] = {"litellm": LiteLLM, "portkey": Portkey, "smg": Smg}


def find(asked: str, folder: Path, upstreams: Upstreams, cores: Cores) -> list[Proxy]:
    """The rivals of a comma-separated list."""
    found: list[Proxy] = []
    for entry in filter(None, asked.split(",")):
        name, is_given, given = entry.partition("=")
        if is_given:
            found.append(Given(folder, upstreams, cores, name, given))
        elif name in KNOWN:
            found.append(KNOWN[name](folder, upstreams, cores, name))
        else:
            raise BenchError(f"unknown rival {name!r}; known: {', '.join(KNOWN)}, or NAME=COMMAND@HOST:PORT")
    return found
