"""Region, account and clients of AWS.

boto3 finds credentials and endpoints by itself (``AWS_ENDPOINT_URL`` and ``AWS_ENDPOINT_URL_<SERVICE>`` too). Here is
what it leaves to others: time limits, no proxy for loopback, silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlsplit

from foundry.aws.faults import LOG_IN, asked
from foundry.base.errors import OutsideError
from foundry.base.reasons import Reason
from foundry.base.references import LOOPBACK

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr_public import ECRPublicClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_sts import STSClient

PLACES = (  # in boto3's order: https://docs.aws.amazon.com/boto3/latest/guide/credentials.html
    "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)", "the profile's role (role_arn)",
    "web identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN)", "IAM Identity Center (`aws sso login`)",
    "~/.aws/credentials", "`aws login`", "credential_process", "~/.aws/config", "~/.boto", "the container's role",
    "the EC2 instance's role",
)
_TIMEOUTS = (10.0, 30.0)  # seconds: for connecting, between two bytes
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")


@dataclass(frozen=True)
class AwsFacts:
    """Where and as whom AWS is used: a region such as ``eu-west-1``, an account of 12 digits."""

    region: str
    account: str


def facts(environ: Mapping[str, str] = os.environ) -> AwsFacts:
    """Region and account; errors as of `region` and `account`."""
    place = region(environ)
    return AwsFacts(place, account(place, environ))


def region(environ: Mapping[str, str] = os.environ) -> str:
    """``AWS_REGION``, ``AWS_DEFAULT_REGION``, else the profile's region (``~/.aws/config`` and the variables for it).

    Raises OutsideError ``aws-region`` when none is set, or one that is no region's name;
    ``aws-credentials`` when there is no such profile, or its file can't be read.
    """
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if found := environ.get(name, "").strip():
            return _checked_region(found, name)
    found = asked("sts", lambda: _profile_region(environ))
    if not found:
        raise OutsideError("no AWS region is set", reason=Reason.AWS_REGION,
                           hint="set AWS_REGION, or `region` of the profile (`aws configure set region NAME`)")
    return _checked_region(found, "the profile")


def account(region: str, environ: Mapping[str, str] = os.environ) -> str:
    """``AWS_ACCOUNT_ID``, else what STS says (GetCallerIdentity at the region's endpoint); 12 digits.

    Raises OutsideError ``aws-account`` for a variable that is no account, else as `asked` does.
    """
    if found := environ.get("AWS_ACCOUNT_ID", "").strip():
        if not _ACCOUNT.fullmatch(found):
            raise OutsideError("AWS_ACCOUNT_ID is not a number of 12 digits", reason=Reason.AWS_ACCOUNT,
                               hint="correct it, or leave it out: then AWS is asked")
        return found
    sts = client("sts", region)
    found = str(asked("sts", sts.get_caller_identity).get("Account", ""))
    if not _ACCOUNT.fullmatch(found):
        raise OutsideError("AWS does not say which account it is (sts:GetCallerIdentity)", reason=Reason.AWS_FAILED,
                           hint="set AWS_ACCOUNT_ID")
    return found


def new_session() -> Session:
    """A session of boto3 that knows nothing from before. Not for several threads at once.

    Raises OutsideError ``aws-credentials`` when the profile (``AWS_PROFILE``) does not exist.
    """
    return asked("sts", _session)


def has_credentials(session: Session) -> bool:
    """Whether there are AWS credentials: False only when no place has any.

    Gets those that must be got (roles, web identity, IAM Identity Center). Where
    nothing is set, asking for the EC2 instance's role takes up to 2 seconds.

    Raises OutsideError as `asked` does when credentials are there and are incomplete, have expired or can't be had.
    """
    def look() -> bool:
        found = session.get_credentials()
        return found is not None and bool(found.get_frozen_credentials().access_key)

    return asked("sts", look, credentials=True)


@overload
def client(service: Literal["ecr"], region: str, session: Session | None = None) -> ECRClient: ...
@overload
def client(service: Literal["ecr-public"], region: str, session: Session | None = None) -> ECRPublicClient: ...
@overload
def client(service: Literal["kms"], region: str, session: Session | None = None) -> KMSClient: ...
@overload
def client(service: Literal["sts"], region: str, session: Session | None = None) -> STSClient: ...
def client(service: Literal["ecr", "ecr-public", "kms", "sts"], region: str, session: Session | None = None) -> Any:
    """A client of one service; its calls go through `asked`.

    Raises OutsideError ``aws-credentials`` when there are none, else as `asked` does.
    """
    session = session or new_session()
    if not has_credentials(session):
        raise OutsideError("there are no AWS credentials", reason=Reason.AWS_CREDENTIALS,
                           hint=f"{LOG_IN}; looked, in this order, in {', '.join(PLACES)}")
    return asked(service, lambda: session.client(service, region_name=region))


def _session() -> Session:
    import logging

    import boto3.session
    import botocore.session
    from botocore.config import Config

    # What goes wrong comes as errors; its log has headers and answers (tokens), and tracebacks as warnings.
    logging.getLogger("botocore").setLevel(logging.CRITICAL)
    connect, read = _TIMEOUTS
    core = botocore.session.Session()
    core.set_default_client_config(Config(
        connect_timeout=connect, read_timeout=read, retries={"mode": "standard"}, user_agent_extra="kmod-foundry",
    ))
    core.register("before-send", _direct())  # type: ignore[arg-type]  # the stubs know no handlers that answer
    return boto3.session.Session(botocore_session=core)


def _direct() -> Callable[..., AWSResponse | None]:
    """A handler that sends requests for loopback itself: a proxy from the environment can't reach this machine."""
    from botocore.httpsession import URLLib3Session

    trusted: Any = os.environ.get("AWS_CA_BUNDLE") or True
    timeouts: Any = _TIMEOUTS  # the stubs know one number only
    http = URLLib3Session(proxies={}, timeout=timeouts, verify=trusted)

    def send(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        host = urlsplit(str(request.url)).hostname
        return http.send(request) if host in LOOPBACK else None

    return send


def _profile_region(environ: Mapping[str, str]) -> str:
    import botocore.session

    profile = environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE") or None  # botocore's order
    session = botocore.session.Session(profile=profile)
    for setting, name in (("config_file", "AWS_CONFIG_FILE"), ("credentials_file", "AWS_SHARED_CREDENTIALS_FILE")):
        if environ.get(name):
            session.set_config_variable(setting, environ[name])
    return str(session.get_scoped_config().get("region") or "").strip()


def _checked_region(name: str, where: str) -> str:
    if not _REGION.fullmatch(name):
        raise OutsideError(f"{where} has {name[:40]!r}, which is no AWS region", reason=Reason.AWS_REGION,
                           hint="a region is named like eu-west-1")
    return name
