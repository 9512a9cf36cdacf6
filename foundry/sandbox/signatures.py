"""The signatures of the sandbox's release images, in the form that OpenShift's have, by the key of its packages."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from foundry.base.files import canonical_json, write_atomic
from foundry.base.references import parse_reference
from foundry.sandbox.openpgp3 import SecretKey, sign
from foundry.sandbox.standin import signing_key

FOLDER = Path("signatures/openshift/release")
_WHEN = 1_700_000_000  # seconds since 1970: the same inputs give the same bytes
_ONE_PASS, _LITERAL, _COMPRESSED = 0x90, 0xAD, 0xA3  # packets with one and two octets of length, and to the end
_ZIP = 1


def sign_releases(web: Path, payloads: Iterable[tuple[str, str]], log: Path) -> list[Path]:
    """Sign release images, each by its tag and its reference by digest; the files below the web server's folder."""
    written = []
    with signing_key(web / "keys", log) as (_, key):
        for tag, payload in payloads:
            image = parse_reference(payload)
            text = {"critical": {
                "image": {"docker-manifest-digest": image.digest}, "type": "atomic container signature",
                "identity": {"docker-reference": f"{image.name}:{tag}"},
            }, "optional": {"creator": "kmod-foundry sandbox"}}
            written.append(web / FOLDER / image.digest.replace(":", "=") / "signature-1")
            write_atomic(written[-1], signed_message(canonical_json(text), key, _WHEN))
    return written


def signed_message(content: bytes, key: SecretKey, created: int) -> bytes:
    """A compressed message with one signature (RFC 4880, 11.3); `created` in seconds since 1970."""
    one_pass = bytes([3, 0, 8, 1]) + key.fingerprint[-8:] + b"\x01"  # over bytes, SHA-256, RSA (5.4)
    literal = struct.pack(">sBI", b"b", 0, created) + content
    packets = b"".join((
        struct.pack(">BB", _ONE_PASS, len(one_pass)), one_pass, struct.pack(">BH", _LITERAL, len(literal)), literal,
        sign(content, key, created),
    ))
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return bytes([_COMPRESSED, _ZIP]) + packer.compress(packets) + packer.flush()
