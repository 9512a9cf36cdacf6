"""The settings `signing` and `image_signing`: where the private keys are, and what is public of them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from foundry.base.errors import Fault
from foundry.base.files import read_file
from foundry.formats.modules.certificate import der_of

_ENVIRONMENT, _TOKEN, _KMS = "env:", "pkcs11:", "awskms:"
_KMS_KEY = re.compile(r"///((arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:)?(key/)?[A-Za-z0-9-]{1,64}"
                      r"|(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:)?alias/[A-Za-z0-9/_-]{1,256})")
_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_OF_TOKEN = ("token", "object", "id", "serial", "manufacturer", "model")
_OF_QUERY = ("module-path", "pin-source")
_WITHOUT_MEANING = {"type": "private"}  # which it is in any case


@dataclass(frozen=True)
class Signing:
    """`key` is a file, ``env:NAME`` or ``pkcs11:…``, empty where modules are not signed; `certificate` is a file."""

    key: str
    certificate: str


@dataclass(frozen=True)
class ImageSigning:
    """`key` as of modules, empty where images are not signed; `public_keys` are files: the key's own, then old ones."""

    key: str
    public_keys: tuple[str, ...]


@dataclass(frozen=True)
class Use:
    """What a key is for: what it signs, the setting that names it, the variables for the key and its passphrase."""

    what: str
    setting: str
    variable: str
    passphrase: str


MODULES = Use("modules", "signing", "KMOD_SIGNING_KEY", "KMOD_SIGNING_PASSPHRASE")
IMAGES = Use("images", "image_signing", "KMOD_IMAGE_SIGNING_KEY", "KMOD_IMAGE_SIGNING_PASSPHRASE")


@dataclass(frozen=True)
class TokenKey:
    """A key in a token, as a PKCS#11 URI names it (RFC 7512); what is empty is not said."""

    module_path: str
    pin_source: str = ""
    token: str = ""
    object: str = ""
    id: bytes = b""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""


@dataclass(frozen=True)
class KeyPlace:
    """Where a private key is: in a file, in an environment variable, in a token, or in AWS KMS (id, alias or ARN)."""

    file: str = ""
    variable: str = ""
    token: TokenKey | None = None
    kms: str = ""


def key_place(key: str) -> KeyPlace:
    """Of the setting `signing.key`; ValueError with what is wrong with it."""
    if key.startswith(_TOKEN):
        return KeyPlace(token=_token_key(key.removeprefix(_TOKEN)))
    if key.startswith(_ENVIRONMENT):
        return KeyPlace(variable=_variable(key))
    if key.startswith(_KMS):
        if not (found := _KMS_KEY.fullmatch(key.removeprefix(_KMS))):
            raise ValueError("is no key of AWS KMS: awskms:/// is followed by its id, alias/NAME or ARN")
        return KeyPlace(kms=found[1])
    if "-----BEGIN" in key:
        raise ValueError("is a private key: name the file or the environment variable that holds it")
    return KeyPlace(file=key)


def secret_names(key: str, use: Use) -> set[str]:
    """The environment variables that hold secrets for such signatures, whether or not this profile needs them."""
    place = key_place(key)
    source = place.token.pin_source if place.token else ""
    named = source.removeprefix(_ENVIRONMENT) if is_variable(source) else place.variable
    return {use.variable, use.passphrase, named} - {""}


def is_variable(source: str) -> bool:
    """Whether a source of a PIN is an environment variable, not a file."""
    return source.startswith(_ENVIRONMENT)


def signing_faults(
    signing: Mapping[str, Any], root: Path, file: str, *, made_later: bool, secure_boot: bool = False
) -> Iterator[Fault]:
    """What is wrong with the setting in a file of configuration; `made_later`: the certificate may be missing yet."""
    key, certificate = str(signing.get("key", "")), str(signing.get("certificate", ""))
    yield from _key_faults(key, MODULES, file)
    if secure_boot and not key:
        yield Fault(file, "$.secure_boot", "needs a key to sign modules with (`signing`): no other are loaded then")
    if key and not certificate:
        yield Fault(file, "$.signing.certificate", "is missing: `signing.key` needs the key's certificate")
    if certificate:
        yield from _file_faults(root, certificate, der_of, Fault(file, "$.signing.certificate", ""), made_later)


def image_signing_faults(
    signing: Mapping[str, Any], root: Path, file: str, *, made_later: bool
) -> Iterator[Fault]:
    """As `signing_faults`, of the key that images are signed with."""
    key, public = str(signing.get("key", "")), signing.get("public_keys", ())
    yield from _key_faults(key, IMAGES, file)
    if key and not public:
        yield Fault(file, "$.image_signing.public_keys", "is empty: `image_signing.key` needs the key's public half")
    for number, name in enumerate(public if isinstance(public, list) else ()):
        place = Fault(file, f"$.image_signing.public_keys[{number}]", "")
        yield from _file_faults(root, str(name), public_der, place, made_later)


def _key_faults(key: str, use: Use, file: str) -> Iterator[Fault]:
    try:
        place = key_place(key)
    except ValueError as error:
        yield Fault(file, f"$.{use.setting}.key", str(error))
    else:
        if place.kms and use is not IMAGES:
            yield Fault(file, f"$.{use.setting}.key", "is in AWS KMS, which signs images alone: its RSA signatures of"
                                                      " modules are not supported")


def _file_faults(
    root: Path, name: str, parse: Callable[[bytes], bytes], place: Fault, made_later: bool
) -> Iterator[Fault]:
    """What is wrong with a file that a setting names, as a fault at that place."""
    try:
        parse(read_file(root / name))
    except FileNotFoundError:
        if not made_later:
            yield replace(place, message=f"{name} does not exist")
    except OSError as error:
        yield replace(place, message=f"{name} can't be read: {error.strerror}")
    except ValueError as error:  # also of a name with a zero in it
        yield replace(place, message=f"{name} {error}")


def public_der(content: bytes) -> bytes:
    """The public key in a file, PEM (``SubjectPublicKeyInfo``), in DER; ValueError with what is wrong with it."""
    if b"PRIVATE KEY" in content:
        raise ValueError("is a private key: name the file of its public half")
    found = _PUBLIC.findall(content)
    if len(found) != 1:
        raise ValueError("is not one public key in PEM")
    try:
        return base64.b64decode(b"".join(found[0].split()), validate=True)
    except ValueError:
        raise ValueError("is no public key that can be read") from None


def _variable(text: str) -> str:
    name = text.removeprefix(_ENVIRONMENT)
    if not _NAME.fullmatch(name):
        raise ValueError(f"{_ENVIRONMENT} is followed by the name of an environment variable")
    return name


def _token_key(uri: str) -> TokenKey:
    """What follows ``pkcs11:``; all of its values are percent-encoded."""
    path, _, query = uri.partition("?")
    parts = [part for part in path.split(";") if part]
    found: dict[str, str] = {}
    for part, known in [*((part, (*_OF_TOKEN, *_WITHOUT_MEANING)) for part in parts),
                        *((part, _OF_QUERY) for part in query.split("&") if part)]:
        name, _, value = part.partition("=")
        if name == "pin-value":
            raise ValueError(f"holds a PIN: set {MODULES.passphrase} (images: {IMAGES.passphrase}) in the environment,"
                             " or name a file by pin-source=file:…")
        if name not in known:
            raise ValueError(f"is a PKCS#11 URI with {name or 'nothing'!r}; known here are {', '.join(known)}")
        if name in found or not value or value != _WITHOUT_MEANING.get(name, value):
            raise ValueError(f"is a PKCS#11 URI whose {name!r} is there twice, or has no value that can be meant")
        found[name] = value
    if not found.get("module-path", "").startswith(("/", "%2F", "%2f")):
        raise ValueError("is a PKCS#11 URI that must name the token's library: ?module-path=/…/library.so")
    if not found.keys() & {"object", "id"}:
        raise ValueError("is a PKCS#11 URI that must name the key, by object=… or id=…")
    source = unquote(found.get("pin-source", ""))
    if is_variable(source):
        _variable(source)
    elif source and not source.removeprefix("file:").startswith("/"):
        raise ValueError("is a PKCS#11 URI whose pin-source is neither file:/… nor env:NAME")
    texts = {name.replace("-", "_"): unquote(value) for name, value in found.items() if name not in ("id", "type")}
    return TokenKey(**texts, id=unquote_to_bytes(found.get("id", "")))
