"""What a killed run of this checkout left at podman: containers, images, mounts, processes, temporary files.

All of it bears the engine's mark: containers have it in their name, images in their repository, files in their path;
of buildah's working containers ``buildah.json`` has it, which buildah writes into their folder in podman's store
(`Engine.command`). A container that buildah was killed before it wrote that, and an image without name or manifest,
are nobody's, and nobody can use them (such an image makes ``podman images --all`` fail): they go when no program is at
work in the store. podman kills none of what goes on without it: the container of a step of a build, and a conmon that
waits for a container which was never started. Both are ended here.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.files import is_process, remove_tree
from foundry.base.process import end_processes, run, with_word
from foundry.base.reasons import Reason
from foundry.podman.engine import AUTH_PREFIX, Engine

_STEP = "buildah"  # what the names of the folders of builds begin with; a step's container has it before that name
_WORKING = re.compile(r"(^|-)working-container(-[0-9]+)?$")  # so end the names that buildah gives
_STORE = "CONTAINERS_STORAGE_CONF"
_WRITERS = ("podman", "buildah", "skopeo", "crio")  # the programs that write into such a store
_SECONDS = 60.0
_VANISHED = re.compile(r"(container|image|layer) not known|no such (container|image)|does not exist in", re.IGNORECASE)
_PAUSES = (0.1, 0.3, 1.0, 3.0)  # seconds


def remove_leftovers(engine: Engine) -> None:
    """Remove all of it; only under the run's lock. FoundryError ``podman-failed`` where podman does not answer."""
    steps = [f"{_STEP}-{folder.name}" for folder in engine.temporary.glob(f"{_STEP}*")]
    _delete(engine, steps)
    store = engine.call("info", "--format={{.Store.GraphRoot}}/{{.Store.GraphDriverName}}").stdout.strip()
    engine.remove_containers(_containers(engine, store))
    _end_monitors(engine)
    for image in _unfinished_images(store):
        engine.remove_image(image)
    for name in _listed(engine, "images", "--format={{.Repository}}:{{.Tag}}",
                        f"--filter=reference={engine.own_images}").split():
        engine.remove_image(name)
    for folder in (engine.temporary, *engine.state.parent.glob(f"{AUTH_PREFIX}*")):
        remove_tree(folder)


def _containers(engine: Engine, store: str) -> list[str]:
    """The ids of ours, podman's and buildah's, also half-made ones that only the store knows."""
    listed = json.loads(_listed(engine, "ps", "--all", "--external", "--no-trunc", "--format=json") or "[]")
    external = {one["Id"]: " ".join(one["Names"] or ()) for one in listed if one["State"] == "storage"}
    marked = set(_working(engine, external, Path(f"{store}-containers")))
    return [one["Id"] for one in listed if one["Id"] in marked or _has_mark(engine, one)]


def _listed(engine: Engine, *words: str) -> str:
    """What podman lists; anew where something vanished while it looked, as others of this store make and remove."""
    for pause in _PAUSES:
        try:
            return engine.call(*words).stdout
        except FoundryError as error:
            if not _VANISHED.search(error.message):
                raise
            time.sleep(pause)
    return engine.call(*words).stdout


def _has_mark(engine: Engine, one: dict[str, Any]) -> bool:
    names = [name for name in one["Names"] or () if name.startswith(f"{engine.mark}-")]
    probes = [name.removeprefix(engine.probes) for name in names if name.startswith(engine.probes)]
    return bool(names) and not any(is_process(int(number)) for number in probes)  # `doctor` may be at work, too


def _working(engine: Engine, external: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Those of the ids whose ``buildah.json`` has the mark, and those of buildah's names that nobody is making."""
    for one, name in external.items():
        with suppress(OSError):
            if f"id={engine.mark}," in (folder / one / "userdata/buildah.json").read_text(errors="replace"):
                yield one
            continue
        if _WORKING.search(name) and not _at_work():
            yield one


def _unfinished_images(store: str) -> list[str]:
    """The ids of images that nobody is making; a store whose list we don't know has none."""
    try:
        listed = json.loads(Path(f"{store}-images", "images.json").read_bytes())
        found = [one["id"] for one in listed
                 if not one.get("names") and "manifest" not in one.get("big-data-names", ())]
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return []
    return [] if found and _at_work() else found


def _at_work() -> bool:
    """Whether a program of this user works in this store, as far as its name and environment say."""
    mine = os.fsencode(os.environ.get(_STORE, ""))
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # somebody else's, or it has ended meanwhile
            if (folder / "comm").read_text(errors="replace").strip() in _WRITERS:
                around = dict(entry.partition(b"=")[::2] for entry in (folder / "environ").read_bytes().split(b"\0"))
                if around.get(_STORE.encode(), b"") == mine:
                    return True
    return False


def _end_monitors(engine: Engine) -> None:
    """End each conmon that podman does not know, with what waits below it to become a container."""
    lines = [_words(pid) for pid in _monitors(engine)]
    _delete(engine, [words[words.index("-c") + 1] for words in lines if "-c" in words[:-1]])
    end_processes(lambda: _monitors(engine))


def _monitors(engine: Engine) -> list[int]:
    return [pid for pid in with_word(f"{engine.mark}-") if Path(_words(pid)[0]).name == "conmon"]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return [""]


def _delete(engine: Engine, names: Sequence[str]) -> None:
    """Have the runtime end and forget containers, which may be gone."""
    if not names:
        return
    chosen = [word.partition("=")[2] for word in engine.settings().global_args if word.startswith("--runtime=")]
    runtime = chosen or [engine.call("info", "--format={{.Host.OCIRuntime.Path}}").stdout.strip()]
    inside = [] if os.geteuid() == 0 else ["podman", "unshare"]
    for name in names:
        with suppress(FoundryError):
            run([*inside, *runtime, "delete", "--force", name], timeout=_SECONDS, check=False,
                reason=Reason.PODMAN_FAILED)
