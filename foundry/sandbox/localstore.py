"""The local images that a sandbox makes on the way to its registry; none stays."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from foundry.base.files import scratch, sha256_bytes
from foundry.base.process import run_even_when_stopping
from foundry.base.reasons import Reason
from foundry.podman.build import build_image
from foundry.podman.engine import Engine
from foundry.podman.leftovers import remove_leftovers
from foundry.sandbox.daemons import REGISTRY

# On every image of a shared store, so that nameless ones which a killed build left are found.
_MARK = "kmod-foundry.sandbox=toolkit"
_NAMELESS = "<none>"


class LocalStore:
    """Builds and pushes images with `engine`; `work` takes temporary files.

    Names hold a hash of the sandbox's place: two sandboxes of one user share
    podman's store and must not remove each other's images. The names of the
    images that toolkits are built from end up in the toolkits, which have the
    same bytes everywhere: those are in a `shared` store, for one sandbox at a time.
    """

    def __init__(self, engine: Engine, work: Path, *, shared: bool = False) -> None:
        self.engine = engine
        self.work = work
        self.shared = shared
        self.id = "shared" if shared else sha256_bytes(str(work.absolute()).encode())[:12]

    @contextmanager
    def cleaned(self) -> Iterator[None]:
        """Nothing of an earlier run is there in the block, and nothing of this one after it."""
        self.clean()
        try:
            yield
        finally:
            try:
                self.clean()
            except KeyboardInterrupt:  # the process is being stopped and starts no command any more
                run_even_when_stopping(
                    [sys.executable, "-m", "foundry.sandbox.localstore",
                     f"--state={self.engine.state.absolute()}", f"--work={self.work.absolute()}",
                     *(["--shared"] if self.shared else [])],
                    {"PYTHONPATH": os.pathsep.join(sys.path)},
                )
                raise

    def build(
        self,
        name: str,
        recipe: Path,
        context: Path,
        *,
        log: Path,
        created: int,
        arguments: Mapping[str, str] | None = None,
        target: str = "",
        layers: bool = False,
        labels: Mapping[str, str] | None = None,
        secrets: Mapping[str, Path] | None = None,
    ) -> str:
        """``podman build``; returns the image's id. `created` (seconds) is its time and its files'.

        With `layers` every step is a layer that later builds use again.
        """
        return build_image(
            self.engine, self.work, self._tag(name), recipe, context, log=log, created=created, arguments=arguments,
            target=target, layers=layers, labels=labels, secrets=secrets,
            more=[f"--label={_MARK}"] if self.shared else ["--omit-history"],
            reason=Reason.TOOLKIT_BUILD_FAILED if layers else Reason.SANDBOX_IMAGE_FAILED,
        )

    def push(self, name: str, target: str, *, log: Path, keep: bool = False) -> str:
        """Push a built image as `target` (``repository:tag``); returns its reference by digest.

        It is removed here, unless it is to be kept.
        """
        with scratch(self.work, "push") as folder, self.engine.auth_file(f"{REGISTRY}/{target}") as credentials:
            digest = folder / "digest"
            # Unlike a pull, a push is not redirected by registries.conf: it needs the address itself.
            self.engine.call(
                "push", "--quiet", "--tls-verify=false", *credentials, f"--digestfile={digest}", self._tag(name),
                f"docker://{self.engine.registries[REGISTRY]}/{target}", log=log,
            )
            reference = f"{REGISTRY}/{target.rpartition(':')[0]}@{digest.read_text(encoding='utf-8').strip()}"
        if not keep:
            self.engine.remove_image(self._tag(name))
        return reference

    def clean(self) -> None:
        """Remove what is left of this store's images and build containers, and of nobody else's."""
        remove_leftovers(self.engine)
        for _ in range(2):  # a container holds its image, an image its parents
            left = self._left()
            if not left:
                return
            self._remove_working_containers(list(left.values()))
            self.engine.call("image", "rm", "--ignore", *left, check=False)

    def _left(self) -> dict[str, str]:
        """Names of this store's images (ids of the nameless ones) → ids; a toolkit that was pulled is no part of it."""
        found = self._images(f"reference={self._repository('*')}")
        if self.shared:
            found += self._images(f"label={_MARK}")
        ours = self._repository("")
        return {
            image if repository == _NAMELESS else f"{repository}:latest": image
            for image, repository in found if repository == _NAMELESS or repository.startswith(ours)
        }

    def _images(self, condition: str) -> list[tuple[str, str]]:
        done = self.engine.call(
            "images", "--all", "--no-trunc", "--format={{.ID}} {{.Repository}}", f"--filter={condition}", check=False)
        rows = [line.split() for line in done.stdout.splitlines()]
        return [(image.removeprefix("sha256:"), repository) for image, repository in rows]

    def _remove_working_containers(self, images: list[str]) -> None:
        """Containers that a killed ``podman build`` left: podman calls them external, with the status `Storage`.

        A compile in a pulled toolkit has the same image id as a toolkit that was just built, and is none of them.
        """
        shown = self.engine.call(
            "ps", "--all", "--external", "--no-trunc", "--format={{.ID}} {{.ImageID}} {{.Image}} {{.Status}}",
            check=False)
        ours = [
            line.split()[0] for line in shown.stdout.splitlines()
            if line.lower().endswith(" storage") and f" {REGISTRY}/" not in line
            and (self._repository("") in line or any(image in line for image in images))
        ]
        if ours:
            self.engine.call("rm", "--force", "--time=0", *ours, check=False)

    def _repository(self, name: str) -> str:
        return f"localhost/kmod-foundry-sandbox-{self.id}/{name}"

    def _tag(self, name: str) -> str:
        return f"{self._repository(name)}:latest"


def main(argv: Sequence[str] | None = None) -> None:
    """Clean one store."""
    parser = argparse.ArgumentParser(prog="sandbox-clean")
    parser.add_argument("--state", type=Path, required=True, help="the engine's state file")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shared", action="store_true")
    wanted = parser.parse_args(argv)
    LocalStore(Engine(wanted.state), wanted.work, shared=wanted.shared).clean()


if __name__ == "__main__":
    main()
