"""One undisturbed run, clones in each state on the way to it, and what a disturbed one must come to."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundry.base.names import BUNDLE_FILE, VERIFY_FILE
from tests.drill import litter
from tests.harness.clone import Clone
from tests.harness.released import files_of, images, ledger
from tests.harness.sandbox import knowing_clone

DRIVER = "2.22.2.0"
MATRIX = [{"driver": DRIVER, "ocp_versions": ["4.16.30", "4.17"]}]
CODES = {0, 1, 2, 3, 130}
_STATES = {  # what a clone has of the undisturbed one's files
    "new": (), "fetched": ("sources",), "half": ("sources", "cells"), "built": ("sources", "cells"),
    "released": ("sources", "cells", "release"),
}
STATES = tuple(_STATES)
_END_SECONDS = 300.0


@dataclass
class Try:
    """A clone that is disturbed. `wrong` and `litter` say what must not be; `said` is a fault that was told.

    Where the run had ended before its moment came, the try has `missed`, and does not count.
    """

    kind: str
    what: str
    clone: Clone
    before: set[str]
    wrong: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)
    said: bool = False
    missed: bool = False
    disturbances: int = 1


class Running:
    """A run of doit that goes on while it is disturbed."""

    def __init__(self, clone: Clone, *words: str, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="drill-"))
        self.verb = words[0]
        self.started = time.monotonic()
        self.audit = self.folder / "audit"
        with (self.folder / "said").open("wb") as said:
            self.process = subprocess.Popen(
                clone.command(*words), cwd=clone.root, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env=clone.environment(KMOD_TEST_AUDIT=str(self.audit), **environment), start_new_session=True,
            )

    def text(self) -> str:
        """What it has printed."""
        return (self.folder / "said").read_text(encoding="utf-8", errors="replace")

    def wait_until(self, seconds: float) -> bool:
        """Let it work so long, from when it has said its profile on; whether it is still at work."""
        deadline = time.monotonic() + 60
        while not self.text() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def end(self) -> tuple[int, str]:
        """Wait for its end; exit code and output."""
        try:
            code = self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = -99
        text = self.text()
        shutil.rmtree(self.folder)
        return code, text


class World:
    """The sandbox, the undisturbed clone in its states, and dice."""

    def __init__(self, services: Clone, folder: Path, dice: random.Random) -> None:
        self.services, self.folder, self.dice = services, folder, dice
        self.count = 0
        self.right = knowing_clone(services, folder / "right", MATRIX)
        self.seconds: dict[str, float] = {}
        for verb in ("build", "release"):
            started = time.monotonic()
            done = self.right.doit(verb)
            assert done.code == 0, done.text
            self.seconds[verb] = time.monotonic() - started
            shutil.copytree(self.right.build, folder / f"after-{verb}", symlinks=True)
        self.cells = sorted(path.name for path in self.right.build.glob("cells/*"))
        self.digests = {name: self.right.record(name, "image")["digest"] for name in self.cells}
        self.keys = {name: self.right.record(name, "module")["key"] for name in self.cells}
        self.images = images(self.right)
        self.rows = _rows(self.right)
        self.tarballs = _tarballs(self.right)

    def moment(self, one: Try, run: Running, state: str) -> bool:
        """Wait for a moment in most of what such a run took the last time; False where it has ended before."""
        name = f"{run.verb} {state}"
        longest = self.seconds.get(name, self.seconds["build"])
        if run.wait_until(self.dice.uniform(0, 0.8 * longest)):
            one.what += f" after {time.monotonic() - run.started:.2f} s"
            return True
        self.seconds[name] = time.monotonic() - run.started
        one.missed = True
        return False

    def clone(self, state: str) -> Clone:
        """A fresh clone in a state; that of a released one publishes to the same place as the undisturbed one."""
        self.count += 1
        clone = knowing_clone(self.services, self.folder / f"try-{self.count}", MATRIX)
        if state == "released":
            clone.edit("config/profiles/sandbox.yaml", clone.repository, self.right.repository)
            clone.repository = self.right.repository
        source = self.folder / f"after-{'release' if state == 'released' else 'build'}"
        for name in (*_STATES[state], "locks", "engine", "validation.json"):
            if (source / name).is_dir():
                shutil.copytree(source / name, clone.build / name, symlinks=True, dirs_exist_ok=True)
            elif (source / name).exists():
                shutil.copy2(source / name, clone.build / name)
        if state == "half":
            for name in self.cells:
                for lost in self.dice.choice((["image.json"], ["module.json", "image.json"], ["neuron.ko"])):
                    (clone.cell(name) / lost).unlink()
        clone.extra["TMPDIR"] = str(clone.root / "tmp")
        (clone.root / "tmp").mkdir()
        return clone

    @contextmanager
    def attempt(self, kind: str, what: str, state: str) -> Iterator[Try]:
        """A try: the block disturbs its clone; then it is repaired, looked at and removed."""
        before = litter.on_machine()
        one = Try(kind, f"{what} [{state}]", self.clone(state), before)
        try:
            yield one
            self._repair(one)
        except Exception as error:
            one.wrong.append(f"the drill itself: {error!r}"[:600])
        finally:
            subprocess.run(["chmod", "-R", "u+w", str(one.clone.root)], check=False)
            shutil.rmtree(one.clone.root, ignore_errors=True)

    def judge(self, one: Try, code: int, text: str, *killed: int) -> None:
        """The disturbed command itself: its exit code is one of the contract's, and it shows no traceback."""
        one.said |= code in (1, 2, 3) and ("error: " in text or "FAILED " in text or "BAD " in text)
        if code not in CODES | {-number for number in killed}:
            one.wrong.append(f"exit code {code}: {text[-800:]}")
        elif code in (1, 2, 3) and not one.said:
            one.wrong.append(f"exit code {code} without a word: {text[-800:]}")
        if "Traceback" in text:
            one.wrong.append(f"traceback: {text[-2000:]}")

    def finished(self, clone: Clone) -> set[str]:
        """The cells whose modules are made and as recorded."""
        return {name for name in self.cells if self._is_finished(clone, name)}

    def _is_finished(self, clone: Clone, name: str) -> bool:
        try:
            record = clone.record(name, "module")
            return bool(record["key"] == self.keys[name]) and all(
                (path := clone.cell(name) / file).is_file()  # a pipe is read without end
                and hashlib.sha256(path.read_bytes()).hexdigest() == fact["sha256"]
                for file, fact in record["outputs"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def _repair(self, one: Try) -> None:
        """`doit release` until it ends well, twice at most, and what has come of it."""
        clone = one.clone
        finished = self.finished(clone)
        run = clone.doit("release")
        self.judge(one, run.code, run.text)
        one.wrong += [f"compiled twice: {name}" for name in finished if name.partition("-")[2] in run.compiled]
        if run.code != 0:
            one.wrong.append(f"a failure that stays: {run.text[-1500:]}")
            return
        one.wrong += self.differs(clone)
        one.litter += [*litter.in_files(clone), *litter.processes(clone), *sorted(litter.on_machine() - one.before)]

    def differs(self, clone: Clone) -> list[str]:
        """What is not as in the undisturbed clone."""
        found: list[str] = []
        for name, digest in self.digests.items():
            if clone.record(name, "image")["digest"] != digest:
                found.append(f"another digest of {name}")
        if images(clone) != self.images:
            found.append(f"the registry has {images(clone)}, not {self.images}")
        if _rows(clone) != self.rows:
            found.append("another ledger")
        if _tarballs(clone) != self.tarballs:
            found.append("other files of the release")
        return found


def _rows(clone: Clone) -> list[tuple[str, str, str]]:
    return sorted((row["kernel"], row["key"], row["digest"]) for row in ledger(clone, DRIVER)["cells"])


def _tarballs(clone: Clone) -> Mapping[str, Any]:
    """The files of the release: of those with times or names of repositories in them, that they are there."""
    return {name: hashlib.sha256(data).hexdigest() if ".tar." in name and name not in (BUNDLE_FILE, VERIFY_FILE) else ""
            for name, data in files_of(clone, DRIVER).items()}


def below(process: int) -> list[int]:
    """The processes that descend from one, the youngest first."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())}
    found, level = [], [process]
    while level:
        level = [pid for pid, parent in parents.items() if parent in level and pid != os.getpid()]
        found += level
    return found[::-1]

