"""The ids that git gives to contents, computed without git."""

from __future__ import annotations

import hashlib


def blob_id(data: bytes, algorithm: str = "sha1") -> str:
    """The id of a file's content; `algorithm` is that of the repository, ``sha1`` or ``sha256``."""
    digest = hashlib.new(algorithm, b"blob %d\0" % len(data), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()
