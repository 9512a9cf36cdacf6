"""Credentials for registries: where they are looked for, in which order, and what was found.

Nothing found here is ever printed; a `Credential` shows its source alone.
Files have the form of containers-auth.json(5), which is Docker's.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from foundry.base.errors import OutsideError
from foundry.base.files import open_file
from foundry.base.plain_text import keep_login_secret, keep_secret
from foundry.base.process import run
from foundry.base.reasons import Reason
from foundry.base.references import DOCKER_HUB

_HUB_NAMES = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
_MAX_FILE = 1 << 20  # bytes of an auth file
_HELPER_SECONDS = 60.0
# How to get credentials for a registry that does not give them to everybody.
_HOW = {
    "quay.io": "OpenShift's toolkits need a Red Hat pull secret: save it from"
               " https://console.redhat.com/openshift/install/pull-secret and set QUAY_AUTH_FILE to that file",
}
_NOT_FOUND = "credentials not found"  # what docker-credential-helpers print, with exit code 1


@dataclass(frozen=True)
class Credential:
    """A user and password, or an identity token (OAuth 2 refresh token); `source` says where it comes from."""

    username: str
    password: str = field(repr=False)
    source: str
    identity_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        keep_login_secret(self.username, self.password)
        keep_secret(self.identity_token)


@dataclass(frozen=True)
class _Place:
    """Somewhere to look: the name that users know it by, and how to look for a host and repository."""

    name: str
    look: Callable[[str, str], Credential | None]


class Provider(Protocol):
    """A place that makes credentials for some registries, such as a cloud's API."""

    name: str

    def serves(self, host: str) -> bool:
        """Whether it is asked for this registry."""

    def find(self, host: str) -> Credential | None:
        """The credential; None when the place has none."""

    def forget(self, host: str) -> None:
        """Make a new one the next time: the registry says that the last has ended."""


class Credentials:
    """The credentials that this process's user has, by registry; `files` are auth files for one registry each."""

    def __init__(
        self, environ: Mapping[str, str] = os.environ, providers: Sequence[Provider] = (),
        files: Mapping[str, Path] | None = None,
    ) -> None:
        self.environ = environ
        self.providers = providers
        self.files = files or {}

    def find(self, host: str, repository: str) -> Credential | None:
        """What to use for a repository; None when no place has anything for it.

        Raises OutsideError ``credentials-unreadable`` for a file, helper or pair
        of variables that is there and can't be used: nothing is skipped silently.
        """
        for place in self._places(host):
            found = place.look(host, repository)
            if found is not None:
                return found
        return None

    def forget(self, host: str) -> bool:
        """What a provider made for a registry has ended; False when there is none: users' files can't be renewed."""
        serving = [provider for provider in self.providers if provider.serves(host)]
        for provider in serving:
            provider.forget(host)
        return bool(serving)

    def places(self, host: str) -> list[str]:
        """Where credentials for a registry are looked for, in order."""
        return [place.name for place in self._places(host)]

    def how_to_get(self, host: str) -> str:
        """What to do for credentials that are missing or refused, and where they were looked for."""
        how = _HOW.get(host, f"run `podman login {host}`")
        return f"{how}; looked in {', '.join(self.places(host))}"

    def _places(self, host: str) -> list[_Place]:
        places = [_Place(str(self.files[host]), self._file(self.files[host]))] if host in self.files else []
        if host == "quay.io":
            places.append(_Place("QUAY_USERNAME and QUAY_PASSWORD", self._quay))
            places += self._named("QUAY_AUTH_FILE")
        if host == "ghcr.io":
            places.append(_Place("GITHUB_TOKEN", self._github))
        for provider in self.providers:
            if provider.serves(host):
                places.append(_Place(provider.name, _asking(provider)))
        places += self._named("REGISTRY_AUTH_FILE")
        return places + [_Place(str(path), self._file(path)) for path in self._files()]

    def _named(self, variable: str) -> list[_Place]:
        """A file that a variable names; it must be there when the variable is set."""
        path = self.environ.get(variable, "")
        look = self._file(Path(path), variable) if path else lambda host, repository: None
        return [_Place(f"{variable} ({path})" if path else variable, look)]

    def _files(self) -> list[Path]:
        """The files of podman, then docker's: the order of containers-auth.json(5)."""
        home = Path(self.environ.get("HOME") or Path.home())
        runtime = self.environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
        below = "containers/auth.json" if "XDG_RUNTIME_DIR" in self.environ else "auth.json"
        settings = Path(self.environ.get("XDG_CONFIG_HOME") or home / ".config")
        docker = Path(self.environ.get("DOCKER_CONFIG") or home / ".docker")
        return [Path(runtime) / below, settings / "containers/auth.json", docker / "config.json"]

    def _quay(self, host: str, repository: str) -> Credential | None:
        user, password = self.environ.get("QUAY_USERNAME", ""), self.environ.get("QUAY_PASSWORD", "")
        if bool(user) != bool(password):
            missing = "QUAY_PASSWORD" if user else "QUAY_USERNAME"
            raise _unusable(f"{missing} is not set, only the other of the two is", "set both, or none")
        return Credential(user, password, "QUAY_USERNAME") if user else None

    def _github(self, host: str, repository: str) -> Credential | None:
        token = self.environ.get("GITHUB_TOKEN", "")
        return Credential(self.environ.get("GITHUB_ACTOR") or "token", token, "GITHUB_TOKEN") if token else None

    def _file(self, path: Path, variable: str = "") -> Callable[[str, str], Credential | None]:
        def look(host: str, repository: str) -> Credential | None:
            document = _read(path, variable)
            return _from_document(document, host, repository, path)

        return look


def auth_document(credentials: Mapping[str, Credential]) -> bytes:
    """An auth file for other programs, containers-auth.json(5): credentials by the names of registries."""
    auths = {}
    for host, credential in credentials.items():
        entry = {"auth": base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()}
        if credential.identity_token:
            entry["identitytoken"] = credential.identity_token
        auths[host] = entry
    return json.dumps({"auths": auths}).encode()


def _asking(provider: Provider) -> Callable[[str, str], Credential | None]:
    return lambda host, repository: provider.find(host)


def _read(path: Path, variable: str) -> Mapping[str, Any]:
    try:
        with open_file(path) as stream:
            content = stream.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not variable:
            return {}
        raise _unusable(f"the auth file {path} does not exist", f"correct {variable}, which names it") from error
    except OSError as error:
        raise _unusable(f"the auth file {path} can't be read: {error.strerror}") from error
    try:
        document = json.loads(content) if len(content) <= _MAX_FILE else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _unusable(f"the auth file {path} is no JSON object of at most {_MAX_FILE} bytes")
    return document


def _from_document(document: Mapping[str, Any], host: str, repository: str, path: Path) -> Credential | None:
    """The most specific entry wins: ``host/organisation/repository``, ``host/organisation``, ``host``."""
    helpers, auths = document.get("credHelpers", {}), document.get("auths", {})
    if not isinstance(helpers, dict) or not isinstance(auths, dict):
        raise _unusable(f"the auth file {path} has no mapping where one belongs (auths, credHelpers)")
    by_name = {_normal(name): entry for name, entry in auths.items()}
    for name in _names(host, repository):
        helper = helpers.get(name)
        if isinstance(helper, str) and helper:
            return _ask_helper(helper, name, path)
        entry = by_name.get(name)
        if isinstance(entry, dict) and entry:
            return _from_entry(entry, name, path)
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        return _ask_helper(store, "https://index.docker.io/v1/" if host in _HUB_NAMES else host, path)
    return None


def _names(host: str, repository: str) -> list[str]:
    parts = [part for part in repository.split("/") if part]
    hosts = list(dict.fromkeys((host, *_HUB_NAMES))) if host in _HUB_NAMES else [host]
    return [
        "/".join([one, *parts[:count]]) for count in range(len(parts), -1, -1) for one in hosts
    ]


def _normal(name: str) -> str:
    """A key of `auths` as ``host[/path]``; Docker writes ``https://host/v1/`` too."""
    bare = name.partition("://")[2] or name
    head, _, tail = bare.rstrip("/").partition("/")
    return head if tail in ("", "v1", "v2") else f"{head}/{tail}"


def _from_entry(entry: Mapping[str, Any], name: str, path: Path) -> Credential:
    source = f"{path} ({name})"
    token = entry.get("identitytoken")
    identity = token if isinstance(token, str) else ""
    if isinstance(entry.get("username"), str) and isinstance(entry.get("password"), str):
        return Credential(entry["username"], entry["password"], source, identity)
    try:
        user, colon, password = base64.b64decode(entry.get("auth", ""), validate=True).decode().partition(":")
    except (ValueError, TypeError):
        user = colon = password = ""
    if not identity and not (user and colon):
        raise _unusable(f"the entry {name} of the auth file {path} has no user and password", "log in again")
    return Credential(user, password.rstrip("\0"), source, identity)


def _ask_helper(helper: str, name: str, path: Path) -> Credential | None:
    """Docker's protocol: the server's name on stdin of ``docker-credential-<helper> get``, JSON comes back."""
    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise _unusable(f"the auth file {path} names the credential helper {helper!r}, which is no name")
    done = run([program, "get"], stdin=name.encode(), timeout=_HELPER_SECONDS, check=False)
    if done.returncode != 0:
        if _NOT_FOUND in (done.stdout + done.stderr):
            return None
        raise _unusable(f"{program} (named in {path}) failed with exit code {done.returncode}", "run it by hand")
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, TypeError, KeyError) as error:
        raise _unusable(f"{program} (named in {path}) does not answer with JSON") from error
    if user == "<token>":
        return Credential("", "", program, secret)
    return Credential(user, secret, program)


def _unusable(message: str, hint: str = "correct or remove it") -> OutsideError:
    return OutsideError(message, reason=Reason.CREDENTIALS_UNREADABLE, hint=hint)
