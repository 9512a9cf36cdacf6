"""Names of ECR, settings of AWS, and its errors as sentences: nothing is asked."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import botocore.exceptions as said
import pytest
from botocore.parsers import ResponseParserError

from foundry.aws.faults import asked
from foundry.aws.session import AwsFacts, account, facts, region
from foundry.base.errors import FoundryError, OutsideError
from foundry.registry.ecr.places import PUBLIC, place_of
from foundry.registry.ecr.tokens import EcrProvider, EcrPublicProvider
from tests.harness.checkout import ROOT

CANARY = "canary-FwoGZXIvYXdzE"
PRIVATE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def failing(error: Exception, service: str = "ecr", **more: Any) -> OutsideError:
    """What becomes of an error; it holds no canary, and nor does its traceback."""
    def work() -> NoReturn:
        raise error

    with pytest.raises(OutsideError) as caught:
        asked(service, work, **more)
    value = caught.value
    shown = "".join(traceback.format_exception(value)) + value.render() + repr(value)
    assert CANARY not in shown
    assert value.__context__ is None and value.__cause__ is None
    assert "\n" not in value.message
    assert value.hint or value.reason in ("aws-missing", "aws-exists")  # the caller knows more of those
    return value


def answered(code: str, message: str = CANARY, operation: str = "GetAuthorizationToken", status: int = 400) -> Any:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return said.ClientError(response, operation)


@pytest.mark.parametrize("host, fits", [
    (PRIVATE, True), ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", True),
    ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", True), ("12345678901.dkr.ecr.eu-west-1.amazonaws.com", False),
    (f"{PRIVATE}.evil.example", False), (f"evil.example/{PRIVATE}", False), (f"{PRIVATE}\n", False),
    ("١٢٣٤٥٦٧٨٩٠١٢.dkr.ecr.eu-west-1.amazonaws.com", False), (PUBLIC, False), ("quay.io", False),
])
def test_private_registries_are_known_by_name(host: str, fits: bool) -> None:
    assert EcrProvider().serves(host) is fits


def test_ecr_public_is_one_host() -> None:
    provider = EcrPublicProvider()
    assert [provider.serves(host) for host in (PUBLIC, PRIVATE, "x.public.ecr.aws")] == [True, False, False]


def test_a_repository_is_taken_apart() -> None:
    private = place_of(PRIVATE, "neuron/x")
    assert (private.owner, private.name, private.region, private.service, private.uri) == (
        "123456789012", "neuron/x", "eu-west-1", "ecr", f"{PRIVATE}/neuron/x")
    public = place_of(PUBLIC, "q5p6u7h8/neuron-openshift/x")
    assert (public.owner, public.name, public.region, public.service, public.uri) == (
        "q5p6u7h8", "neuron-openshift/x", "us-east-1", "ecr-public", f"{PUBLIC}/q5p6u7h8/neuron-openshift/x")


@pytest.mark.parametrize("host, name", [
    *((PUBLIC, name) for name in ("repo", "repo/", "/repo", "", "alias/Repo", "alias/r", "alias/re po")),
    *((PRIVATE, name) for name in ("", "r", "Repo", "/repo", "repo/", "re po", "repo:tag", "repo\n", "r" * 257)),
])
def test_what_is_no_repository(host: str, name: str) -> None:
    with pytest.raises(FoundryError) as caught:
        place_of(host, name)
    assert (caught.value.reason, bool(caught.value.hint)) == ("repository-name", True)


def test_what_is_no_registry_of_ecr() -> None:
    with pytest.raises(ValueError):
        place_of("quay.io", "repo")


def test_the_region_is_that_of_the_environment() -> None:
    assert region({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}) == "eu-west-1"
    assert region({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-gov-west-1"}) == "us-gov-west-1"


def test_the_region_of_a_profile(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-central-1\n[profile other]\nregion = ap-south-1\n[profile none]\n")
    environ = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    assert region(environ) == "eu-central-1"
    assert region({**environ, "AWS_PROFILE": "other"}) == "ap-south-1"
    for profile, reason in (("none", "aws-region"), ("missing", "aws-credentials")):
        with pytest.raises(OutsideError) as caught:
            region({**environ, "AWS_PROFILE": profile})
        assert caught.value.reason == reason
        assert caught.value.hint
    config.write_text("no section\n")
    with pytest.raises(OutsideError) as caught:
        region(environ)
    assert (caught.value.reason, str(config) in caught.value.message) == ("aws-credentials", True)


@pytest.mark.parametrize("name", ["Europe", "eu west 1", "eu-west-1/x", "https://ecr.eu-west-1.amazonaws.com"])
def test_what_is_no_region(name: str) -> None:
    with pytest.raises(OutsideError) as caught:
        region({"AWS_REGION": name})
    assert caught.value.reason == "aws-region"


def test_the_account_of_the_environment() -> None:
    environ = {"AWS_REGION": "eu-west-1", "AWS_ACCOUNT_ID": "012345678901"}
    assert facts(environ) == AwsFacts("eu-west-1", "012345678901")
    for wrong in ("12345678901", "1234567890123", "arn:aws:iam::123456789012:root", "١٢٣٤٥٦٧٨٩٠١٢"):
        with pytest.raises(OutsideError) as caught:
            account("eu-west-1", {"AWS_ACCOUNT_ID": wrong})
        assert caught.value.reason == "aws-account"


def test_heavy_imports_wait() -> None:
    code = ("import sys, foundry.registry.ecr.tokens, foundry.registry.ecr.repositories as r;"
            "r.place_of('public.ecr.aws', 'alias/repo'); foundry.registry.ecr.tokens.EcrProvider().serves('quay.io');"
            "sys.exit(bool({'boto3', 'botocore', 'requests'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("error, reason, part", [
    (said.NoCredentialsError(), "aws-credentials", "no AWS credentials"),
    (said.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "aws-credentials",
     "lack AWS_SECRET_ACCESS_KEY"),
    (said.ProfileNotFound(profile="prod"), "aws-credentials", "'prod'"),
    (said.UnauthorizedSSOTokenError(), "aws-credentials", "SSO"),
    (said.SSOTokenLoadError(error_msg=CANARY), "aws-credentials", "SSO"),
    (said.TokenRetrievalError(provider="sso", error_msg=CANARY), "aws-credentials", "SSO"),
    (said.LoginRefreshRequired(), "aws-credentials", "aws login"),
    (said.CredentialRetrievalError(provider="custom-process", error_msg=CANARY), "aws-credentials", "custom-process"),
    (said.MetadataRetrievalError(error_msg=CANARY), "aws-credentials", "MetadataRetrievalError"),
    (said.InvalidConfigError(error_msg=CANARY), "aws-credentials", "InvalidConfigError"),
    (said.EndpointConnectionError(endpoint_url=f"https://u:{CANARY}@ecr.example/?x={CANARY}", error=CANARY),
     "aws-unreachable", "https://ecr.example/ "),
    (said.ReadTimeoutError(endpoint_url="https://ecr.example", error=CANARY), "aws-unreachable", "ReadTimeout"),
    (said.ConnectionClosedError(endpoint_url="https://ecr.example", error=CANARY, request=CANARY),
     "aws-unreachable", "ConnectionClosed"),
    (said.ProxyConnectionError(proxy_url=f"http://u:{CANARY}@proxy", error=CANARY), "aws-unreachable", "Proxy"),
    (said.SSLError(endpoint_url="https://ecr.example", error=OSError(CANARY)), "aws-unreachable", "SSLError"),
    (said.HTTPClientError(error=CANARY, request=CANARY), "aws-unreachable", "HTTPClientError"),
    (said.ParamValidationError(report=CANARY), "aws-failed", "ParamValidationError"),
    (ResponseParserError(f"invalid XML received: {CANARY}"), "aws-failed", "is not AWS"),
    (FileNotFoundError(2, "No such file or directory", "/run/token"), "aws-credentials", "/run/token"),
    (ValueError(f"Invalid endpoint: {CANARY}"), "aws-failed", "ValueError"),
    (EOFError(CANARY), "aws-failed", "EOFError"),
])
def test_errors_of_botocore(error: Exception, reason: str, part: str) -> None:
    found = failing(error)
    assert (found.reason, found.exit_code) == (reason, 3)
    assert part in f"{found.message} "
    assert found.retry is (reason == "aws-unreachable" or isinstance(error, ResponseParserError))


def test_what_goes_wrong_with_credentials_is_theirs() -> None:
    for error in (ValueError(CANARY), EOFError(CANARY), KeyError(CANARY), OSError(CANARY)):
        assert failing(error, credentials=True).reason == "aws-credentials"


def test_hints_name_the_ways_to_log_in() -> None:
    hint = failing(said.UnauthorizedSSOTokenError()).hint
    for way in ("aws sso login", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        assert way in hint


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
def test_a_denial_names_the_action_that_is_missing(code: str) -> None:
    message = ("User: arn:aws:sts::123456789012:assumed-role/ci/x is not authorized to perform: "
               f"sts:GetServiceBearerToken on resource: * {CANARY}")
    found = failing(answered(code, message), "ecr-public")
    assert (found.reason, found.retry) == ("aws-denied", False)
    assert "sts:GetServiceBearerToken" in found.message
    assert "ecr-public:GetAuthorizationToken" in failing(answered(code), "ecr-public").message
    assert "sts:AssumeRole " in failing(answered(code, operation="AssumeRole")).message
    assert "explicitly" in failing(answered(code, f"{message} with an explicit deny")).hint


@pytest.mark.parametrize("code, reason, retry", [
    ("ExpiredTokenException", "aws-credentials", False), ("UnrecognizedClientException", "aws-credentials", False),
    ("InvalidClientTokenId", "aws-credentials", False), ("SignatureDoesNotMatch", "aws-credentials", False),
    ("ThrottlingException", "aws-failed", True), ("ServerException", "aws-failed", False),
    ("RepositoryNotFoundException", "aws-missing", False), ("RepositoryAlreadyExistsException", "aws-exists", False),
    (f"{CANARY} x", "aws-failed", False),
])
def test_errors_of_aws(code: str, reason: str, retry: bool) -> None:
    found = failing(answered(code))
    assert (found.reason, found.retry) == (reason, retry)
    assert failing(answered("ServerException", status=500)).retry


def test_a_wrong_signature_quotes_nothing_and_asks_for_the_clock() -> None:
    message = f"The Canonical String for this request should have been\n'POST\n/\nx-amz-security-token:{CANARY}'"
    assert "clock" in failing(answered("InvalidSignatureException", message)).hint


def test_what_is_wrong_with_a_name_is_passed_on() -> None:
    found = failing(answered("InvalidParameterException", "Invalid parameter at 'repositoryName'"))
    assert "Invalid parameter at 'repositoryName'" in found.message
