"""AWS on loopback: moto for ECR and STS, and a fake of the ECR APIs that holds both sides to botocore's model.

moto's ECR Public answers 500 to everything, and moto can't deny or disturb; the fake does both.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from unittest.mock import patch

import botocore.session
import requests
from botocore.model import ListShape, OperationModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.validate import ParamValidator

from tests.harness.front import send

ACCOUNT, ALIAS = "123456789012", "q5p6u7h8"
TOKEN = "ecr-token-canary"
_HOST = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
_COMMON = frozenset({  # "Common Errors" of the API references
    "AccessDeniedException", "ExpiredTokenException", "InternalFailure", "InvalidSignatureException",
    "MissingAuthenticationToken", "ThrottlingException", "UnrecognizedClientException",
})
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([a-z0-9-]+)/([a-z-]+)/aws4_request, ")


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's server, empty; yields its URL, for ``AWS_ENDPOINT_URL``. Its account is `ACCOUNT`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    try:
        requests.post(f"{url}/moto-api/reset", timeout=10).raise_for_status()
        yield url
    finally:
        requests.post(f"{url}/moto-api/reset", timeout=10)
        server.stop()


@contextmanager
def kms_that_signs_digests() -> Iterator[None]:
    """moto hashes what it signs even where `MessageType` says that it is a digest. AWS does not (API reference)."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256
    from moto.kms.utils import ECDSAPrivateKey

    hashing = ECDSAPrivateKey.sign

    def sign(self: Any, message: bytes, signing_algorithm: str) -> bytes:
        hashing(self, message, signing_algorithm)  # refuses what the key is not for
        return bytes(self.private_key.sign(message, ECDSA(Prehashed(SHA256()))))

    with patch.object(ECDSAPrivateKey, "sign", sign):
        yield


@dataclass(frozen=True)
class Request:
    """What was asked: the operation, whether it was signed, and the parameters."""

    operation: str
    authorized: bool
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """An answer in place of the right one, once; `status` 0 only delays. `operation` empty: any."""

    operation: str = ""
    status: int = 400
    code: str = ""
    message: str = ""
    delay: float = 0.0  # seconds
    body: bytes | None = None  # in place of the error, for what is not AWS


class Refused(Exception):
    """An error of the service: HTTP status, code and message."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class FakeEcr:
    """State and record of one fake. Whatever differs from botocore's model is in `violations`: assert that it is empty.

    `repositories` has images by repository name, each as the model's ImageDetail.
    """

    service: Literal["ecr", "ecr-public"]
    url: str = ""
    token: str = ""  # what is given out, base64 of user:password; else a new one each time
    aliases: list[str] = field(default_factory=lambda: [ALIAS])  # the first is the primary one
    repositories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    token_life: timedelta = timedelta(hours=12)
    page: int = 100  # images in an answer, at most
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.model = botocore.session.get_session().get_service_model(self.service)
        self.operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "GetAuthorizationToken": self._token, "DescribeRepositories": self._describe,
            "CreateRepository": self._create, "DescribeImages": self._images,
        }
        if self.service == "ecr-public":
            self.operations["DescribeRegistries"] = self._registries

    def asked(self, operation: str) -> int:
        """How often an operation was asked for."""
        return sum(one.operation == operation for one in self.requests)

    def _token(self, _: Mapping[str, Any]) -> dict[str, Any]:
        number = self.asked("GetAuthorizationToken")
        token = self.token or base64.b64encode(f"AWS:{TOKEN}-{number}".encode()).decode()
        until = datetime.now(UTC).replace(microsecond=0) + self.token_life
        data: dict[str, Any] = {"authorizationToken": token, "expiresAt": until}
        if self.service == "ecr":
            return {"authorizationData": [{**data, "proxyEndpoint": f"https://{_HOST}"}]}
        return {"authorizationData": data}

    def _describe(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        names = asked.get("repositoryNames") or list(self.repositories)
        return {"repositories": [self._repository(name) for name in names]}

    def _create(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        name = asked["repositoryName"]
        if name in self.repositories:
            raise Refused("RepositoryAlreadyExistsException", f"The repository with name '{name}' already exists")
        self.repositories[name] = []
        return {"repository": self._repository(name)}

    def _images(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        name = asked["repositoryName"]
        self._repository(name)
        start = int(asked.get("nextToken", "0"))
        end = start + min(self.page, asked.get("maxResults", self.page))
        held = [{"registryId": ACCOUNT, "repositoryName": name, **image} for image in self.repositories[name]]
        more = {"nextToken": str(end)} if end < len(held) else {}
        return {"imageDetails": held[start:end], **more}

    def _registries(self, _: Mapping[str, Any]) -> dict[str, Any]:
        aliases = [{"name": name, "status": "ACTIVE", "primaryRegistryAlias": index == 0,
                    "defaultRegistryAlias": name == self.aliases[-1]} for index, name in enumerate(self.aliases)]
        return {"registries": [{
            "registryId": ACCOUNT, "registryArn": f"arn:aws:ecr-public::{ACCOUNT}:registry/{ACCOUNT}",
            "registryUri": f"public.ecr.aws/{self.aliases[0]}", "verified": False, "aliases": aliases,
        }]}

    def _repository(self, name: str) -> dict[str, Any]:
        if name not in self.repositories:
            raise Refused("RepositoryNotFoundException", f"The repository with name '{name}' does not exist")
        host = f"public.ecr.aws/{self.aliases[0]}" if self.service == "ecr-public" else _HOST
        region = "" if self.service == "ecr-public" else "us-east-1"
        return {
            "repositoryArn": f"arn:aws:{self.service}:{region}:{ACCOUNT}:repository/{name}", "registryId": ACCOUNT,
            "repositoryName": name, "repositoryUri": f"{host}/{name}",
            "createdAt": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        }

    # -- both sides against the model --------------------------------------------

    def answer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body for a request; what is wrong with either is noted."""
        prefix, _, name = headers.get("X-Amz-Target", "").partition(".")
        parameters: Any = None
        try:
            parameters = json.loads(body)
        except ValueError:
            self.violations.append(f"{name}: the body is no JSON")
        signed = _SCOPE.match(headers.get("Authorization", ""))
        with self.lock:
            self.requests.append(Request(name, signed is not None, parameters))
        if prefix != self.model.metadata["targetPrefix"] or name not in self.operations:
            self.violations.append(f"there is no operation {prefix}.{name}")
            return 400, b'{"__type": "UnknownOperationException"}'
        operation = self.model.operation_model(name)
        self._check_request(operation, headers, parameters, signed)
        fault = self._fault(name)
        time.sleep(fault.delay if fault else 0)
        try:
            if fault and fault.body is not None:
                return fault.status, fault.body
            if fault and fault.status:
                raise Refused(fault.code, fault.message, fault.status)
            if signed is None:
                raise Refused("MissingAuthenticationToken", "Missing Authentication Token", 403)
            self._check_patterns(operation.input_shape, parameters)
            return 200, self._serialized(operation, self.operations[name](parameters))
        except Refused as error:
            if error.code not in _COMMON | {shape.name for shape in operation.error_shapes}:
                self.violations.append(f"{name}: the model has no error {error.code}")
            return error.status, json.dumps({"__type": error.code, "message": error.message}).encode()

    def _fault(self, name: str) -> Fault | None:
        with self.lock:
            for index, fault in enumerate(self.faults):
                if fault.operation in ("", name):
                    return self.faults.pop(index)
        return None

    def _check_request(
        self, operation: OperationModel, headers: Mapping[str, str], parameters: Any, signed: re.Match[str] | None,
    ) -> None:
        kind = f"application/x-amz-json-{self.model.metadata['jsonVersion']}"
        if headers.get("Content-Type") != kind:
            self.violations.append(f"{operation.name}: the request is {headers.get('Content-Type')}, not {kind}")
        if signed and signed.groups() != ("us-east-1", self.model.signing_name):
            self.violations.append(f"{operation.name}: signed for {signed.groups()}")
        self._check_shape(operation.name, parameters, operation.input_shape)

    def _check_shape(self, what: str, value: Any, shape: Shape | None) -> None:
        assert shape is not None
        found = ParamValidator().validate(value, shape)
        if found.has_errors():
            self.violations.append(f"{what}: {found.generate_report()}")

    def _check_patterns(self, shape: StructureShape | None, parameters: Mapping[str, Any]) -> None:
        """The service refuses what the model's patterns do; botocore leaves that to it."""
        for name, member in (shape.members if shape else {}).items():
            several = isinstance(member, ListShape)
            pattern = (member.member if isinstance(member, ListShape) else member).metadata.get("pattern")
            given = parameters.get(name, [])
            if pattern and not all(re.fullmatch(pattern, one) for one in (given if several or not given else [given])):
                raise Refused("InvalidParameterException", f"Invalid parameter at '{name}'")

    def _serialized(self, operation: OperationModel, value: dict[str, Any]) -> bytes:
        """The answer as JSON, if botocore's own parser reads the same in it."""
        shape = operation.output_shape
        assert shape is not None
        self._check_shape(operation.name, value, shape)
        body = json.dumps(value, default=lambda moment: moment.timestamp()).encode()
        read = create_parser("json").parse({"body": body, "headers": {}, "status_code": 200}, shape)
        read.pop("ResponseMetadata", None)
        if read != value:
            self.violations.append(f"{operation.name}: {value} is read as {read}")
        return body


def image_detail(number: int, *tags: str) -> dict[str, Any]:
    """An ImageDetail; digest, size and time follow from the number."""
    tagged = {"imageTags": list(tags)} if tags else {}
    return {"imageDigest": f"sha256:{number:064x}", "imageSizeInBytes": 1000 + number, **tagged,
            "imagePushedAt": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(minutes=number)}


@contextmanager
def ecr_public_fake() -> Iterator[FakeEcr]:
    """ECR Public's API: ``AWS_ENDPOINT_URL_ECR_PUBLIC`` is its `url`."""
    with ecr_fake("ecr-public") as one:
        yield one


@contextmanager
def ecr_fake(service: Literal["ecr", "ecr-public"] = "ecr") -> Iterator[FakeEcr]:
    """ECR's API in us-east-1, for what moto can't do: denying, disturbing, pages."""
    one = FakeEcr(service)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = one.answer(dict(self.headers), body)
            send(self, status, answer, Content_Type="application/x-amz-json-1.1")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        one.url = f"http://127.0.0.1:{server.server_port}"
        yield one
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
