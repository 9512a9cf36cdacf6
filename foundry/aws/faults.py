"""What can go wrong with AWS, as sentences that quote no credential.

boto3's own words are not passed on, because they can: AWS answers a wrong signature with the
signed headers, session token included, and `credential_process` fails with a program's output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from foundry.base.errors import OutsideError
from foundry.base.reasons import Reason
from foundry.net.transport import SERVER_FAULT, shown

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

T = TypeVar("T")
LOG_IN = "run `aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,79}")
_ACTION = re.compile(r"not authorized to perform:? ([a-z0-9-]{1,40}:[A-Za-z]{1,80})\b")
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "ForbiddenException", "UnauthorizedOperation"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "UnauthorizedException"})
_CLOCK = frozenset({"RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException"})
_REFUSED = _CLOCK | {
    "AuthFailure", "IDPRejectedClaim", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId",
    "InvalidIdentityToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "NotAuthorized",
    "UnrecognizedClientException",
}
_THROTTLED = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"})
_ABOUT_THE_REQUEST = frozenset({"InvalidParameterException", "LimitExceededException", "ValidationException"})
_MAX_SAID = 200  # characters
_OF_OTHERS = {  # operations that boto3 calls to get credentials, and whose they are
    "AssumeRole": "sts", "AssumeRoleWithWebIdentity": "sts", "GetRoleCredentials": "sso", "CreateToken": "sso-oauth",
}
_STATE = "try again later; AWS's own state: https://health.aws.amazon.com/health/status"


def asked(service: str, work: Callable[[], T], *, credentials: bool = False) -> T:
    """What `work` returns; what boto3 raises becomes an OutsideError that quotes no credential.

    ``aws-credentials``: none, not all of them, expired or refused. ``aws-denied``: they
    are known and may not do this; names the IAM action. ``aws-unreachable``: no answer.
    ``aws-missing``, ``aws-exists``: what the service has, by its own word. ``aws-failed``:
    any other. `retry` where the same may go well later. `credentials`
    says that `work` looks for them, so that a file that can't be read is one of theirs.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        return work()
    except ClientError as error:
        final = _answered(service, error)
    except BotoCoreError as error:
        final = _raised(error)
    except ResponseParserError:
        final = OutsideError(f"what answers in place of AWS ({service}) is not AWS",
                             reason=Reason.AWS_FAILED, retry=True,
                             hint="check proxy and AWS_ENDPOINT_URL")
    except (OSError, ValueError, EOFError, KeyError) as error:  # not wrapped by botocore: token files, malformed URLs
        final = _unusable(error, credentials)
    raise final  # out here it has no context: botocore's errors hold requests, and requests hold tokens


def _answered(service: str, error: ClientError) -> OutsideError:
    """What an error that AWS answers with means."""
    said: Mapping[str, Any] = error.response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))
    code = code if _CODE.fullmatch(code) else "unknown error"
    action = f"{_OF_OTHERS.get(error.operation_name, service)}:{error.operation_name}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _DENIED:
        missing = match[1] if (match := _ACTION.search(message)) else action
        how = "a policy denies it explicitly" if "explicit deny" in message else f"allow {missing} in an IAM policy"
        return OutsideError(f"AWS does not allow {missing} with these credentials", reason=Reason.AWS_DENIED,
                            hint=f"{how}; `aws sts get-caller-identity` says whose credentials they are")
    if code in _EXPIRED:
        return _credentials("the AWS credentials have expired")
    if code in _REFUSED:
        clock = "is this machine's clock right? Else " if code in _CLOCK else ""
        return OutsideError(f"AWS does not accept the credentials ({action}: {code})", reason=Reason.AWS_CREDENTIALS,
                            hint=f"{clock}{LOG_IN}")
    for ending, reason in (("NotFoundException", Reason.AWS_MISSING), ("AlreadyExistsException", Reason.AWS_EXISTS)):
        if code.endswith(ending):
            return OutsideError(f"AWS can't do {action} ({code})", reason=reason)
    detail = ""
    if code in _ABOUT_THE_REQUEST and message.isprintable():  # others may quote what was signed
        detail = f": {message[:_MAX_SAID]}"
    passes = code in _THROTTLED or status >= SERVER_FAULT
    return OutsideError(f"AWS can't do {action} ({code}){detail}", reason=Reason.AWS_FAILED, retry=passes,
                        hint=_STATE if passes else "check the names and the region")


def _raised(error: Exception) -> OutsideError:
    """What an error of botocore's own means. Of its words only those are used that name settings and places."""
    import botocore.exceptions as said

    values: Mapping[str, Any] = getattr(error, "kwargs", {})
    kind = type(error).__name__
    of_credentials: dict[type[Exception] | tuple[type[Exception], ...], str] = {
        said.PartialCredentialsError: f"the AWS credentials of {values.get('provider')} lack {values.get('cred_var')}",
        said.ProfileNotFound: f"there is no AWS profile {values.get('profile')!r}",
        (said.SSOError, said.TokenRetrievalError):
            "the session of IAM Identity Center (SSO) is missing or has expired",
        said.LoginError: "the session of `aws login` is missing or has expired",
        (said.ConfigParseError, said.ConfigNotFound): f"AWS's file {values.get('path')} can't be read",
        said.CredentialRetrievalError: f"the AWS credentials of {values.get('provider')} can't be had",
        (said.NoCredentialsError, said.NoAuthTokenError): "there are no AWS credentials",
        (said.InvalidConfigError, said.MetadataRetrievalError, said.RefreshWithMFAUnsupportedError,
         said.UnknownCredentialError, said.MissingDependencyException):
            f"the AWS credentials can't be had ({kind})",
    }
    for kinds, message in of_credentials.items():
        if isinstance(error, kinds):
            return _credentials(message)
    if isinstance(error, (said.ConnectionError, said.HTTPClientError)):
        where = f" at {shown(str(values['endpoint_url']))}" if values.get("endpoint_url") else ""
        return OutsideError(f"AWS does not answer{where} ({kind})", reason=Reason.AWS_UNREACHABLE,
                            retry=True, hint="check network, proxy and the region's name")
    return OutsideError(f"AWS can't be asked ({kind})", reason=Reason.AWS_FAILED,
                        hint="check the region and the settings in ~/.aws/config")


def _unusable(error: Exception, credentials: bool) -> OutsideError:
    if isinstance(error, OSError) and error.filename:
        return _credentials(f"{error.filename}, which AWS's settings name, can't be read: {error.strerror}")
    if credentials:
        return _credentials(f"the AWS credentials can't be had ({type(error).__name__})")
    return OutsideError(f"AWS's settings can't be used ({type(error).__name__})", reason=Reason.AWS_FAILED,
                        hint="check AWS_ENDPOINT_URL and its like, and ~/.aws/config")


def _credentials(message: str) -> OutsideError:
    return OutsideError(message, reason=Reason.AWS_CREDENTIALS, hint=LOG_IN)
