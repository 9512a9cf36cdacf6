"""The sandbox's two services, which outlive the command that started them.

A state file has the address, process id and start time of each, so that a
process is only ever ended when it is the one that we started.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import OutsideError
from tasks.core.files import pretty_json, read_json, write_atomic

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0

REGISTRY_CONFIG = """\
version: 0.1
log: {{accesslog: {{disabled: false}}, level: warn}}
storage:
  filesystem: {{rootdirectory: "{storage}"}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Service:
    """A running service: its port, process id, and the process's start time in clock ticks since boot."""

    port: int
    pid: int
    started: int

    @property
    def address(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self.port}"

    def alive(self) -> bool:
        """True when the process is still the one that was started."""
        return process_start(self.pid) == self.started


class Daemons:
    """The registry and the web server below one folder."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder = folder.absolute()
        self.project = project.absolute()
        self.state = self.folder / "state.json"

    def running(self) -> dict[str, Service]:
        """The services that are up, by name."""
        return {name: service for name, service in self._read().items() if service.alive()}

    def ensure_running(self) -> dict[str, Service]:
        """Start what is down; nothing happens when both are up. OutsideError when one does not start."""
        services = self.running()
        before = self._read()
        for name, command in self._commands().items():
            if name in services:
                continue
            port = _free_port(before[name].port if name in before else 0)
            services[name] = self._start(name, port, command(port))
            write_atomic(self.state, pretty_json({name: asdict(one) for name, one in services.items()}))
        return services

    def down(self) -> None:
        """End exactly the processes that were started here."""
        for service in self.running().values():
            _end(service)
        self.state.unlink(missing_ok=True)

    def _commands(self) -> dict[str, Callable[[int], Sequence[str]]]:
        return {"registry": self._registry, "web": self._web}

    def _registry(self, port: int) -> Sequence[str]:
        config = self.folder / "registry.yml"
        storage = self.folder / "registry"
        write_atomic(config, REGISTRY_CONFIG.format(storage=storage, port=port).encode())
        program = shutil.which("docker-registry") or shutil.which("registry")
        if program is None:
            raise OutsideError(
                "docker-registry is not installed", reason="tool-missing",
                hint="run container/sandbox/system-packages.sh",
            )
        return [program, "serve", str(config)]

    def _web(self, port: int) -> Sequence[str]:
        root = self.folder / "web"
        root.mkdir(parents=True, exist_ok=True)
        return [
            sys.executable, "-m", "tasks.services.sandbox.web", f"--root={root}", f"--port={port}",
            f"--log={self.folder / 'web-access.log'}",
        ]

    def _start(self, name: str, port: int, command: Sequence[str]) -> Service:
        log = self.folder / f"{name}.log"
        with log.open("ab") as sink:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True,
                cwd=self.folder, env={**os.environ, "PYTHONPATH": str(self.project)},
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return Service(port, process.pid, process_start(process.pid))
            time.sleep(0.02)
        process.kill()
        raise OutsideError(f"the sandbox's {name} did not start", reason="service-failed", log=log,
                           hint="read the log")

    def _read(self) -> dict[str, Service]:
        found: Any = read_json(self.state)
        if not isinstance(found, dict):
            return {}
        return {name: Service(**facts) for name, facts in found.items()}


def process_start(pid: int) -> int:
    """A process's start time in clock ticks since boot (proc(5), field 22); 0 when there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def _free_port(wanted: int) -> int:
    """The port wanted if it is free, else any free one."""
    for port in (wanted, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OutsideError("no port is free on loopback", reason="no-port")


def _end(service: Service) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(service.pid, number)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(service.pid, os.WNOHANG)
            if not service.alive():
                return
            time.sleep(0.02)
