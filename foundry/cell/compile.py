"""The two containers that make a cell's modules: the driver's own code runs in the first, none of it in the second.

What the first leaves is looked at from outside: the listed modules, plain files that are not too large, are copied
out; another module that was built is refused; nothing else counts. The second strips them and makes depmod's files.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from foundry.base.errors import FoundryError, no_space, says_no_space
from foundry.base.files import is_full
from foundry.base.process import Completed, failure_sentence, shell_line
from foundry.base.reasons import Reason
from foundry.base.untrusted import allocated, copy_out, disarm
from foundry.cell.compile_command import CONFINED, Places, compile_arguments, finish_arguments
from foundry.cell.compile_log import first_error, last_line
from foundry.cell.output_checks import require_listed
from foundry.config.recipe import BUILD_SCRIPT, Recipe
from foundry.plan.cells import Cell
from foundry.run.context import Foundry

# podman-run(1): exit codes of podman itself, not of what it ran.
_PODMAN_ITSELF = (125, 126, 127)
# Where root runs podman, root in a container is root outside: the driver's code runs as a user that no machine has.
_NOBODY = 64999
_SCRIPT = "build-module.sh"
_LARGEST_MODULE = 1 << 30  # bytes, with its debug information
_LOOK_SECONDS = 1.0  # between two looks at how much the compile has written
EXPORTS = """\
for build in "/lib/modules/$1/build" "/usr/src/kernels/$1"; do
    [ -e "$build/Module.symvers" ] || continue
    cat "$build/Module.symvers"
    exit
done
exit 1"""


@dataclass
class Compile:
    """The compile of one cell; `work` holds ``src``, the patched copy, and gets ``build``, ``modules`` and ``out``."""

    foundry: Foundry
    cell: Cell
    recipe: Recipe
    toolkit: str
    work: Path
    log: Path
    _deadline: float = field(init=False)

    def make(self) -> None:
        """Leave in ``out`` what ``container/build-module.sh finish`` leaves there.

        Raises FoundryError: ``compile-failed``, ``compile-too-large``, ``timeout``, ``module-unlisted``,
        ``output-unsafe``, ``podman-failed``, ``no-space``.
        """
        for name in ("build", "modules", "out"):
            (self.work / name).mkdir()
        shutil.copyfile(self.foundry.root / BUILD_SCRIPT, self.work / _SCRIPT)
        (self.work / _SCRIPT).chmod(0o644)  # whatever the checkout's rights are, the container's user reads it
        self._deadline = time.monotonic() + self.foundry.settings.compile_timeout
        jobs = self.foundry.schedule.begin_compile(self.cell.name)
        try:
            self._compile(jobs)
        finally:
            self.foundry.schedule.end_compile()
            disarm(self.work / "build")
        self._take_modules()
        require_listed(self.recipe, self.cell, self.work)
        self._finish()

    def _compile(self, jobs: int) -> None:
        user = str(_NOBODY) if os.geteuid() == 0 else "0"
        if user != "0":
            os.chown(self.work / "build", _NOBODY, _NOBODY)
        arguments = compile_arguments(
            self._places(), recipe=self.recipe, kernel=self.cell.kernel, arch=self.cell.arch, toolkit=self.toolkit,
            jobs=str(jobs), user=user,
        )
        done, replay = self._run(arguments, watched=True)
        self._raise(done, replay, f"{self.cell.name} does not compile")

    def _take_modules(self) -> None:
        for one in self.recipe.modules:
            try:
                copy_out(self.work / "build", one.file, self.work / "modules" / one.base, limit=_LARGEST_MODULE)
            except FileNotFoundError:
                raise FoundryError(
                    f"{self.cell.name} does not compile: the build did not produce {one.file}", log=self.log,
                    reason=Reason.COMPILE_FAILED, hint="what does the log say of it? Is its name right in `modules`?",
                ) from None

    def _finish(self) -> None:
        arguments = finish_arguments(self._places(), recipe=self.recipe, kernel=self.cell.kernel, toolkit=self.toolkit)
        done, replay = self._run(arguments, watched=False)
        self._raise(done, replay, f"the modules of {self.cell.name} can't be stripped or listed")

    def _places(self) -> Places:
        names = {name: str((self.work / folder).absolute()) for name, folder in (
            ("source", "src"), ("work", "build"), ("modules", "modules"), ("out", "out"),
        )}
        return Places(script=str((self.work / _SCRIPT).absolute()), **names)

    def _run(self, arguments: list[str], *, watched: bool) -> tuple[Completed, str]:
        """Run a container; what became of it, and the line that replays it."""
        engine = self.foundry.containers.engine
        arguments = [f"--label={engine.label}", *arguments]

        def once() -> Completed:
            with engine.container(self.cell.name) as name, self._watch(name, watched=watched):
                return engine.call(
                    "run", f"--name={name}", *arguments, starts=True, log=self.log, check=False,
                    timeout=max(1.0, self._deadline - time.monotonic()),
                )

        done = _started(self.foundry, self.toolkit, self.log, once)
        return done, shell_line(engine.command("run", *arguments, starts=True))

    @contextmanager
    def _watch(self, container: str, *, watched: bool) -> Iterator[None]:
        """End the container when the driver's code writes more than the setting `compile_disk` allows."""
        limit = int(self.foundry.settings.compile_disk * (1 << 30))
        ended, too_large = threading.Event(), threading.Event()

        def look() -> None:
            while not ended.wait(_LOOK_SECONDS):
                if allocated(self.work / "build") > limit:
                    too_large.set()
                    self.foundry.containers.engine.remove_containers([container])
                    return

        watcher = threading.Thread(target=look, daemon=True)
        if watched and limit:
            watcher.start()
        try:
            yield
        finally:
            ended.set()
            if watcher.ident is not None:
                watcher.join()
        if too_large.is_set():
            raise FoundryError(
                f"the compile of {self.cell.name} wrote more than {self.foundry.settings.compile_disk} GiB",
                reason=Reason.COMPILE_TOO_LARGE, log=self.log, hint="raise `compile_disk` if that is what it needs",
            )

    def _raise(self, done: Completed, replay: str, what: str) -> None:
        if done.returncode == 0:
            return
        first = first_error(self.log)
        if says_no_space(first) or is_full(self.work):  # where the log's end did not fit either
            why = first if says_no_space(first) else f"{os.strerror(errno.ENOSPC)} ({self.work})"
            raise no_space(f"{self.cell.name} can't be compiled: {why}", log=self.log)
        if done.returncode in _PODMAN_ITSELF:
            raise FoundryError(
                f"podman could not run the compile of {self.cell.name}: {last_line(self.log)}",
                reason=Reason.PODMAN_FAILED, log=self.log, replay=replay, hint="run `doit doctor`",
            )
        raise FoundryError(
            f"{what}: {first or f'exit code {done.returncode}, no error in the log'}",
            reason=Reason.COMPILE_FAILED, log=self.log, replay=replay,
            hint="read the log, or replay the compile in the toolkit",
        )


def _started(foundry: Foundry, toolkit: str, log: Path, once: Callable[[], Completed]) -> Completed:
    """What `once` gives; again where podman could not start it because somebody else removed the toolkit meanwhile."""
    done = once()
    if done.returncode in _PODMAN_ITSELF and not foundry.containers.engine.has_image(toolkit):
        foundry.containers.images.refresh(toolkit, log)
        done = once()
    return done


def kernel_exports(foundry: Foundry, cell: Cell, toolkit: str, log: Path) -> bytes:
    """The kernel's own Module.symvers, read in a container of `toolkit` in which nothing of the driver runs.

    Once for each kernel of a toolkit: it may have a real-time one, too, which exports other symbols.
    """
    with foundry.exports_lock:
        if (toolkit, cell.kernel) not in foundry.exports:
            engine = foundry.containers.engine

            def once() -> Completed:
                with engine.container(f"exports {cell.name}") as name:
                    return engine.call(
                        "run", f"--name={name}", *CONFINED, f"--label={engine.label}", "--user=0",
                        "--entrypoint=/bin/sh", toolkit, "-c", EXPORTS, "sh", cell.kernel, starts=True, check=False,
                    )

            done = _started(foundry, toolkit, log, once)
            if done.returncode in _PODMAN_ITSELF:
                raise FoundryError(failure_sentence(done), reason=Reason.PODMAN_FAILED, hint="run `doit doctor`")
            if done.returncode != 0 or not done.stdout:
                raise FoundryError(
                    f"the toolkit of {cell.name} has no build tree for kernel {cell.kernel}",
                    reason=Reason.TOOLKIT_WITHOUT_KERNEL, log=log,
                    hint=f"is {cell.toolkit} the toolkit of that kernel? Correct the catalogue",
                )
            foundry.exports[toolkit, cell.kernel] = done.stdout.encode()
        return foundry.exports[toolkit, cell.kernel]
