"""The sandbox's two loopback services: a registry and a web server that outlive the command.

The registry answers to nobody without its password (`foundry.sandbox.login`).
``state.json`` says where they are: address, process and the process's start
time, so that a recycled process number is never taken for one of them.
While both are up, `ensure_running` starts no process and makes two loopback
connections.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.filelock import locked
from foundry.base.files import pretty_json, read_json, write_atomic
from foundry.base.process import unmarked
from foundry.base.reasons import Reason
from foundry.sandbox.login import AUTH_FILE, HTPASSWD, new_login

REGISTRY = "registry.sandbox.internal"
WEB = "web.sandbox.internal"
HOST = "127.0.0.1"
_PROBES = {REGISTRY: "/v2/", WEB: "/"}
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_PORT_ATTEMPTS = 3


@dataclass(frozen=True)
class Daemon:
    """A service as ``state.json`` has it; `started` is in clock ticks since boot."""

    name: str
    port: int
    pid: int
    started: int

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{HOST}:{self.port}"

    def alive(self) -> bool:
        """Whether the very process that was started still runs."""
        return start_time(self.pid) == self.started

    def answers(self) -> bool:
        """Whether the port takes a connection."""
        try:
            with socket.create_connection((HOST, self.port), timeout=2):
                return True
        except OSError:
            return False


class Daemons:
    """The services whose data is in `folder`; `project` is the checkout that holds the web server's code."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder = folder.absolute()
        self.project = project.absolute()
        self.state = self.folder / "state.json"
        self.web_root = self.folder / "web"
        self.releases = self.folder / "releases.json"
        self.registry_storage = self.folder / "registry"
        self.auth_file = self.folder / AUTH_FILE

    def running(self) -> bool:
        """Whether both services run and take connections."""
        known = self._known()
        return len(known) == len(_PROBES) and all(self._serves(one) for one in known.values())

    def addresses(self) -> dict[str, str]:
        """``name → host:port`` of the services, as they were last started."""
        return {name: one.address for name, one in self._known().items()}

    def ensure_running(self) -> None:
        """Have both services up. Raises OutsideError (not installed), FoundryError (doesn't start)."""
        if self.running():
            return
        with locked(self.folder / "services.lock"):
            for name in _PROBES:
                known = self._known().get(name)
                if known is not None and self._serves(known):
                    continue
                if known is not None:
                    _end(known)
                self._start(name)

    def down(self) -> None:
        """End exactly the processes that were started here, wait for them, forget them."""
        if not self.folder.is_dir():
            return
        with locked(self.folder / "services.lock"):
            for one in self._known().values():
                _end(one)
            self.state.unlink(missing_ok=True)

    def _serves(self, one: Daemon) -> bool:
        """Whether a service can be used; a registry to which nobody knows the password can't."""
        return one.alive() and one.answers() and (one.name != REGISTRY or self.auth_file.exists())

    def _known(self) -> dict[str, Daemon]:
        """What ``state.json`` says, unless it was copied here with its folder."""
        state = read_json(self.state)
        if not isinstance(state, dict) or state.get("folder") != str(self.folder):
            return {}
        return {
            name: Daemon(name, entry["port"], entry["pid"], entry["started"])
            for name in _PROBES if (entry := state.get(_short(name)))
        }

    def _ports_before(self) -> dict[str, int]:
        ports = read_json(self.folder / "ports.json")
        return ports if isinstance(ports, dict) else {}

    def _start(self, name: str) -> None:
        for folder in (self.web_root, self.registry_storage):
            folder.mkdir(parents=True, exist_ok=True)
        ports = self._ports_before()
        failure = ""
        for attempt in range(_PORT_ATTEMPTS):
            port = _free_port(ports.get(name, 0) if attempt == 0 else 0)
            process = self._spawn(name, port)
            self._remember(Daemon(name, port, process.pid, start_time(process.pid) or 0))
            if _ready(process, port, _PROBES[name]):
                write_atomic(self.folder / "ports.json", pretty_json({**self._ports_before(), name: port}))
                return
            failure = f"exit code {process.poll()}"
            _kill(process)
        raise FoundryError(
            f"the sandbox's {name} does not start ({failure})", reason=Reason.SERVICE_START,
            hint="read the log", log=self._output(name),
        )

    def _spawn(self, name: str, port: int) -> subprocess.Popen[bytes]:
        """Not through `process.run`: these outlive the command and are in no process group of its."""
        argv, env = self._registry_command(port) if name == REGISTRY else self._web_command(port)
        with self._output(name).open("ab") as output:
            try:
                return subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env,
                    cwd=self.project, start_new_session=True,  # where Python finds the web server's code
                )
            except FileNotFoundError as error:
                raise OutsideError(
                    f"{argv[0]} is not installed", reason=Reason.TOOL_MISSING,
                    hint="run `doit doctor`: it names the package to install",
                ) from error

    def _registry_command(self, port: int) -> tuple[list[str], Mapping[str, str]]:
        config = self.folder / "registry.json"  # JSON is YAML
        new_login(self.folder, (REGISTRY, f"{HOST}:{port}"))
        write_atomic(config, pretty_json({
            "version": "0.1",
            "log": {"level": "info", "formatter": "text", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.registry_storage)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"{HOST}:{port}", "secret": secrets.token_hex(16)},
            "auth": {"htpasswd": {"realm": "sandbox", "path": str(self.folder / HTPASSWD)}},
        }), mode=0o600)
        program = shutil.which("docker-registry") or "docker-registry"
        clean = {name: value for name, value in unmarked(os.environ).items() if not name.startswith("REGISTRY_")}
        return [program, "serve", str(config)], clean

    def _web_command(self, port: int) -> tuple[list[str], Mapping[str, str]]:
        argv = [
            sys.executable, "-m", "foundry.sandbox.web", f"--root={self.web_root}", f"--port={port}",
            f"--log={self.folder / 'web-access.log'}", f"--releases={self.releases}",
        ]
        return argv, {**unmarked(os.environ), "PYTHONDONTWRITEBYTECODE": "1"}

    def _output(self, name: str) -> Path:
        return self.folder / f"{_short(name)}.log"

    def _remember(self, daemon: Daemon) -> None:
        services = {
            _short(one.name): {"port": one.port, "pid": one.pid, "started": one.started, "address": one.address}
            for one in (*(self._known().values()), daemon)
        }
        write_atomic(self.state, pretty_json({"folder": str(self.folder), **services}))


def _short(name: str) -> str:
    """``registry`` or ``web``: the name in files."""
    return name.partition(".")[0]


def start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None when there is none. See proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _free_port(wanted: int) -> int:
    """`wanted` if it is free, else a port that is."""
    for port in (wanted, 0):
        with socket.socket() as listener, suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
            return int(listener.getsockname()[1])
    raise FoundryError("no port is free on loopback", reason=Reason.SERVICE_START)


def _ready(process: subprocess.Popen[bytes], port: int, path: str) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("HEAD", path)
            connection.getresponse().read()
            return process.poll() is None
        except (OSError, HTTPException):
            time.sleep(0.02)
        finally:
            connection.close()
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


def _end(daemon: Daemon) -> None:
    """TERM, then KILL; returns when the process is gone. A zombie of ours counts as gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not daemon.alive():
            return
        with suppress(ProcessLookupError):
            os.kill(daemon.pid, number)
        deadline = time.monotonic() + _STOP_SECONDS
        while daemon.alive() and time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(daemon.pid, os.WNOHANG)
            time.sleep(0.01)


def registry_has(storage: Path, repository: str, digest: str) -> bool:
    """Whether the registry's storage lists a manifest; reads files alone."""
    kind, _, value = digest.partition(":")
    link = storage / "docker/registry/v2/repositories" / repository / "_manifests/revisions" / kind / value / "link"
    return link.is_file()
