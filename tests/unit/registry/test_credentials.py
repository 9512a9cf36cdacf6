"""Where credentials are looked for, in which order, and that what can't be used is said."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.references import parse_reference
from foundry.registry.auth import parse_challenge
from foundry.registry.credentials import Credentials, auth_document

SECRET = "canary-4711"


def auth(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "PATH": os.environ["PATH"]}


def user(environ: dict[str, str], host: str = "quay.io", repository: str = "org/kit") -> str | None:
    found = Credentials(environ).find(host, repository)
    return found.username if found else None


def test_the_order(tmp_path: Path, home: dict[str, str]) -> None:
    assert user(home) is None
    layers = [
        ("docker", {}, tmp_path / "home/.docker/config.json"),
        ("podman", {}, tmp_path / "home/.config/containers/auth.json"),
        ("runtime", {}, tmp_path / "run/containers/auth.json"),
        ("named", {"REGISTRY_AUTH_FILE": str(tmp_path / "named.json")}, tmp_path / "named.json"),
        ("quayfile", {"QUAY_AUTH_FILE": str(tmp_path / "quay.json")}, tmp_path / "quay.json"),
    ]
    environ = dict(home)
    for name, more, file in layers:
        write(file, {"auths": {"quay.io": auth(name)}})
        environ |= more
        assert user(environ) == name
    environ |= {"QUAY_USERNAME": "org+robot", "QUAY_PASSWORD": SECRET}
    assert user(environ) == "org+robot"
    assert user(environ, "other.io") is None
    places = Credentials(environ).places("quay.io")
    assert places[0] == "QUAY_USERNAME and QUAY_PASSWORD"
    assert [place.partition(" ")[0] for place in places[1:3]] == ["QUAY_AUTH_FILE", "REGISTRY_AUTH_FILE"]
    assert [Path(place).name for place in places[3:]] == ["auth.json", "auth.json", "config.json"]


def test_the_most_specific_entry_wins(tmp_path: Path, home: dict[str, str]) -> None:
    write(tmp_path / "home/.docker/config.json", {"auths": {
        "https://quay.io/v1/": auth("host"), "quay.io/org": auth("org"), "quay.io/org/kit": auth("kit"),
        "https://index.docker.io/v1/": auth("hub"),
    }})
    assert [user(home, "quay.io", name) for name in ("org/kit", "org/other", "else/x")] == ["kit", "org", "host"]
    assert user(home, "docker.io", "library/busybox") == "hub"
    assert user(home, "quay.io.evil.example", "org/kit") is None


def test_github(home: dict[str, str]) -> None:
    assert user(home | {"GITHUB_TOKEN": SECRET, "GITHUB_ACTOR": "octocat"}, "ghcr.io") == "octocat"
    assert user(home | {"GITHUB_TOKEN": SECRET}, "quay.io") is None


def test_helpers(tmp_path: Path, home: dict[str, str]) -> None:
    helper = write(tmp_path / "bin/docker-credential-test", f"""#!/bin/sh
read -r server
case $server in
    quay.io) echo '{{"ServerURL": "quay.io", "Username": "helped", "Secret": "{SECRET}"}}' ;;
    token.io) echo '{{"Username": "<token>", "Secret": "{SECRET}"}}' ;;
    broken.io) echo "{SECRET} is broken" >&2; exit 2 ;;
    *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
""")
    helper.chmod(0o755)
    environ = home | {"PATH": f"{helper.parent}:{home['PATH']}"}
    os.environ["PATH"], before = environ["PATH"], os.environ["PATH"]
    try:
        config = tmp_path / "home/.docker/config.json"
        write(config, {"credHelpers": {"quay.io": "test"}})
        assert user(environ) == "helped"
        assert user(environ, "none.io") is None
        write(config, {"credsStore": "test"})
        assert user(environ) == "helped"
        assert user(environ, "none.io") is None
        token = Credentials(environ).find("token.io", "x")
        assert token is not None and token.identity_token == SECRET
        with pytest.raises(OutsideError) as caught:
            user(environ, "broken.io")
        assert SECRET not in caught.value.render()
        write(config, {"credsStore": "../evil"})
        with pytest.raises(OutsideError):
            user(environ)
    finally:
        os.environ["PATH"] = before


@pytest.mark.parametrize("content", [
    "", "[]", "{", '{"auths": []}', '{"auths": {"quay.io": {"auth": "%%%"}}}', '{"auths": {"quay.io": {"auth": 5}}}',
    '{"auths": {"quay.io": {"username": "x"}}}', "[" * 100000, '{"auths": {"quay.io": {"auth": "bm9jb2xvbg=="}}}',
])
def test_a_file_that_can_not_be_used_is_said(tmp_path: Path, home: dict[str, str], content: str) -> None:
    file = write(tmp_path / "home/.docker/config.json", content)
    with pytest.raises(OutsideError) as caught:
        user(home)
    assert caught.value.reason == "credentials-unreadable"
    assert str(file) in caught.value.message


def test_a_named_file_must_be_there(tmp_path: Path, home: dict[str, str]) -> None:
    for name in ("REGISTRY_AUTH_FILE", "QUAY_AUTH_FILE"):
        with pytest.raises(OutsideError):
            user(home | {name: str(tmp_path / "none")})


def test_half_a_pair(home: dict[str, str]) -> None:
    for name in ("QUAY_USERNAME", "QUAY_PASSWORD"):
        with pytest.raises(OutsideError) as caught:
            user(home | {name: SECRET})
        assert SECRET not in caught.value.render()


def test_secrets_are_not_shown(home: dict[str, str]) -> None:
    found = Credentials(home | {"QUAY_USERNAME": "me", "QUAY_PASSWORD": SECRET}).find("quay.io", "x")
    assert found is not None
    assert SECRET not in repr(found)
    document = json.loads(auth_document({"quay.io": found, "127.0.0.1:5000": found}))
    assert document == {"auths": {"quay.io": auth("me"), "127.0.0.1:5000": auth("me")}}


@pytest.mark.parametrize("header, kind, parameters", [
    ('Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"', "bearer",
     {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"}),
    ("Basic realm=x", "basic", {"realm": "x"}),
    ('bearer realm="a \\"b\\""', "bearer", {"realm": 'a "b"'}),
    ('Negotiate, Basic realm="r"', "basic", {"realm": "r"}),
    ('Bearer realm="https://a/t",service="s", Basic realm="r"', "bearer", {"realm": "https://a/t", "service": "s"}),
    ('Basic realm="r", charset="UTF-8", Bearer realm="https://a/t",service="s"', "bearer",
     {"realm": "https://a/t", "service": "s"}),
    ('Negotiate abc==, Bearer realm="https://a/t" , Digest realm="d", nonce="n"', "bearer", {"realm": "https://a/t"}),
    ('Basic realm="one, Bearer realm=two"', "basic", {"realm": "one, Bearer realm=two"}),
    ('Basic realm="a \\"b\\", Bearer realm=c"', "basic", {"realm": 'a "b", Bearer realm=c'}),
    ('Bearer, Basic realm="r"', "basic", {"realm": "r"}), ('Bearer error="invalid_token", Basic', "basic", {}),
    ('Bearer realm = "https://a/t", scope="a b", error="insufficient_scope"', "bearer",
     {"realm": "https://a/t", "scope": "a b", "error": "insufficient_scope"}),
    ('bearer realm="https://a/t" service="s"', "bearer", {"realm": "https://a/t", "service": "s"}),
    ('Bearer realm="https://a/t",realm="https://b/t"', "bearer", {"realm": "https://a/t"}),
    (', ,Bearer realm="https://a/t",,', "bearer", {"realm": "https://a/t"}),
    ("", "", {}), ("Digest realm=x", "", {}), ('"', "", {}), ("Bearer", "", {}),
])
def test_challenges(header: str, kind: str, parameters: dict[str, str]) -> None:
    assert parse_challenge(header) == (kind, parameters)


@pytest.mark.parametrize("text, parts", [
    ("quay.io/org/kit@sha256:" + "a" * 64, ("quay.io", "org/kit", "", "sha256:" + "a" * 64)),
    ("localhost:5000/kit:v1", ("localhost:5000", "kit", "v1", "")),
    ("busybox", ("docker.io", "library/busybox", "", "")),
    ("public.ecr.aws/docker/library/busybox:stable-musl",
     ("public.ecr.aws", "docker/library/busybox", "stable-musl", "")),
])
def test_references(text: str, parts: tuple[str, ...]) -> None:
    reference = parse_reference(text)
    assert (reference.host, reference.repository, reference.tag, reference.digest) == parts


@pytest.mark.parametrize("text", [
    "", "UPPER/case", "quay.io/../x", "quay.io/a@sha256:12", "quay.io/a:", "quay.io/a b", "quay.io/a//b", "-x/y.z",
    "quay.io/a@md5:" + "a" * 32, "user:pw@quay.io/a", "quay.io/" + "a" * 300,
])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(FoundryError) as caught:
        parse_reference(text)
    assert caught.value.reason == "reference-malformed"
