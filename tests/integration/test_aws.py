"""Whose account, which credentials, tokens of ECR: moto for STS and ECR, fakes for what goes wrong. No secret shows."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from foundry.aws import session as aws
from foundry.base.errors import OutsideError
from foundry.registry.credentials import Credentials
from foundry.registry.ecr import tokens
from foundry.registry.ecr.tokens import EcrProvider, EcrPublicProvider
from tests.harness.aws import ACCOUNT, TOKEN, FakeEcr, Fault
from tests.harness.aws_settings import (
    KEY_ID,
    NOBODY,
    PRIVATE,
    PUBLIC,
    SECRET,
    SESSION_TOKEN,
    Environment,
    no_secrets,
    refused,
)

# -- whose account -------------------------------------------------------------


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"])
def test_sts_says_the_account(moto: str, environment: Environment, variable: str) -> None:
    environment.set(AWS_REGION="eu-west-1", **{variable: moto})
    assert aws.facts() == aws.AwsFacts("eu-west-1", ACCOUNT)


def test_endpoints_are_those_of_the_region(environment: Environment) -> None:
    for service, region, endpoint in (
        ("sts", "eu-west-1", "https://sts.eu-west-1.amazonaws.com"),
        ("ecr", "cn-north-1", "https://api.ecr.cn-north-1.amazonaws.com.cn"),
        ("ecr-public", "us-east-1", "https://api.ecr-public.us-east-1.amazonaws.com"),
    ):
        client = aws.client(service, region)  # type: ignore[call-overload]
        assert client.meta.endpoint_url == endpoint


def test_keys_in_a_profile(moto: str, environment: Environment) -> None:
    environment.without_keys()
    environment.file(".aws/credentials", f"[ci]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
    environment.file(".aws/config", f"[profile ci]\nregion = eu-west-3\nendpoint_url = {moto}\n")
    environment.set(AWS_PROFILE="ci")
    assert aws.facts() == aws.AwsFacts("eu-west-3", ACCOUNT)


def test_web_identity(moto: str, environment: Environment) -> None:
    environment.without_keys()
    token = environment.file("token", "canary-secret-key.is.a.jwt")
    environment.set(AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN=f"arn:aws:iam::{ACCOUNT}:role/ci",
                    AWS_ENDPOINT_URL=moto)
    assert aws.account("us-east-1") == ACCOUNT
    token.unlink()
    with pytest.raises(OutsideError) as caught:
        aws.account("us-east-1")
    assert str(token) in refused("aws-credentials", caught).message


def test_web_identity_when_nobody_answers(environment: Environment) -> None:
    environment.without_keys()
    environment.set(AWS_WEB_IDENTITY_TOKEN_FILE=str(environment.file("token", SECRET)), AWS_ENDPOINT_URL=NOBODY,
                    AWS_ROLE_ARN=f"arn:aws:iam::{ACCOUNT}:role/ci")
    with pytest.raises(OutsideError) as caught:
        aws.account("us-east-1")
    assert NOBODY in refused("aws-unreachable", caught).message


def test_no_credentials_at_all(environment: Environment) -> None:
    environment.without_keys()
    with pytest.raises(OutsideError) as caught:
        aws.account("us-east-1")
    hint = refused("aws-credentials", caught).hint
    ways = ("aws sso login", "AWS_PROFILE", "looked", "environment", "role_arn", "AWS_WEB_IDENTITY_TOKEN_FILE",
            "~/.aws/credentials", "~/.aws/config", "container", "EC2")
    assert [hint.index(way) for way in ways] == sorted(hint.index(way) for way in ways)
    assert EcrProvider().find(PRIVATE) is None
    assert EcrPublicProvider(required=True).find(PUBLIC) is None


def test_looking_for_an_instances_role_does_not_hang(environment: Environment) -> None:
    environment.without_keys()
    environment.patch.delenv("AWS_EC2_METADATA_DISABLED")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment.set(AWS_EC2_METADATA_SERVICE_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        provider = EcrPublicProvider()
        for _ in range(3):  # it is remembered that there is nothing
            assert provider.find(PUBLIC) is None
    assert 0.9 < time.monotonic() - started < 5


def test_half_of_the_keys(environment: Environment) -> None:
    environment.patch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(OutsideError) as caught:
        EcrProvider().find(PRIVATE)
    assert "AWS_SECRET_ACCESS_KEY" in refused("aws-credentials", caught).message


def test_a_profile_that_is_not_there(environment: Environment) -> None:
    environment.without_keys()
    environment.set(AWS_PROFILE="missing")
    for work in (aws.region, aws.facts, lambda: EcrProvider().find(PRIVATE)):
        with pytest.raises(OutsideError) as caught:
            work()
        assert "'missing'" in refused("aws-credentials", caught).message


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("session", [False, True])
def test_a_session_of_identity_center_that_has_ended(environment: Environment, cached: bool, session: bool) -> None:
    environment.without_keys()
    start = "sso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n"
    role = f"sso_account_id = {ACCOUNT}\nsso_role_name = ci\n"
    environment.file(".aws/config", f"[profile ci]\nsso_session = me\n{role}[sso-session me]\n{start}" if session
                     else f"[profile ci]\n{start}{role}")
    environment.set(AWS_PROFILE="ci", AWS_ENDPOINT_URL=NOBODY)
    if cached:
        ended = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = hashlib.sha1(b"me" if session else b"https://x.awsapps.com/start").hexdigest()  # as botocore names it
        environment.file(f".aws/sso/cache/{key}.json", json.dumps({"accessToken": SECRET, "expiresAt": ended}))
    with pytest.raises(OutsideError) as caught:
        aws.account("us-east-1")
    error = refused("aws-credentials", caught)
    assert "SSO" in error.message
    assert "aws sso login" in error.hint


def test_a_credential_process_that_fails(environment: Environment) -> None:
    environment.without_keys()
    program = environment.file("program", f"#!/bin/sh\necho {SECRET} >&2\nexit 1\n")
    program.chmod(0o755)
    environment.file(".aws/config", f"[default]\ncredential_process = {program}\n")
    for text in (f"#!/bin/sh\necho {SECRET} >&2\nexit 1\n", f"#!/bin/sh\necho {SECRET}\n"):
        program.write_text(text)
        with pytest.raises(OutsideError) as caught:
            EcrProvider().find(PRIVATE)
        refused("aws-credentials", caught)


# -- tokens --------------------------------------------------------------------


def test_a_token_of_moto(moto: str, environment: Environment) -> None:
    environment.set(AWS_ENDPOINT_URL=moto)
    found = EcrProvider().find("123456789012.dkr.ecr.eu-west-1.amazonaws.com")
    assert found is not None
    assert (found.username, found.password, found.source) == ("AWS", f"{ACCOUNT}-auth-token", "AWS (ECR token)")
    assert "auth-token" not in repr(found)


def test_credentials_ask_the_provider_first(public: FakeEcr, private: FakeEcr) -> None:
    credentials = Credentials({"HOME": "/nonexistent"}, [EcrProvider(), EcrPublicProvider()])
    for host, fake in ((PRIVATE, private), (PUBLIC, public)):
        found = credentials.find(host, "x/y")
        assert found is not None and (found.username, found.password) == ("AWS", f"{TOKEN}-1")
        assert fake.requests[0].authorized
        assert credentials.places(host)[0].startswith("AWS credentials")
        no_secrets(found, credentials.__dict__, credentials.providers[0].__dict__)
    assert credentials.find("quay.io", "x/y") is None


@pytest.mark.parametrize("margin, asked", [(timedelta(minutes=6), 1), (timedelta(minutes=4), 2)])
def test_a_token_is_kept_until_shortly_before_its_end(private: FakeEcr, margin: timedelta, asked: int) -> None:
    private.token_life = margin
    provider = EcrProvider()
    for _ in range(2):
        found = provider.find(PRIVATE)
    assert found is not None and found.password == f"{TOKEN}-{asked}"
    assert private.asked("GetAuthorizationToken") == asked


def test_time_goes_by(public: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    provider, now = EcrPublicProvider(required=True), time.time()
    passwords = []
    for hours in (0, 11.9, 11.95):
        clock = SimpleNamespace(time=lambda moment=now + hours * 3600: moment)
        monkeypatch.setattr(tokens, "time", clock)
        found = provider.find(PUBLIC)
        assert found is not None
        passwords.append(found.password.removeprefix(f"{TOKEN}-"))
    assert passwords == ["1", "1", "2"]


def test_a_token_that_the_registry_no_longer_takes(public: FakeEcr, private: FakeEcr) -> None:
    ecr, ecr_public = EcrProvider(), EcrPublicProvider()
    for provider, host, fake in ((ecr, PRIVATE, private), (ecr_public, PUBLIC, public)):
        for _ in range(2):
            provider.find(host)
        provider.forget(host)
        found = provider.find(host)
        assert found is not None and found.password == f"{TOKEN}-2"
        assert fake.asked("GetAuthorizationToken") == 2


def test_many_threads_ask_once(private: FakeEcr) -> None:
    private.faults.append(Fault(status=0, delay=0.2))
    provider, found = EcrProvider(), set()
    threads = [threading.Thread(target=lambda: found.add(provider.find(PRIVATE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == private.asked("GetAuthorizationToken") == 1


DENIED = Fault("GetAuthorizationToken", 400, "AccessDeniedException",
               "User: arn:aws:iam::1:user/x is not authorized to perform: ecr-public:GetAuthorizationToken")


def test_reading_in_public_needs_no_permission(public: FakeEcr) -> None:
    public.faults.append(DENIED)
    notes: list[str] = []
    provider = EcrPublicProvider(note=notes.append)
    for _ in range(2):
        assert provider.find(PUBLIC) is None
    assert len(notes) == public.asked("GetAuthorizationToken") == 1
    assert "ecr-public:GetAuthorizationToken" in notes[0]
    provider.forget(PUBLIC)
    assert provider.find(PUBLIC) is not None


def test_pushing_to_public_needs_one(public: FakeEcr) -> None:
    public.faults.append(DENIED)
    with pytest.raises(OutsideError) as caught:
        EcrPublicProvider(required=True).find(PUBLIC)
    assert "ecr-public:GetAuthorizationToken" in refused("aws-denied", caught).message


@pytest.mark.parametrize("fault, reason", [
    (Fault(code="ExpiredTokenException", message=SESSION_TOKEN), "aws-credentials"),
    (Fault(code="UnrecognizedClientException", message=KEY_ID), "aws-credentials"),
    (Fault(status=403, code="InvalidSignatureException", message=f"x-amz-security-token:{SESSION_TOKEN}"),
     "aws-credentials"),
    (Fault(code="AccessDeniedException", message=KEY_ID), "aws-denied"),
    (Fault(status=500, code="ServerException", message=SECRET), "aws-failed"),
    (Fault(status=502, body=b"<html>canary-secret-key</html>"), "aws-failed"),
    (Fault(status=200, body=b"<html>canary-secret-key</html>"), "aws-failed"),
    (Fault(status=200, body=b"{}"), "aws-failed"),
    (Fault(status=200, body=b'{"authorizationData": []}'), "aws-failed"),
    (Fault(status=200, body=b'{"authorizationData": [{"authorizationToken": "QVdT", "expiresAt": 1}]}'), "aws-failed"),
])
def test_answers_that_give_no_token(private: FakeEcr, fault: Fault, reason: str) -> None:
    private.faults.append(fault)
    with pytest.raises(OutsideError) as caught:
        EcrProvider().find(PRIVATE)
    refused(reason, caught)


def test_what_passes_is_tried_again(private: FakeEcr, environment: Environment) -> None:
    environment.set(AWS_MAX_ATTEMPTS="3")
    private.faults += [Fault(status=500, code="InternalFailure"), Fault(status=400, code="ThrottlingException")]
    assert EcrProvider().find(PRIVATE) is not None
    assert private.asked("GetAuthorizationToken") == 3


def test_nobody_answers(environment: Environment) -> None:
    environment.set(AWS_ENDPOINT_URL_ECR=NOBODY, AWS_ENDPOINT_URL_ECR_PUBLIC=NOBODY)
    with pytest.raises(OutsideError) as caught:
        EcrProvider().find(PRIVATE)
    assert NOBODY in refused("aws-unreachable", caught).message
    assert caught.value.retry
    assert EcrPublicProvider().find(PUBLIC) is None
    environment.set(AWS_ENDPOINT_URL_ECR="no url")
    with pytest.raises(OutsideError) as caught:
        EcrProvider().find(PRIVATE)
    refused("aws-failed", caught)


def test_loopback_is_not_asked_through_a_proxy(private: FakeEcr, moto: str, environment: Environment) -> None:
    environment.set(HTTP_PROXY=NOBODY, http_proxy=NOBODY, HTTPS_PROXY=NOBODY, AWS_ENDPOINT_URL_STS=moto)
    assert aws.account("us-east-1") == ACCOUNT
    assert EcrProvider().find(PRIVATE) is not None
    environment.set(AWS_ENDPOINT_URL_ECR="http://ecr.invalid")
    with pytest.raises(OutsideError) as caught:
        EcrProvider().find(PRIVATE)
    assert "Proxy" in refused("aws-unreachable", caught).message
