"""Signatures by a key in AWS KMS, which never leaves it: asymmetric, ``ECC_NIST_P256``, for signing."""

from __future__ import annotations

import re
from collections.abc import Callable

from foundry.aws import session as aws
from foundry.aws.faults import asked
from foundry.base.errors import OutsideError
from foundry.base.files import sha256_bytes
from foundry.base.reasons import Reason

_REGION = re.compile(r"arn:[^:]+:kms:([a-z0-9-]+):")


def kms_signer(key: str) -> Callable[[bytes], bytes]:
    """Makes the signature (DER) over a content; `key` is its id, ``alias/NAME`` or ARN, which names its region.

    Raises OutsideError ``aws-…`` where AWS can't be asked, has no such key, or one that is for something else; the
    signer the same when it is called. Safe to use from several threads.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    found = _REGION.match(key)
    client = aws.client("kms", found[1] if found else aws.region())

    def sign(content: bytes) -> bytes:
        digest = bytes.fromhex(sha256_bytes(content))
        return bytes(asked("kms", lambda: client.sign(
            KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"))["Signature"])

    try:
        said = asked("kms", lambda: client.get_public_key(KeyId=key))
    except OutsideError as error:
        if error.reason == Reason.AWS_MISSING:
            error.hint = "check the key's name and the region; an alias is written alias/NAME"
        raise
    public = load_der_public_key(bytes(said["PublicKey"]))
    if not isinstance(public, EllipticCurvePublicKey) or not isinstance(public.curve, SECP256R1):
        kind = public.curve.name if isinstance(public, EllipticCurvePublicKey) else type(public).__name__.lstrip("_")
        raise OutsideError(f"the key {key} of AWS KMS is of the kind {kind}", reason=Reason.SIGNING_KEY_UNREADABLE,
                           hint="make one with the key spec ECC_NIST_P256 and the usage SIGN_VERIFY")
    return sign
