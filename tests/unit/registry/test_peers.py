"""Registries as others have met them: which answers there are, and what becomes of them.

Each is a small server that answers in the shape of a recorded answer. docs/registries.md says which.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from foundry.base.errors import FoundryError
from foundry.base.references import parse_reference
from foundry.formats.images.manifest import OCI_MANIFEST
from foundry.net.transport import RetryPolicy
from foundry.preflight.checks import check_access
from foundry.registry.client import Registry
from foundry.registry.credentials import Credentials
from foundry.registry.mirror import tag_digest
from foundry.registry.tags import list_tags
from tests.harness.front import send, serving

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{'a' * 64}", "size": 2}}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
OTHER = f"sha256:{'b' * 64}"
LOGIN = "me:canary-password"
TAGS = [f"t{number}" for number in range(5)]


@dataclass
class Peer:
    """A registry's ways; all refuse HEAD. `digest` is what manifests are said to be.

    `challenges` are headers, in which ``{host}`` is its address; `link` is what follows a page of two tags, with
    ``{last}``; `longest` is the longest page that may be asked for.
    """

    digest: str = DIGEST
    challenges: tuple[str, ...] = ()
    link: str = '</v2/r/tags/list?last={last}&n=2>; rel="next"'
    longest: int = 10_000
    asked: list[str] = field(default_factory=list)


@contextmanager
def playing(peer: Peer, folder: Path, login: str = LOGIN) -> Iterator[Registry]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            peer.asked.append(f"{self.command} {self.path}")
            parts, sent = urlsplit(self.path), self.headers.get("Authorization", "")
            host = self.headers["Host"]
            given = {f"Basic {base64.b64encode(LOGIN.encode()).decode()}", "Bearer token"}
            if parts.path.endswith("/token"):
                return self.json(200, {"token": "token"}) if sent in given else self.json(401, {})
            if peer.challenges and sent not in given:
                self.send_response_only(401)
                for one in peer.challenges:
                    self.send_header("WWW-Authenticate", one.replace("{host}", host))
                self.send_header("Content-Length", "0")
                return self.end_headers()
            if "/manifests/" in parts.path:
                known = parts.path.endswith(("/t", DIGEST))
                if self.command == "HEAD":
                    return send(self, 405, b"")
                if not known:
                    return self.json(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no"}]})
                more = {"Docker_Content_Digest": peer.digest} if peer.digest else {}
                return send(self, 200, MANIFEST, Content_Type=OCI_MANIFEST, **more)
            return self.tags(parse_qs(parts.query), host)

        def tags(self, query: dict[str, list[str]], host: str) -> None:
            if int(query.get("n", ["0"])[0]) > peer.longest:
                return self.json(400, {"errors": [{"code": "PAGINATION_NUMBER_INVALID", "message": "too many"}]})
            start = TAGS.index(query["last"][0]) + 1 if "last" in query else 0
            page = TAGS[start:start + 2]
            more = peer.link.format(last=page[-1], host=host) if page[-1] != TAGS[-1] else ""
            send(self, 200, json.dumps({"name": "r", "tags": page}).encode(), **({"Link": more} if more else {}))

        def json(self, status: int, document: object) -> None:
            send(self, status, json.dumps(document).encode())

        do_GET = do_HEAD = answer

        def log_message(self, *_: object) -> None:
            return

    with serving(Handler) as port:
        auth = folder / "auth.json"
        auth.write_text(json.dumps({"auths": {"registry.test": {"auth": base64.b64encode(login.encode()).decode()}}}))
        yield Registry(
            "registry.test", Credentials({"HOME": "/nonexistent", "REGISTRY_AUTH_FILE": str(auth)}),
            address=f"127.0.0.1:{port}", policy=RetryPolicy(connect=5, read=5, total=20, retries=1, first=0.01),
        )


BEARER = 'Bearer realm="http://{host}/token",service="registry",scope="repository:r:pull"'
PEERS = {
    "distribution": Peer(challenges=(BEARER,), longest=1000),
    "quay": Peer(challenges=(BEARER.replace("/token", "/v2/auth/token"),),
                 link='</v2/r/tags/list?n=2&last={last}&next_page=gAAAAA%3D%3D>; rel="next"'),
    "ecr": Peer(challenges=('Basic realm="https://{host}/",service="ecr.amazonaws.com"',),
                link='<https://123.dkr.ecr.eu-west-1.amazonaws.com/v2/r/tags/list?last={last}&n=2>; rel="next"'),
    "ghcr": Peer(challenges=(BEARER,), link='</v2/r/tags/list?last={last}&n=100>; rel="next"'),
    "harbor": Peer(challenges=(BEARER.replace("/token", "/service/token"),)),
    "gitlab": Peer(challenges=('Basic realm="Container Registry"', BEARER)),
    "artifactory": Peer(challenges=('Basic realm="Artifactory Realm"',),
                        link='</v2/r/tags/list?last={last}&n=10000>; rel="next"'),
    "nixery": Peer(digest="", link='<v2/r/tags/list?last={last}>; rel=next'),
    "nexus": Peer(challenges=('BASIC realm="Sonatype Nexus Repository Manager"',),
                  link='<http://{host}/repository/docker/v2/r/tags/list?n=2&last={last}>; rel="next"'),
    "a proxy": Peer(challenges=(BEARER + ', Basic realm="Proxy"',),
                    link='<http://upstream.test:8080/v2/r/tags/list?last={last}>; rel="prev next"; title="a, b"'),
    "relative": Peer(challenges=('Bearer realm="/token",service="registry"',), longest=100),
}


@pytest.mark.parametrize("name", PEERS)
def test_peers(tmp_path: Path, name: str) -> None:
    PEERS[name].asked.clear()
    with playing(PEERS[name], tmp_path) as registry:
        assert registry.manifest("r", "t").digest == registry.manifest("r", DIGEST).digest == DIGEST
        assert tag_digest(registry, "r", "t") == DIGEST
        assert tag_digest(registry, "r", "none") == ""
        assert list_tags(registry, "r") == TAGS
        if name == "artifactory":  # the name of the repository's folder is missing in its links
            assert list_tags(registry, "docker/r") == TAGS
    assert len(PEERS[name].asked) < 30
    if not PEERS[name].challenges:
        return
    with playing(PEERS[name], tmp_path, "me:wrong") as registry, pytest.raises(FoundryError) as caught:
        registry.manifest("r", "t")
    assert caught.value.reason == "registry-unauthorized" and "canary" not in caught.value.render()


def test_doctor_needs_no_head(tmp_path: Path) -> None:
    with playing(Peer(), tmp_path) as registry:
        good, missing = (check_access(lambda _: registry, [parse_reference(f"registry.test/r:{tag}")])[0]
                         for tag in ("t", "none"))
    assert good.ok and not missing.ok and missing.reason == "image-missing" and "none" in missing.detail


@pytest.mark.parametrize("digest", ["", "sha512:00", "nonsense", f"sha256:{'A' * 64}"])
def test_a_digest_that_the_registry_does_not_say_is_found_out(tmp_path: Path, digest: str) -> None:
    with playing(Peer(digest=digest), tmp_path) as registry:
        assert registry.manifest("r", "t").digest == DIGEST


def test_a_digest_that_is_not_the_manifests(tmp_path: Path) -> None:
    with playing(Peer(digest=OTHER), tmp_path) as registry, pytest.raises(FoundryError) as caught:
        registry.manifest("r", "t")
    assert caught.value.reason == "digest-mismatch" and OTHER in caught.value.message and DIGEST in caught.value.message


@pytest.mark.parametrize("link", [
    '</v2/other/tags/list?last={last}>; rel="next"', '<https://elsewhere.test/list?page=2>; rel="next"',
    '</v2/_catalog?last={last}>; rel="next"', '<ftp://{host}/v2/r/tags/list?last={last}>; rel="next"',
    '/v2/r/tags/list?last={last}; rel="next"', '<>; rel="next"', '<//[bad>; rel="next"',
])
def test_a_next_page_that_is_not_had_is_no_end_of_the_list(tmp_path: Path, link: str) -> None:
    with playing(Peer(link=link), tmp_path) as registry, pytest.raises(FoundryError) as caught:
        list_tags(registry, "r")
    assert caught.value.reason == "tags-malformed"


LIST = "/v2/r/tags/list?last={last}"


@pytest.mark.parametrize("link", [
    '<?last={last}>; rel="next"', "<list?last={last}>; rel=next", f'<http://{{host}}{LIST}>; REL="Next"',
    f'<https://{{host}}{LIST}>; rel="next"', f'</v2/r/tags/list?last=t0>; rel="prev", <{LIST}>; rel=next',
    f'<https://registry.example.com{LIST}>;rel="next"', f'</docs>; rel="help", <{LIST}>; rel="next"',
])
def test_next_pages(tmp_path: Path, link: str) -> None:
    with playing(Peer(link=link), tmp_path) as registry:
        assert list_tags(registry, "r") == TAGS
