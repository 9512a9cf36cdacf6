"""The kinds of disturbances: each makes one try, which is repaired and looked at when its block ends."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import yaml

from tests.drill.corruption import MUTATIONS, mutate
from tests.drill.world import STATES, Running, Try, World, below
from tests.harness.clone import Clone
from tests.harness.disk import small_disk
from tests.harness.front import Asked, Front, forward, front, hang_up, says, send, swallow

_UNDONE = STATES[:-1]
_VERBS = ("build", "publish", "release", "release")


def kill(world: World) -> Try:
    """`kill -9` of doit alone, of all that descends from it, or of one that does."""
    dice, state = world.dice, world.dice.choice(_UNDONE)
    verb, whom = dice.choice(_VERBS), dice.choice(("doit", "tree", "child"))
    with world.attempt("kill", f"{verb}: {whom}", state) as one:
        run = Running(one.clone, verb)
        if world.moment(one, run, state):
            _kill(run, whom, dice)
        code, text = run.end()
        world.judge(one, code, text, signal.SIGKILL)
    return one


def _kill(run: Running, whom: str, dice: random.Random) -> None:
    children = below(run.process.pid)
    if whom == "child":
        chosen = dice.sample(children, min(1, len(children)))
    else:
        chosen = [run.process.pid, *(children if whom == "tree" else ())]
    for pid in chosen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def interrupt(world: World) -> Try:
    """SIGINT, SIGTERM, SIGHUP, once or in haste."""
    dice, state = world.dice, world.dice.choice(_UNDONE)
    verb, number = dice.choice(_VERBS), dice.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    times = dice.choice((1, 1, 2))
    with world.attempt("signal", f"{verb}: {times}x {number.name}", state) as one:
        run = Running(one.clone, verb)
        if world.moment(one, run, state):
            for _ in range(times):
                run.process.send_signal(number)
                time.sleep(dice.uniform(0, 0.3))
        code, text = run.end()
        world.judge(one, code, text)
    return one


def network(world: World) -> Try:
    """A server before registry and web server that fails now and then."""
    dice, state = world.dice, world.dice.choice(_UNDONE)
    verb, rate = dice.choice(_VERBS), dice.choice((0.05, 0.2, 0.5, 1.0))
    with world.attempt("network", f"{verb}: {rate:.0%} of requests", state) as one:
        with _behind_fronts(one.clone, rate, random.Random(dice.random())):
            code, text = Running(one.clone, verb).end()
        world.judge(one, code, text)
    return one


@contextmanager
def _behind_fronts(clone: Clone, rate: float, dice: random.Random) -> Iterator[None]:
    profile = clone.root / "config/profiles/sandbox.yaml"
    before = profile.read_text()
    state = yaml.safe_load((clone.services / "state.json").read_text())
    with ExitStack() as stack:
        fronts = {name: stack.enter_context(front(state[name]["address"])) for name in ("registry", "web")}
        for one in fronts.values():
            one.always("/", _sometimes(one, rate, dice))
        addresses = {f"{name}.sandbox.internal": one.address for name, one in fronts.items()}
        profile.write_text(before + yaml.safe_dump({"addresses": addresses}))
        yield
    profile.write_text(before)


def _sometimes(one: Front, rate: float, dice: random.Random) -> Callable[[Asked], None]:
    faults = (says(500), says(503, Retry_After="1"), says(429, Retry_After="1"), says(403), says(404), hang_up,
              swallow(one), _cut_short, lambda handler: send(handler, 200, b"<html>Welcome to the hotel</html>"))

    def fault(handler: Asked) -> None:
        if dice.random() < rate:
            dice.choice(faults)(handler)
        else:
            forward(handler, one, handler.body, {})

    return fault


def _cut_short(handler: Asked) -> None:
    handler.send_response_only(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"x" * 100)
    hang_up(handler)


def corrupt(world: World) -> Try:
    """A file below ``build/<profile>`` is not as it was left, or several."""
    dice, state = world.dice, world.dice.choice(("built", "released"))
    with world.attempt("corrupt", "", state) as one:
        clone = one.clone
        files = sorted(path for path in clone.build.rglob("*") if path.is_file() and not path.is_symlink())
        few = [path for path in files if "tree" not in path.relative_to(clone.build).parts[2:3]]
        one.disturbances = dice.choice((1, 3, 10))
        chosen = dice.sample(few if dice.random() < 0.9 else files, one.disturbances)
        shutil.copytree(clone.build, clone.root / "aside", symlinks=True)
        others = world.finished(clone) - {path.relative_to(clone.build).parts[1] for path in chosen
                                          if len(path.relative_to(clone.build).parts) > 1}
        words = []
        for path in chosen:
            name = dice.choice(tuple(MUTATIONS))
            words.append(f"{path.relative_to(clone.build)}: {name}")
            mutate(path, name, dice)
        one.what = f"{', '.join(words)} [{state}]"
        run = clone.doit("release")
        world.judge(one, run.code, run.text)
        one.wrong += [f"compiled twice: {cell}" for cell in others if cell.partition("-")[2] in run.compiled]
        if run.code != 0:  # it was told: who reads it puts the files right
            for path in chosen:
                _restore(path, clone.root / "aside" / path.relative_to(clone.build))
    return one


def _restore(path: Path, good: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    shutil.copy2(good, path)


def disk(world: World) -> Try:
    """A disk that is full at some moment, below ``build/`` or in a folder of it."""
    dice, state = world.dice, world.dice.choice(_UNDONE)
    verb, kib = dice.choice(_VERBS), int(2 ** dice.uniform(2, 13))
    with world.attempt("disk", "", state) as one:
        cell, build = dice.choice(world.cells), one.clone.build
        folder = dice.choice((build, build / "cells", build / "cells" / cell, build / "release", build / "engine"))
        one.what = f"{verb}: {kib} KiB in {folder.relative_to(build.parent)} [{state}]"
        with small_disk(folder, kib):
            code, text = Running(one.clone, verb).end()
        world.judge(one, code, text)
    return one


def parallel(world: World) -> Try:
    """Two runs in a checkout, one in another that publishes to the same place; one of them may be killed."""
    dice, state = world.dice, world.dice.choice(_UNDONE)
    with world.attempt("parallel", "", state) as one:
        other = one.clone.checkout(one.clone.root.with_name(f"{one.clone.root.name}-other"))
        other.extra["TMPDIR"] = one.clone.extra["TMPDIR"]
        runs = []
        for clone in dice.sample([one.clone, one.clone, other], 3):
            runs.append(Running(clone, dice.choice(_VERBS)))
            time.sleep(dice.uniform(0, 2))
        whom = dice.choice(("none", "none", "doit", "tree"))
        one.what = f"one killed: {whom} [{state}]"
        if whom != "none":
            victim = dice.choice(runs)
            if world.moment(one, victim, state):
                _kill(victim, whom, dice)
        for run in runs:
            code, text = run.end()
            world.judge(one, code, text, signal.SIGKILL)
        again = other.doit("release")
        world.judge(one, again.code, again.text)
        if again.code != 0:
            one.wrong.append(f"the other checkout does not heal: {again.text[-800:]}")
        subprocess.run(["chmod", "-R", "u+w", str(other.root)], check=False)
        shutil.rmtree(other.root)
    return one


def podman(world: World) -> Try:
    """Somebody removes images or containers, or ends them."""
    dice, state = world.dice, world.dice.choice(("new", "fetched", "half"))
    what = dice.choice(("rmi", "rm", "kill"))
    with world.attempt("podman", what, state) as one:
        run = Running(one.clone, dice.choice(_VERBS))
        going = world.moment(one, run, state)
        while going and dice.random() < 0.7:
            _sabotage(what, dice)
            going = run.wait_until(dice.uniform(0, 1))
        code, text = run.end()
        world.judge(one, code, text)
    return one


def _sabotage(what: str, dice: random.Random) -> None:
    if what == "rmi":
        listed = _podman("images", "--format={{.ID}}").split()
        argv = ["image", "rm", "--force", *dice.sample(listed, min(1, len(listed)))]
    else:
        listed = _podman("ps", "--all", "--quiet").split()
        argv = ["rm", "--force", "--time=0", *listed] if what == "rm" else ["kill", *listed]
    if listed:
        _podman(*argv)


def _podman(*words: str) -> str:
    return subprocess.run(["podman", *words], capture_output=True, text=True, check=False).stdout


def version(world: World) -> Try:
    """Another version of the tool, whose images differ, works on the same ``build/`` and is killed, or ends."""
    dice, state = world.dice, world.dice.choice(_UNDONE)
    name, old, new = dice.choice((
        ("config/profiles/sandbox.yaml", "vendor: kmod-foundry", "vendor: another version"),
        ("container/build-module.sh", "set -eu", "set -eu\n# another version"),
        ("container/Containerfile", "FROM", "# another version\nFROM"),
    ))
    with world.attempt("version", f"another {name}", state) as one:
        file = one.clone.root / name
        before = file.read_text()
        one.clone.edit(name, old, new)
        run = Running(one.clone, "build")
        if world.moment(one, run, state):
            _kill(run, dice.choice(("doit", "tree")), dice)
        code, text = run.end()
        world.judge(one, code, text, signal.SIGKILL)
        file.write_text(before)
    return one


KINDS: dict[str, Callable[[World], Try]] = {
    "kill": kill, "signal": interrupt, "network": network, "corrupt": corrupt, "disk": disk, "parallel": parallel,
    "podman": podman, "version": version,
}

