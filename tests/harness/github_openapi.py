"""GitHub's OpenAPI description, which the stand-in holds both sides to.

The npm package `@octokit/openapi` has it (MIT). It is fetched once from the npm registry into ``build/cache``, by
HTTPS and with its digest checked; no npm is needed. The operations that are used are cut out and kept, because the
whole takes half a minute to read.

Where GitHub is known to differ from the description:

- an asset's `state` is `starter` after an upload that died; the description has only `uploaded` and `open`
- an upload may have any content type and an empty `label`
- a folder's contents are told from a file's by a member `type`, which a list can't have: which of them it is, is
  found by trying
- a refusal (422) of a blob is said to fit exactly one of two forms, of which each fits the other: one is enough
- any operation can answer 401, 403, 404, 422, 429 and 5xx; where the description does not say with what, it is held
  to `basic-error`

Stricter than the description: a query parameter or member of a body that it does not know is a violation.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from jsonschema.exceptions import best_match
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

CACHE = Path(__file__).parents[2] / "build" / "cache"
VERSION = "23.0.2"
_SHA512 = "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
_CUT = 3  # changes with what `_cut` does
_LEFT_OUT = ("example", "examples", "discriminator")
_ANY_ERROR = "#/components/schemas/basic-error"
Operations = tuple[tuple[str, str], ...]


@dataclass
class Asked:
    """A request as openapi-core wants to see it; the path's parts are known already, so slashes in them do no harm."""

    host_url: str
    method: str
    path: str
    path_pattern: str
    parameters: RequestParameters
    content_type: str
    body: bytes | None


@dataclass(frozen=True)
class Answered:
    """An answer as openapi-core wants to see it."""

    status_code: int
    content_type: str
    headers: Headers
    data: bytes | None


class Description:
    """The operations that were cut out. What it is given is never changed."""

    def __init__(self, cut: dict[str, Any]) -> None:
        self._operations = cut["paths"]
        self._servers = [server["url"] for server in cut["servers"]]
        # the description itself is not ours to validate; the type of the setting does not say that None does that
        self._api = OpenAPI.from_dict(cut, config=Config(spec_validator_cls=None))  # type: ignore[arg-type]
        self._lock = threading.Lock()

    def server(self, method: str, pattern: str) -> str:
        """Where GitHub answers the operation, as ``https://host``."""
        servers = self._operation(method, pattern).get("servers", [])
        return str([*(server["url"] for server in servers), *self._servers][0])

    def request(
        self, method: str, pattern: str, *, path: Mapping[str, str], query: Iterable[tuple[str, str]],
        headers: Mapping[str, str], body: bytes,
    ) -> list[str]:
        """What the description does not allow in a request."""
        operation, pairs = self._operation(method, pattern), list(query)
        upload = "application/octet-stream" in operation.get("requestBody", {}).get("content", {})
        if upload:
            pairs = [pair for pair in pairs if pair != ("label", "")]
            headers = {**headers, "Content-Type": "application/octet-stream"} if "Content-Type" in headers else headers
            body = body[:1]
        asked = self._asked(method, pattern, path, pairs, headers, body)
        with self._lock:
            found = [text for error in self._api.iter_request_errors(asked) for text in _texts(error)]
        known = {parameter["name"] for parameter in operation.get("parameters", [])}
        found += [f"unknown query parameter {name}" for name, _ in pairs if name not in known]
        if body and not upload:
            found += _unknown_members(operation, body)
        return [f"{method} {pattern}: {text}" for text in found]

    def answer(self, method: str, pattern: str, answered: Answered) -> list[str]:
        """What the description does not allow in an answer."""
        status = answered.status_code
        if not self.describes(method, pattern, status) and status < 400:
            return [f"{method} {pattern}: there is no answer {status}"]
        with self._lock:
            asked = self._asked(method, pattern, {}, [], {}, b"")
            found = [text for error in self._api.iter_response_errors(asked, answered) for text in _texts(error)]
        return [f"{method} {pattern}, answer {status}: {text}" for text in found]

    def describes(self, method: str, pattern: str, status: int) -> bool:
        """Whether the description has an answer with this status."""
        return str(status) in self._operation(method, pattern)["responses"]

    def _operation(self, method: str, pattern: str) -> dict[str, Any]:
        found: dict[str, Any] = self._operations[pattern][method.lower()]
        return found

    def _asked(
        self, method: str, pattern: str, path: Mapping[str, str], query: Iterable[tuple[str, str]],
        headers: Mapping[str, str], body: bytes,
    ) -> Asked:
        parameters = RequestParameters(
            query=ImmutableMultiDict(query), header=Headers(dict(headers)), path=dict(path))
        return Asked(self.server(method, pattern), method.lower(), pattern, pattern, parameters,
                     headers.get("Content-Type", ""), body or None)


def _texts(error: BaseException) -> Iterator[str]:
    """Each fault that an error of openapi-core reports, in one line."""
    seen: BaseException | None = error
    while seen is not None:
        inner = getattr(seen, "schema_errors", None)
        if inner is not None:
            for one in inner:
                closest = best_match([one])  # of a choice, what fits best
                where = "/".join(str(part) for part in closest.absolute_path)
                yield f"{type(error).__name__} at {where or 'the top'}: {closest.message[-300:]}"
            return
        seen = seen.__cause__
    yield f"{type(error).__name__}: {error}: {error.__cause__ or ''}"


def _unknown_members(operation: Mapping[str, Any], body: bytes) -> list[str]:
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    try:
        given = json.loads(body)
    except ValueError:
        return ["the body is no JSON"]
    if not isinstance(given, dict):
        return []
    return [f"unknown member {name}" for name in given if name not in schema.get("properties", {})]


# -- getting it ------------------------------------------------------------------


@cache
def description(operations: Operations) -> Description:
    """The description of some operations, each a method and a path; read once."""
    called = hashlib.sha256(repr((VERSION, _CUT, sorted(operations))).encode()).hexdigest()[:12]
    file = CACHE / f"github-openapi-{VERSION}-{called}.json"
    if not file.exists():
        _write(file, json.dumps(_cut(json.loads(_whole()), operations)).encode())
    return Description(json.loads(file.read_bytes()))


def _cut(whole: dict[str, Any], operations: Operations) -> dict[str, Any]:
    """The operations with everything that they refer to; the known differences are put right."""
    cut: dict[str, Any] = {name: whole[name] for name in ("openapi", "info", "servers")}
    paths: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    waiting = [_ANY_ERROR]
    for method, pattern in operations:
        operation = _plain(whole["paths"][pattern][method.lower()])
        operation["parameters"] = [_resolved(whole, one) for one in operation.get("parameters", [])]
        for status, answer in operation["responses"].items():
            schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
            if status >= "400" and "oneOf" in schema:
                schema["anyOf"] = schema.pop("oneOf")
        operation["responses"]["default"] = {
            "description": "error", "content": {"application/json": {"schema": {"$ref": _ANY_ERROR}}}}
        paths.setdefault(pattern, {})[method.lower()] = operation
        waiting += _references(operation)
    while waiting:
        _, _, kind, name = waiting.pop().split("/")
        if name not in parts.setdefault(kind, {}):
            parts[kind][name] = _plain(whole["components"][kind][name])
            waiting += _references(parts[kind][name])
    asset = parts.get("schemas", {}).get("release-asset")
    if asset:
        asset["properties"]["state"]["enum"].append("starter")
    return {**cut, "paths": paths, "components": parts}


def _resolved(whole: dict[str, Any], parameter: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in parameter:
        parameter = whole["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    found: dict[str, Any] = _plain(parameter)
    return found


def _plain(value: Any, inside: str = "") -> Any:
    """A copy without what is left out."""
    if isinstance(value, dict):
        return {key: _plain(one, key) for key, one in value.items()
                if inside == "properties" or key not in _LEFT_OUT}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [name for one in value.values() for name in _references(one)]
    return [name for one in value for name in _references(one)] if isinstance(value, list) else []


def _whole() -> bytes:
    """The whole description, out of the package."""
    file = CACHE / f"octokit-openapi-{VERSION}.tgz"
    if not file.exists():
        url = f"{_registry()}/@octokit/openapi/-/openapi-{VERSION}.tgz"
        assert urlsplit(url).scheme == "https", "the npm registry is asked by HTTPS only"
        answer = requests.get(url, timeout=120)
        assert answer.ok, f"GitHub's description (npm @octokit/openapi {VERSION}): HTTP {answer.status_code}"
        digest = base64.b64encode(hashlib.sha512(answer.content).digest()).decode()
        assert digest == _SHA512, f"GitHub's description (npm @octokit/openapi {VERSION}) has another digest: {digest}"
        _write(file, answer.content)
    with tarfile.open(fileobj=io.BytesIO(file.read_bytes())) as package:
        member = package.extractfile("package/generated/api.github.com.json")
        assert member is not None
        return member.read()


def _registry() -> str:
    """npm's registry as this machine has it set."""
    told = os.environ.get("npm_config_registry") or os.environ.get("NPM_CONFIG_REGISTRY")  # noqa: SIM112, npm's name
    if not told and shutil.which("npm"):
        done = subprocess.run(["npm", "config", "get", "registry"], capture_output=True, text=True, check=False)
        told = done.stdout.strip()
    return (told if told and told.startswith("http") else "https://registry.npmjs.org").rstrip("/")


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(file)
