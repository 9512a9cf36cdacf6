"""Private keys to sign with, from a file, an environment variable or a token (PKCS#11); who signs modules.

A key is read once, where things are signed: it is in no error, log, argument or environment of a command.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import open_file
from foundry.base.plain_text import keep_secret, line
from foundry.base.reasons import Reason
from foundry.config.signing import MODULES, TokenKey, Use, is_variable, key_place
from foundry.signing.certificate import Certificate, require_valid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from pkcs11 import PKCS11Error, PrivateKey, SignMixin, Token

    class _SigningKey(PrivateKey, SignMixin):
        """What the library makes of a private key that may sign."""

_DIGEST_INFO = {  # what stands before the hash in a signature (RFC 8017, 9.2, note 1)
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Signer:
    """Signs with the certificate's key; safe to use from several threads. `warnings` are for people."""

    certificate: Certificate
    warnings: tuple[str, ...] = ()
    _sign: Callable[[bytes, str], bytes] = field(repr=False, kw_only=True)

    def sign(self, content: bytes, hash_name: str) -> bytes:
        """The RSA signature of content (PKCS #1 v1.5), as long as the key; OutsideError where a token refuses."""
        return self._sign(content, hash_name)


def open_signer(key: str, certificate: Certificate, secrets: Mapping[str, str], root: Path) -> Signer:
    """The signer that the setting `signing.key` names; `secrets` has what the environment held, by variable.

    FoundryError: ``certificate-expired``, ``certificate-not-yet-valid``, ``signing-key-mismatch``,
    ``signing-key-unreadable``. OutsideError: ``signing-key-missing``, ``signing-key-locked``, ``signing-token``,
    ``tool-missing``.
    """
    require_valid(certificate)
    token = key_place(key).token
    warnings = [f"kernels of RHEL may not trust the certificate {certificate.subject!r}: {why}"
                for why in certificate.warnings]
    if token:
        return Signer(certificate, tuple(warnings), _sign=_token_signer(token, certificate, secrets))
    found = private_key(key, MODULES, secrets, root)
    return Signer(certificate, (*warnings, *found.warnings), _sign=_key_signer(found, certificate))


@dataclass(frozen=True)
class KeyInPem:
    """A key in PEM that could be read: what it is called in sentences, and warnings for people."""

    key: object = field(repr=False)
    name: str
    warnings: tuple[str, ...] = ()


def private_key(key: str, use: Use, secrets: Mapping[str, str], root: Path) -> KeyInPem:
    """The key in the file or the variable that a setting names, of whatever kind.

    FoundryError ``signing-key-unreadable``; OutsideError ``signing-key-missing``, ``signing-key-locked``.
    """
    place = key_place(key)
    if place.variable:
        text = secrets.get(place.variable, "")
        if not text:
            raise missing(f"the variable {place.variable}, which holds the key to sign {use.what}, is not set", use)
        # some stores of secrets know no lines
        name, warnings, pem = f"in {place.variable}", (), text.replace("\\n", "\n").encode()
        return KeyInPem(_parsed(pem, name, secrets.get(use.passphrase, ""), use), name, warnings)
    pem, mode = _content(root / place.file, f"the key {place.file} to sign {use.what}", use)
    others = (f"the key {place.file} can be read by others: `chmod 600 {place.file}`",) if mode & _OTHERS else ()
    return KeyInPem(_parsed(pem, place.file, secrets.get(use.passphrase, ""), use), place.file, others)


def _key_signer(found: KeyInPem, certificate: Certificate) -> Callable[[bytes, str], bytes]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    key = found.key
    if not isinstance(key, RSAPrivateKey):
        raise unreadable(f"the key {found.name} is not RSA", MODULES)
    if key.public_key() != _public_key(certificate):
        raise _mismatch(found.name, certificate)
    return lambda content, hash_name: key.sign(content, padding.PKCS1v15(), getattr(hashes, hash_name.upper())())


def _parsed(pem: bytes, name: str, passphrase: str, use: Use) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    is_encrypted = b"ENCRYPTED" in pem  # PKCS #8 in the label, OpenSSL's older form in a header
    if is_encrypted and not passphrase:
        raise OutsideError(f"the key {name} is encrypted", reason=Reason.SIGNING_KEY_LOCKED,
                           hint=f"set {use.passphrase} in the environment")
    try:
        return load_pem_private_key(pem, passphrase.encode() if is_encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if is_encrypted:
            raise OutsideError(f"the key {name} can't be decrypted", reason=Reason.SIGNING_KEY_LOCKED,
                               hint=f"is {use.passphrase} its passphrase?") from None
        # whose words may have parts of it
        raise unreadable(f"the key {name} is no private key in PEM", use) from None


def _token_signer(
    wanted: TokenKey, certificate: Certificate, secrets: Mapping[str, str]
) -> Callable[[bytes, str], bytes]:
    in_token = token_signer(wanted, MODULES, secrets)

    def sign(content: bytes, hash_name: str) -> bytes:
        """The token gets the hash alone, which all of them take, however long the module is."""
        return in_token(_DIGEST_INFO[hash_name] + hashlib.new(hash_name, content).digest())

    _require_signs(sign, certificate)
    return sign


def token_signer(wanted: TokenKey, use: Use, secrets: Mapping[str, str]) -> Callable[[bytes], bytes]:
    """Signs hashes in the token: of modules by RSA (PKCS #1 v1.5), of images by ECDSA (two numbers of one length).

    Opens a session that stays open as long as what is returned; one signature is made at a time. OutsideError
    ``signing-key-missing``, ``signing-key-locked``, ``signing-token``, ``tool-missing``, also while it signs.
    """
    from pkcs11 import Mechanism, PKCS11Error

    pin = _pin(wanted, use, secrets)
    key, lock = _token_key(wanted, use, pin), threading.Lock()
    each_time = pin if _wants_pin_each_time(key) else None
    mechanism = Mechanism.RSA_PKCS if use is MODULES else Mechanism.ECDSA

    def sign(content: bytes) -> bytes:
        try:
            with lock:
                return bytes(key.sign(content, mechanism=mechanism, pin=each_time))
        except PKCS11Error as error:
            raise _token_refuses(error, use) from error

    return sign


def _token_key(wanted: TokenKey, use: Use, pin: str) -> _SigningKey:
    import pkcs11

    kind = pkcs11.KeyType.RSA if use is MODULES else pkcs11.KeyType.EC
    try:
        library = pkcs11.lib(wanted.module_path)
    except Exception as error:  # a RuntimeError with the linker's words, or PKCS11Error
        raise OutsideError(f"the token's library {wanted.module_path} can't be loaded: {line(str(error))}",
                           reason=Reason.TOOL_MISSING, hint="is it installed, and for this architecture?") from error
    try:
        tokens = [token for slot in library.get_slots(token_present=True) if _fits(token := slot.get_token(), wanted)]
        if len(tokens) != 1:
            found = ", ".join(line(token.label) for token in tokens) or "none"
            raise missing(f"exactly one token must fit `{use.setting}.key`; these do: {found}", use)
        try:
            session = tokens[0].open(user_pin=pin or None)
        except pkcs11.UserAlreadyLoggedIn:  # by this process, which may have one session after the other
            session = tokens[0].open()
        key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, key_type=kind,
                              label=wanted.object or None, id=wanted.id or None)
    except (pkcs11.NoSuchKey, pkcs11.MultipleObjectsReturned) as error:
        many = isinstance(error, pkcs11.MultipleObjectsReturned)
        hint = "" if pin or many else f"most tokens show keys with a PIN alone: set {use.passphrase}"
        raise missing(f"the token {line(tokens[0].label)!r} has {'several' if many else 'no'} such {kind.name} keys",
                      use, hint) from error
    except pkcs11.PKCS11Error as error:
        raise _token_refuses(error, use) from error
    if not isinstance(key, pkcs11.SignMixin):
        raise OutsideError("the token's key may not be used to sign", reason=Reason.SIGNING_TOKEN)
    return cast("_SigningKey", key)


def _wants_pin_each_time(key: _SigningKey) -> bool:
    """As the keys for signatures of smart cards do (CKA_ALWAYS_AUTHENTICATE)."""
    from pkcs11 import Attribute, PKCS11Error

    try:
        return bool(key[Attribute.ALWAYS_AUTHENTICATE])
    except PKCS11Error:
        return False


def _fits(token: Token, wanted: TokenKey) -> bool:
    from pkcs11 import TokenFlag

    said = {"token": token.label, "serial": token.serial.decode(errors="replace"),
            "manufacturer": str(token.manufacturer_id), "model": str(token.model)}
    return TokenFlag.TOKEN_INITIALIZED in token.flags and all(
        getattr(wanted, name) in ("", text.strip(" \0")) for name, text in said.items())


def _pin(wanted: TokenKey, use: Use, secrets: Mapping[str, str]) -> str:
    source = wanted.pin_source
    if not source or is_variable(source):
        return secrets.get(source.partition(":")[2] or use.passphrase, "")
    content, _ = _content(Path(source.removeprefix("file:")), "the file with the token's PIN", use)
    pin = content.decode(errors="replace").strip()
    keep_secret(pin)
    return pin


def _token_refuses(error: PKCS11Error, use: Use) -> OutsideError:
    import pkcs11

    words = f"{type(error).__name__} {line(str(error))}".strip()
    if isinstance(error, (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked,
                          pkcs11.PinExpired, pkcs11.UserNotLoggedIn, pkcs11.UserPinNotInitialized)):
        return OutsideError(f"the token does not take the PIN: {words}", reason=Reason.SIGNING_KEY_LOCKED,
                            hint=f"set {use.passphrase} in the environment; several wrong PINs lock a token")
    return OutsideError(f"the token refuses: {words}", reason=Reason.SIGNING_TOKEN,
                        hint="does `pkcs11-tool --login --sign` work with this key?")


def _require_signs(sign: Callable[[bytes, str], bytes], certificate: Certificate) -> None:
    """FoundryError (``signing-key-mismatch``) unless the certificate's key says that it made a signature."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        _public_key(certificate).verify(sign(b"", "sha256"), b"", padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise _mismatch("in the token", certificate) from error


def _public_key(certificate: Certificate) -> RSAPublicKey:
    from cryptography.x509 import load_der_x509_certificate

    # `read_certificate` takes no other
    return cast("RSAPublicKey", load_der_x509_certificate(certificate.der).public_key())


def _content(path: Path, what: str, use: Use) -> tuple[bytes, int]:
    """A file's bytes and mode."""
    try:
        with open_file(path) as stream:
            return stream.read(), os.fstat(stream.fileno()).st_mode
    except FileNotFoundError:
        raise missing(f"{what} is not there ({path})", use) from None
    except OSError as error:
        raise missing(f"{what} can't be read: {error.strerror} ({path})", use) from None


def missing(sentence: str, use: Use, hint: str = "") -> OutsideError:
    """OutsideError ``signing-key-missing``."""
    return OutsideError(
        sentence, reason=Reason.SIGNING_KEY_MISSING,
        hint=hint or f"`{use.setting}.key` says where it is; with an empty one, {use.what} are not signed")


def unreadable(sentence: str, use: Use) -> FoundryError:
    """FoundryError ``signing-key-unreadable``."""
    kind, option = ("an RSA key", "") if use is MODULES else ("a key on the curve P-256", " --images")
    return FoundryError(sentence, reason=Reason.SIGNING_KEY_UNREADABLE,
                        hint=f"it must be {kind} in PEM; `doit signing:new{option}` makes one")


def _mismatch(name: str, certificate: Certificate) -> FoundryError:
    return FoundryError(
        f"the key {name} is not that of the certificate {certificate.subject!r}", reason=Reason.SIGNING_KEY_MISMATCH,
        hint="`signing.key` and `signing.certificate` must be of one pair")
