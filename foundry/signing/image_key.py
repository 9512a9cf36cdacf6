"""The key that images are signed with, and the public halves by which such signatures are believed.

ECDSA on P-256 with SHA-256 alone: cosign, podman, CRI-O, Kyverno and AWS KMS all have it. With a key in PEM the same
content has the same signature each time (RFC 6979).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.files import read_file, sha256_bytes
from foundry.base.reasons import Reason
from foundry.config.signing import IMAGES, key_place, public_der
from foundry.signing.keys import private_key, token_signer, unreadable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

_TRIED = b"kmod-foundry"


@dataclass(frozen=True)
class PublicKey:
    """A public key: the SHA-256 of its DER (``SubjectPublicKeyInfo``, 64 hex digits), and itself in PEM."""

    fingerprint: str
    pem: bytes = field(repr=False)
    _key: EllipticCurvePublicKey = field(repr=False, compare=False)

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """Whether the signature (DER) is this key's over the content."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            self._key.verify(signature, content, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class ImageSigner:
    """Signs with the private half of `public`; safe to use from several threads. `warnings` are for people."""

    public: PublicKey
    warnings: tuple[str, ...] = ()
    _sign: Callable[[bytes], bytes] = field(repr=False, kw_only=True)

    def sign(self, content: bytes) -> bytes:
        """The signature over the content, in DER; OutsideError where a token refuses."""
        return self._sign(content)


def read_public_keys(files: Iterable[str], root: Path) -> tuple[PublicKey, ...]:
    """The public keys in these files, relative to `root`. FoundryError ``signing-key-unreadable``."""
    return tuple(_read(root / file, file) for file in files)


def open_image_signer(key: str, public: PublicKey, secrets: Mapping[str, str], root: Path) -> ImageSigner:
    """The signer that the setting `image_signing.key` names; `secrets` has what the environment held, by variable.

    FoundryError: ``signing-key-mismatch``, ``signing-key-unreadable``. OutsideError as of
    `foundry.signing.keys.private_key`, `token_signer` and `foundry.signing.kms.kms_signer`.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256

    warnings: tuple[str, ...] = ()
    place = key_place(key)
    if place.kms:
        from foundry.signing.kms import kms_signer

        name, sign = f"{place.kms} of AWS KMS", kms_signer(place.kms)
    elif token := place.token:
        name, in_token = "in the token", token_signer(token, IMAGES, secrets)

        def sign(content: bytes) -> bytes:
            return _der_of_pair(in_token(bytes.fromhex(sha256_bytes(content))))
    else:
        found = private_key(key, IMAGES, secrets, root)
        private, name, warnings = found.key, found.name, found.warnings
        if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
            raise unreadable(f"the key {name} is not on the curve P-256", IMAGES)
        algorithm = ECDSA(SHA256(), deterministic_signing=True)

        def sign(content: bytes) -> bytes:
            return private.sign(content, algorithm)
    if not public.verifies(sign(_TRIED), _TRIED):
        raise FoundryError(
            f"the key {name} is not the private half of {public.fingerprint[:12]}, the first of"
            " `image_signing.public_keys`", reason=Reason.SIGNING_KEY_MISMATCH,
            hint="the first public key must be that of `image_signing.key`; older ones come after it")
    return ImageSigner(public, warnings, _sign=sign)


def _read(path: Path, name: str) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

    try:
        der = public_der(read_file(path))
        key = load_der_public_key(der)
    except OSError as error:
        raise unreadable(f"the public key {name} can't be read: {error.strerror}", IMAGES) from error
    except Exception as error:  # cryptography has several kinds for bytes that are none
        raise unreadable(f"{name} is no public key that can be read", IMAGES) from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise unreadable(f"the public key {name} is not on the curve P-256", IMAGES)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(sha256_bytes(der), pem, key)


def _der_of_pair(pair: bytes) -> bytes:
    """The signature in DER that a token gives as two numbers of the same length (PKCS #11, 2.3.1)."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(pair) // 2
    return encode_dss_signature(int.from_bytes(pair[:half]), int.from_bytes(pair[half:]))
