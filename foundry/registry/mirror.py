"""From registry to registry: an image under the same digest, its blobs streamed, none held in memory or on disk.

A blob is sent in one PUT while it is read. Its digest is known before its last
piece goes out: what is not what it must be never arrives. What breaks is begun anew as a whole.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.references import Reference
from foundry.formats.images.manifest import Descriptor, Index, Manifest, parse_manifest
from foundry.net.transport import Attempt, RetryableError
from foundry.registry.client import Payload, Registry, check_digest, pull_scope
from foundry.registry.push import Pushable, Writer, patient

if TYPE_CHECKING:
    import requests

_PIECE = 1 << 18  # bytes


@dataclass(frozen=True)
class Copied:
    """What copying cost: blobs and their bytes that went out, and blobs that were there."""

    blobs: int
    bytes: int
    there: int


def tag_digest(registry: Registry, repository: str, tag: str) -> str:
    """The digest of a tag; empty only when the registry says that there is none.

    By GET: manifests are small, proxies refuse HEAD, and what a header says of the digest proves nothing.
    """
    try:
        return registry.manifest(repository, tag).digest
    except FoundryError as error:
        if error.reason in (Reason.IMAGE_MISSING, Reason.REPOSITORY_MISSING):
            return ""
        raise


def mirror(source: Registry, reference: Reference, writer: Writer, tags: Sequence[str]) -> Copied:
    """Have the image of that digest under the tags; of an index, all its images.

    A tag is set when all that it names is there. Raises FoundryError ``digest-mismatch``,
    ``layer-foreign``, ``manifest-…``, and what `Registry.manifest` and `Writer.push` raise.
    """
    images = [_image(source, reference.repository, reference.digest)]
    document = parse_manifest(images[0].manifest, images[0].media_type)
    if isinstance(document, Index):
        for digest in dict.fromkeys(entry.digest for entry in document.entries):
            image = _image(source, reference.repository, digest)
            if isinstance(parse_manifest(image.manifest, image.media_type), Index):
                raise FoundryError(f"{reference} is an index of indexes", reason=Reason.MANIFEST_UNSUPPORTED)
            writer.push(image, digest)
            images.append(image)
    for tag in tags:
        writer.push(images[0], tag)
    sent: dict[str, int] = {}
    for image in images:
        assert isinstance(image.blobs, _Blobs)  # noqa: S101 - made by _image
        sent |= image.blobs.sent
    names = {digest for image in images for digest in image.blobs}
    return Copied(len(sent), sum(sent.values()), len(names) - len(sent))


def _image(source: Registry, repository: str, digest: str) -> Pushable:
    fetched = source.manifest(repository, digest)
    document = parse_manifest(fetched.data, fetched.media_type)
    parts = (document.config, *document.layers) if isinstance(document, Manifest) else ()
    if any(part.foreign for part in parts):
        raise FoundryError(f"{source.host}/{repository}@{digest} has a layer that its registry does not keep",
                           reason=Reason.LAYER_FOREIGN)
    blobs = _Blobs(source, repository, {part.digest: part for part in parts})
    return Pushable(fetched.data, document.media_type, fetched.digest, blobs)


@dataclass(frozen=True)
class _Blobs(Mapping[str, Payload]):
    """An image's blobs, read when they are sent; `sent` are those that went out whole, with their bytes."""

    source: Registry
    repository: str
    parts: Mapping[str, Descriptor]
    sent: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, digest: str) -> Payload:
        part = self.parts[digest]
        if part.size:
            return _Streamed(self, part)
        check_digest(digest, hashlib.sha256().hexdigest(), f"{self.source.host}/{self.repository}")
        return b""

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


@dataclass(frozen=True)
class _Streamed:
    """A blob as the body of a request: each time that it is read it is asked for anew."""

    image: _Blobs
    part: Descriptor

    def __len__(self) -> int:
        return self.part.size

    def __iter__(self) -> Iterator[bytes]:
        source, repository = self.image.source, self.image.repository
        policy = patient(source.policy, self.part.size)
        attempt = Attempt(source.blob_url(repository, self.part.digest), policy,
                          min(time.monotonic() + policy.total, policy.until))
        with source.answered(attempt, "GET", pull_scope(repository),
                             what=f"{repository} {self.part.digest}") as response:
            yield from self._checked(attempt, response)

    def _checked(self, attempt: Attempt, response: requests.Response) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        what = f"{self.image.source.host}/{self.image.repository}"
        found, left = hashlib.sha256(), self.part.size
        stated = response.headers.get("Content-Length", "")
        more = stated.isdecimal() and int(stated) > left  # a last piece may end where the blob should
        while left > 0:
            try:
                piece = response.raw.read1(_PIECE, decode_content=False)
            except (HTTPError, OSError) as error:
                raise RetryableError(attempt.fault("the answer is cut off",
                                                   Reason.HTTP_TRUNCATED, retry=True)) from error
            if not piece:
                why = f"{self.part.size - left} of {self.part.size} bytes arrived"
                raise RetryableError(attempt.fault(why, Reason.HTTP_TRUNCATED, retry=True))
            found.update(piece)
            left -= len(piece)
            if left < 0 or more:
                raise FoundryError(f"{what}: {self.part.digest} has more than its {self.part.size} bytes",
                                   reason=Reason.DIGEST_MISMATCH,
                                   hint="the registry, or something before it, is damaged")
            if not left:
                check_digest(self.part.digest, found.hexdigest(), what)
                self.image.sent[self.part.digest] = self.part.size
            yield piece
