"""podman, and what this machine needs so that a container starts.

Plain machines need no settings. Confined ones (no CAP_SYS_RESOURCE, hybrid
cgroups, a storage driver that can't be used) do: the engine tries out, once per
machine, which of a short list of settings lets a container really start, keeps
the answer in a file and says what it chose.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.filelock import locked
from foundry.base.files import append_to, pretty_json, read_file, read_json, sha256_bytes, write_atomic
from foundry.base.process import Completed, run, run_even_when_stopping
from foundry.base.reasons import Reason
from foundry.base.references import parse_reference
from foundry.podman.probe import EngineSettings, find_out, machine
from foundry.registry.credentials import Credential, Credentials, auth_document

AUTH_PREFIX = "auth-"
_REFUSED = ("unauthorized", "denied", "authentication required")  # it would be refused again
# What registries say of a manifest that they do not have (distribution specification, MANIFEST_UNKNOWN).
_GONE = ("manifest unknown", "not found", "MANIFEST_UNKNOWN")



def _meaning(error: FoundryError) -> FoundryError:
    """What a failed pull means, which podman says in words alone. Only a pull that may go well later is to be retried.

    ``image-missing``: the registry doesn't have the image. OutsideError ``registry-denied``: it refuses; else the
    error's own reason.
    """
    if isinstance(error, OutsideError):
        return error
    if any(word in error.message for word in _GONE):
        return FoundryError(error.message, reason=Reason.IMAGE_MISSING, hint=error.hint, log=error.log,
                            replay=error.replay)
    refused = any(word in error.message for word in _REFUSED)
    return OutsideError(
        error.message, reason=Reason.REGISTRY_DENIED if refused else error.reason, log=error.log,
        replay=error.replay, retry=not refused,
        hint="is the registry reachable, and has podman credentials for it (`podman login`)?",
    )


@dataclass
class Engine:
    """podman with the settings that this machine takes.

    `state` is where the verdict is kept; `registries` maps a registry name to
    the loopback address where it is served (see `registries_conf`); `credentials`
    are handed to podman for each pull, and for that alone. `mirrors` says of an
    image's digest which ``host/repository`` has it, too: podman looks there first.
    """

    state: Path
    registries: Mapping[str, str] = field(default_factory=dict)
    credentials: Credentials | None = None
    mirrors: Mapping[str, str] = field(default_factory=dict)
    pauses: Sequence[float] = (1.0, 5.0)  # seconds before a pull is tried again
    _containers: set[str] = field(default_factory=set)
    _settings: EngineSettings | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def settings(self) -> EngineSettings:
        """What this machine takes; finds out the first time, in about two seconds.

        Raises OutsideError (podman missing, or unable to start a container).
        """
        with self._lock:
            if self._settings is None:
                self._settings = self._remembered() or self._found_out()
            return self._settings

    def call(
        self,
        *args: str,
        log: Path | None = None,
        timeout: float = 3600.0,
        check: bool = True,
        hint: str = "",
        reason: Reason = Reason.PODMAN_FAILED,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """``podman <args>``, with what this machine needs.

        A build is given time to end when the run is being stopped: podman leaves
        its working container behind when it is killed.
        """
        return run(
            self.command(*args), log=log, timeout=timeout, check=check,
            env=self.environment() if env is None else env, hint=hint, reason=reason, stdin=stdin,
            patient=args[0] == "build",
        )

    def command(self, verb: str, *args: str) -> list[str]:
        """The whole argument list, as it would be run."""
        settings = self.settings()
        mark = [self.build_mark] if verb == "build" else []
        return ["podman", *settings.global_args, verb, *settings.of(verb), *mark, *args]

    def environment(self) -> dict[str, str]:
        """What podman needs in its environment: a place for temporary files, the registry addresses of the profile."""
        self.temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.temporary.lstat().st_uid != os.geteuid():
            raise OutsideError(f"{self.temporary} is somebody else's", reason=Reason.DISK, hint="remove it")
        place = {"TMPDIR": str(self.temporary.absolute())}
        if not self.registries:
            return place
        return place | self._configured("registries.conf", registries_conf(self.registries))

    @property
    def temporary(self) -> Path:
        """Where podman has its temporary files: what is left there when it is killed is ours.

        podman saves no image where the name of that place has a colon.
        """
        place = self.state.absolute().parent / "tmp"
        return place if ":" not in str(place) else Path(tempfile.gettempdir(), self.mark)

    def _configured(self, name: str, content: str) -> dict[str, str]:
        conf, text = self.state.parent / name, content.encode()
        if not conf.exists() or read_file(conf) != text:
            write_atomic(conf, text)
        return {"CONTAINERS_REGISTRIES_CONF": str(conf.absolute())}

    def has_image(self, reference: str) -> bool:
        """True when the local store has the image; False only when podman says that it has not."""
        done = self.call("image", "exists", reference, check=False)
        if done.returncode not in (0, 1):
            raise FoundryError(
                f"podman could not say whether {reference} is here: {done.stderr.strip()[:200]}",
                reason=Reason.PODMAN_FAILED, hint="run `doit doctor`",
            )
        return done.returncode == 0

    def pull(self, reference: str, *, log: Path | None = None) -> None:
        """Pull an image by digest; tried again where the store or the network is to blame.

        Raises FoundryError when the registry doesn't have it, OutsideError when
        the registry can't be reached or refuses.
        """
        for pause in (*self.pauses, None):
            try:
                with self.no_removals():
                    self._pull(reference, log)
                return
            except OutsideError as error:
                if not error.retry or pause is None:
                    raise
                if log is not None:
                    append_to(log)(f"tried again in {pause:g} s: {error.message}")
                time.sleep(pause)

    def _pull(self, reference: str, log: Path | None) -> None:
        image = parse_reference(reference)
        mirror = self.mirrors.get(image.digest, "")
        env = None
        if mirror:
            text = registries_conf(self.registries) + "\n" + mirror_conf(image.name, mirror, self.registries)
            env = self.environment() | self._configured(f"mirror-{sha256_bytes(text.encode())[:12]}.conf", text)
        try:
            with self.auth_file(reference, mirror) as options:
                self.call(
                    "pull", "--quiet", *options, reference, log=log, reason=Reason.IMAGE_PULL_FAILED, env=env,
                    hint=f"is {reference} still in its registry?",
                )
        except FoundryError as error:
            raise _meaning(error) from error

    @cached_property
    def _store_lock(self) -> Path:
        """Beside what podman keeps, so that all who use the store have the same lock.

        To remove an image while another one with layers in common is pulled makes the pull fail (podman 4.3:
        "layer not known"), and so does a build that is about to begin on it. So pulls and builds share this lock, and
        who removes an image that others may need has it alone.
        """
        return Path(self.call("info", "--format={{.Store.GraphRoot}}").stdout.strip()) / "kmod-foundry.lock"

    def no_removals(self) -> AbstractContextManager[bool]:
        """No run removes an image that others may need during the block."""
        return locked(self._store_lock, shared=True)

    def no_users(self, *, wait: bool) -> AbstractContextManager[bool]:
        """No run pulls or builds an image during the block; without `wait` it is False where one does."""
        return locked(self._store_lock, wait=wait)

    def alone_with(self, what: str) -> AbstractContextManager[bool]:
        """No other run makes the same image during the block.

        podman's store has one image for the same content. When one run removes it while another run writes it, the
        other's build fails (podman 4.3: "locating just-written image").
        """
        return locked(self._store_lock.with_name("kmod-foundry-builds") / sha256_bytes(what.encode())[:2])

    @contextmanager
    def auth_file(self, reference: str, mirror: str = "") -> Iterator[list[str]]:
        """Options that give podman the credentials for an image, in a file that only this user can read."""
        found: dict[str, Credential] = {}
        for image in [parse_reference(name) for name in (mirror, reference) if name]:
            try:
                credential = self.credentials.find(image.host, image.repository) if self.credentials else None
            except FoundryError:
                if image.name != mirror:
                    raise
                continue  # podman goes to the image's own registry when the mirror refuses
            if credential is not None:
                found |= dict.fromkeys([image.host, *filter(None, [self.registries.get(image.host)])], credential)
        if not found:
            yield []
            return
        with self.private_folder() as private:
            file = private / "auth.json"
            write_atomic(file, auth_document(found), mode=0o600)
            yield [f"--authfile={file.absolute()}"]

    @contextmanager
    def private_folder(self) -> Iterator[Path]:
        """A folder for secrets that only this user can enter; what a killed run left goes with the next one."""
        folder = self.state.parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=AUTH_PREFIX) as private:
            yield Path(private)

    def remove_image(self, reference: str) -> bool:
        """Remove an image from the local store, also while a run is being stopped; False when it is still there."""
        return run_even_when_stopping(self.command("image", "rm", reference), self.environment())

    def architecture_of(self, reference: str) -> str:
        """What a local image says that it is for, in OCI's words (``amd64``, ``arm64``); empty when it is not there."""
        done = self.call("image", "inspect", "--format", "{{.Architecture}}", reference, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def size_of(self, reference: str) -> int:
        """Bytes that an image takes in the local store, shared layers counted; 0 when it is not there."""
        done = self.call("image", "inspect", "--format", "{{.Size}}", reference, check=False)
        return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdecimal() else 0

    def layers(self, *references: str) -> list[str]:
        """The digests of the images' unpacked layers, in order; without references, of all images that are here."""
        listed = references or self.call("images", "--quiet", "--no-trunc").stdout.split()
        if not listed:
            return []
        done = self.call("image", "inspect", "--format", "{{json .RootFS.Layers}}", *listed)
        return [layer for line in done.stdout.splitlines() for layer in json.loads(line) or ()]

    def find_out_again(self) -> EngineSettings:
        """As `settings`, but with a container that really starts now."""
        self.state.unlink(missing_ok=True)
        self._settings = None
        return self.settings()

    @cached_property
    def mark(self) -> str:
        """What the names of all containers of this checkout begin with, so that leftovers can be found."""
        return f"kmod-foundry-{sha256_bytes(str(self.state.absolute()).encode())[:16]}"

    @property
    def build_mark(self) -> str:
        """The mark of builds: the name of a secret that no step asks for.

        buildah keeps it with the working container, and nothing of it gets into the image.
        """
        return f"--secret=id={self.mark},env=PATH"

    @property
    def probes(self) -> str:
        """What the names of containers begin with that only find out what podman needs; the process follows."""
        return f"{self.mark}-probe-"

    @contextmanager
    def container(self, purpose: str) -> Iterator[str]:
        """A name for a container that is gone when the block ends, however it ends."""
        name = f"{self.mark}-{os.getpid()}-{next(self._numbers)}-{sha256_bytes(purpose.encode())[:8]}"
        self._containers.add(name)
        try:
            yield name
        except BaseException:  # an interruption, too, leaves no container behind; it is raised on
            self.remove_containers([name])
            raise
        finally:
            self._containers.discard(name)

    @contextmanager
    def temporary_image(self, purpose: str) -> Iterator[str]:
        """A name for an image that is gone when the block ends, however it ends."""
        name = f"{self.own_images}:{os.getpid()}-{next(self._numbers)}-{sha256_bytes(purpose.encode())[:8]}"
        try:
            yield name
        finally:
            self.remove_image(name)

    @property
    def own_images(self) -> str:
        """The repository of this checkout's temporary images."""
        return f"localhost/{self.mark}"

    def containers(self) -> list[str]:
        """The containers that are at work in this run."""
        return sorted(self._containers)

    def remove_containers(self, names: Sequence[str]) -> None:
        """Stop and remove containers at once; works for a run that is being stopped, too."""
        if names:
            run_even_when_stopping(self.command("rm", "--force", "--ignore", "--time=0", *names), self.environment())

    def version(self) -> str:
        """The version of podman, such as ``4.3.1``."""
        return self.call("version", "--format", "{{.Client.Version}}").stdout.strip()

    # -- finding out ---------------------------------------------------------

    def _remembered(self) -> EngineSettings | None:
        kept = read_json(self.state)
        if not isinstance(kept, dict) or kept.get("machine") != machine():
            return None
        try:
            return EngineSettings(*(tuple(kept[one.name]) for one in fields(EngineSettings)))
        except (KeyError, TypeError):  # of another version
            return None

    def _found_out(self) -> EngineSettings:
        settings = find_out(self.state.parent, f"{self.probes}{os.getpid()}", self.build_mark)
        self._remember(settings)
        return settings

    def _remember(self, settings: EngineSettings) -> None:
        write_atomic(self.state, pretty_json({
            "machine": machine(), **asdict(settings),
        }))
        if settings != EngineSettings():
            print(f"podman: this machine needs {settings.describe()}", file=sys.stderr)


def registries_conf(registries: Mapping[str, str]) -> str:
    """A containers-registries.conf that serves each name at its address.

    Format: containers-registries.conf(5). Addresses are ``host:port``; they are
    plain HTTP, which the sandbox's loopback registry speaks.
    """
    parts = ['unqualified-search-registries = []\n']
    for name, address in sorted(registries.items()):
        parts.append(
            f"[[registry]]\nprefix = {json.dumps(name)}\nlocation = {json.dumps(address)}\ninsecure = true\n"
        )
    return "\n".join(parts)


def mirror_conf(name: str, mirror: str, registries: Mapping[str, str]) -> str:
    """The part of a containers-registries.conf that has podman look for a repository's digests in a mirror first."""
    places = []
    for place in (name, mirror):
        host, _, repository = place.partition("/")
        address = registries.get(host, "")
        places.append(f"location = {json.dumps(f'{address or host}/{repository}')}\n"
                      f"insecure = {'true' if address else 'false'}\n")
    return (f"[[registry]]\nprefix = {json.dumps(name)}\n{places[0]}\n[[registry.mirror]]\n{places[1]}"
            'pull-from-mirror = "digest-only"\n')
