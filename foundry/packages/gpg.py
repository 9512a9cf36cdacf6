"""Signatures, checked by gpgv against one key that the project names by its full fingerprint.

gpgv trusts every key of its keyring, takes no other, makes no network request and reads no
configuration. Its status lines are described in GnuPG's doc/DETAILS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from foundry.base.errors import FoundryError
from foundry.base.files import append_to, read_file, scratch
from foundry.base.process import Completed, run, shell_line
from foundry.base.reasons import Reason
from foundry.packages.openpgp import packets, signed_message

_STRONG = {"8", "9", "10", "11", "12", "14"}  # SHA-2 and SHA-3 (RFC 4880, 9.4; RFC 9580)
_VALIDSIG_FIELDS = 10
_OF_BYTES = "00"  # signature class (RFC 4880, 5.2.1): a document as it is; 01 takes \r\n and \n for the same
_CLOCKS_DIFFER = 3600.0  # seconds
_KEY_PACKETS = (6, 14)  # public key and subkey (RFC 4880, 4.3)
_BY_LENGTH = (1, 2, 3, 17)  # algorithms whose strength is the length of their first number: RSA, DSA (9.1)
_SHORTEST = 2048  # bits
_SHORTEST_BODY = 8  # version, time, algorithm, the length of the first number
_SECONDS = 120.0
_fingerprint = re.compile(r"[0-9A-F]{40}")
_begin = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n")
_END = b"-----END PGP PUBLIC KEY BLOCK-----"


@dataclass(frozen=True)
class SignatureFacts:
    """A good signature: the key that made it (40 upper-case hex digits), when (seconds since 1970), whose."""

    fingerprint: str
    created: int
    uid: str


def verify(
    data: bytes | Path | Sequence[Path], signature: bytes, key_file: Path, fingerprint: str, *, log: Path | None = None,
    later: bool = False,
) -> SignatureFacts:
    """Check a detached signature over bytes, over a file or over files read one after the other.

    `fingerprint` is the full fingerprint of the key, or of the primary key when a subkey
    signs. `key_file` holds it, ASCII-armoured or binary. `later`: the signature counts although
    the key expired since it was made.

    Raises FoundryError: ``signature-missing``, ``signature-bad``, ``signature-wrong-key``,
    ``signature-key-expired``, ``signature-expired``, ``signature-key-revoked``,
    ``signature-weak``, ``signature-wrong-kind`` (over a text, whose ends of lines it does not cover),
    ``signature-from-the-future``, ``key-weak``, ``key-damaged``, ``key-unreadable``; OutsideError without gpgv.
    """
    wanted = fingerprint.replace(" ", "").upper()
    if not _fingerprint.fullmatch(wanted):
        raise FoundryError(
            f"{fingerprint!r} is not a full fingerprint", reason=Reason.KEY_FINGERPRINT,
            hint="it has 40 hexadecimal digits: `gpg --show-keys FILE` shows it",
        )
    if not signature:
        raise FoundryError("there is no signature", reason=Reason.SIGNATURE_MISSING)
    ring = keyring(key_file)
    with scratch(Path(tempfile.gettempdir()), "kmod-foundry-gpgv") as folder:  # gpgv takes no path of odd characters
        ring_file, signature_file = folder / "keyring.gpg", folder / "signature"
        ring_file.write_bytes(ring)
        signature_file.write_bytes(signature)
        paths = ["-"] if isinstance(data, bytes) else [str(p.absolute()) for p in _as_paths(data)]
        done = run(
            ["gpgv", "--homedir", str(folder), "--status-fd", "1", "--keyring", str(ring_file), "--",
             str(signature_file), *paths],
            stdin=data if isinstance(data, bytes) else b"", timeout=_SECONDS, env={"LC_ALL": "C"}, check=False,
        )
    if log is not None:
        _write_log(log, done)
    try:
        facts = _judge(_status(done.stdout), wanted, key_file, done, later=later)
        _require_strong(ring, {facts.fingerprint, wanted}, key_file)
        return facts
    except FoundryError as error:
        error.log = log
        raise


def signed_content(
    message: bytes, key_file: Path, fingerprint: str, *, max_bytes: int, log: Path | None = None
) -> bytes:
    """What a signed message says, once its signature is good; errors as of `verify`."""
    try:
        content, signature = signed_message(message, max_bytes)
    except ValueError as error:
        raise FoundryError(f"the signature can't be read: {error}", reason=Reason.SIGNATURE_BAD, log=log) from error
    verify(content, signature, key_file, fingerprint, log=log)
    return content


def keyring(key_file: Path) -> bytes:
    """The binary keyring in a key file; FoundryError (``key-unreadable``, ``key-damaged``)."""
    try:
        data = read_file(key_file)
    except OSError as error:
        raise FoundryError(f"the key {key_file} can't be read: {error.strerror}",
                           reason=Reason.KEY_UNREADABLE) from error
    try:
        ring = data if data[:1] >= b"\x80" else dearmor(data)
    except ValueError as error:
        raise FoundryError(f"the key {key_file} is damaged: {error}", reason=Reason.KEY_DAMAGED) from error
    return ring


def dearmor(text: bytes) -> bytes:
    """The bytes inside ASCII armour (RFC 4880, 6.2); ValueError when there are none or a checksum is wrong."""
    blocks, at = [], 0
    while (begin := _begin.search(text, at)) is not None and (end := text.find(_END, begin.end())) >= 0:
        blocks.append(text[begin.end():end])
        at = end + len(_END)
    if not blocks:
        raise ValueError("it holds no public key block")
    return b"".join(_block(block) for block in blocks)


def _block(block: bytes) -> bytes:
    lines = [line.strip() for line in block.splitlines()]
    if b"" in lines:
        lines = lines[lines.index(b"") + 1 :]  # behind the armour's headers
    elif any(b": " in line for line in lines):
        raise ValueError("there is no blank line behind its headers")
    checks = [line for line in lines if line.startswith(b"=")]
    body = b"".join(line for line in lines if not line.startswith(b"="))
    try:
        data = base64.b64decode(body, validate=True)
        check = base64.b64decode(checks[0][1:], validate=True) if checks else None
    except binascii.Error as error:
        raise ValueError(f"it is no base64: {error}") from error
    if not data:
        raise ValueError("it is empty")
    if check is not None and check != crc24(data).to_bytes(3, "big"):
        raise ValueError("its checksum is wrong")
    return data


def crc24(data: bytes) -> int:
    """The armour's checksum (RFC 4880, 6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def _as_paths(data: Path | Sequence[Path]) -> Sequence[Path]:
    return [data] if isinstance(data, Path) else data


def _status(text: str) -> dict[str, list[list[str]]]:
    """Status lines by keyword, each as its fields."""
    lines: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("[GNUPG:] "):
            keyword, *fields = line.split(" ")[1:]
            lines.setdefault(keyword, []).append(fields)
    return lines


def _judge(
    status: dict[str, list[list[str]]], wanted: str, key_file: Path, done: Completed, *, later: bool
) -> SignatureFacts:
    new_key = f"the key is {key_file}; take a newer one only from the vendor, over a way you trust"

    def fault(message: str, reason: Reason, hint: str = "") -> FoundryError:
        return FoundryError(message, reason=reason, hint=hint)

    if "BADSIG" in status:
        raise fault("the signature is bad: the data was changed after it was signed", Reason.SIGNATURE_BAD,
                    "fetch it again; if that does not help, don't use it")
    if "NO_PUBKEY" in status:
        signer = status["NO_PUBKEY"][0][0]
        raise fault(f"the signature was made by the key {signer}, not by {wanted}", Reason.SIGNATURE_WRONG_KEY, new_key)
    if later and "EXPKEYSIG" in status and _made_before(status):
        status.setdefault("GOODSIG", status.pop("EXPKEYSIG"))
    if "EXPKEYSIG" in status:
        raise fault(f"the key {wanted} has expired", Reason.SIGNATURE_KEY_EXPIRED, new_key)
    if "REVKEYSIG" in status:
        raise fault(f"the key {wanted} was revoked", Reason.SIGNATURE_KEY_REVOKED, new_key)
    if "EXPSIG" in status:
        raise fault("the signature has expired", Reason.SIGNATURE_EXPIRED)
    good, valid = status.get("GOODSIG", []), status.get("VALIDSIG", [])
    if done.returncode or len(good) != 1 or len(valid) != 1 or len(valid[0]) < _VALIDSIG_FIELDS or "ERRSIG" in status:
        last = (done.stderr.strip() or "no reason given").rsplit("\n", 1)[-1][:200]
        raise fault(f"the signature can't be verified: {last}", Reason.SIGNATURE_BAD)
    signer, _, created, *_, digest, kind, primary = valid[0][:_VALIDSIG_FIELDS]
    if wanted not in (signer, primary):
        raise fault(f"the signature was made by the key {primary}, not by {wanted}",
                    Reason.SIGNATURE_WRONG_KEY, new_key)
    if digest not in _STRONG:
        raise fault(f"the signature rests on a weak digest (OpenPGP algorithm {digest})", Reason.SIGNATURE_WEAK)
    if kind != _OF_BYTES:
        raise fault(f"the signature is not one over bytes, but of OpenPGP's class {kind}", Reason.SIGNATURE_WRONG_KIND)
    if int(created) > time.time() + _CLOCKS_DIFFER:
        raise fault("the signature was made in the future", Reason.SIGNATURE_FROM_THE_FUTURE,
                    "is this machine's clock right?")
    # GOODSIG's key id is the signature's unsigned hint on its issuer; the fingerprint is what gpgv used
    return SignatureFacts(signer, int(created), unquote(" ".join(good[0][1:])))


def _require_strong(ring: bytes, used: set[str], key_file: Path) -> None:
    """FoundryError ``key-weak`` where one of the keys is an RSA or DSA key of less than 2048 bits."""
    for body in _keys(ring):
        fingerprint = _fingerprint_of(body)
        if fingerprint not in used:
            continue
        bits = int.from_bytes(body[6:8], "big")
        if body[5] in _BY_LENGTH and bits < _SHORTEST:
            raise FoundryError(f"the key {fingerprint} has {bits} bits, which can be broken", reason=Reason.KEY_WEAK,
                               hint=f"the key is {key_file}; ask the vendor for one of {_SHORTEST} bits or more")


def fingerprints(key_file: Path) -> list[str]:
    """The full fingerprints of a key file's version-4 keys, subkeys too, in their order. Raises as `keyring`."""
    return [_fingerprint_of(body) for body in _keys(keyring(key_file))]


def _fingerprint_of(body: bytes) -> str:
    named = b"\x99" + len(body).to_bytes(2, "big") + body  # RFC 4880, 12.2
    return hashlib.sha1(named, usedforsecurity=False).hexdigest().upper()


def _keys(ring: bytes) -> list[bytes]:
    """The bodies of a keyring's version-4 keys (RFC 4880, 5.5.2); ends at what is no packet."""
    found = []
    with suppress(ValueError):
        for tag, body in packets(ring):
            if tag in _KEY_PACKETS and body[:1] == b"\x04" and len(body) >= _SHORTEST_BODY:
                found.append(body)
    return found


def _made_before(status: dict[str, list[list[str]]]) -> bool:
    """Whether the signature is older than the end of its key."""
    made = [int(fields[2]) for fields in status.get("VALIDSIG", []) if fields[2:3] and fields[2].isdecimal()]
    ends = [int(fields[0]) for fields in status.get("KEYEXPIRED", []) if fields and fields[0].isdecimal()]
    return bool(made and ends) and max(made) < min(ends)


def _write_log(log: Path, done: Completed) -> None:
    append_to(log)(f"$ {shell_line(done.argv)}\n{done.stdout}{done.stderr}".rstrip("\n"))
