"""Writing to a registry: blobs that it lacks, a manifest under a tag, read back and compared.

Protocol: OCI distribution specification 1.1, "Pushing manifests". A blob is sent
whole in one PUT (ECR loses what follows a first chunk), after the registry was
asked whether it has it. Repeating any of this is safe: content is named by digest.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.times import require_clock
from foundry.formats.images.manifest import Descriptor, Manifest, images_in, parse_manifest
from foundry.net.redirects import safe_target
from foundry.net.transport import NOT_FOUND, OK, Attempt, RetryableError, RetryPolicy, with_retries
from foundry.registry.client import Payload, Registry
from foundry.registry.repository import Repository

if TYPE_CHECKING:
    import requests

    from foundry.formats.images.oci import Image

CREATED, ACCEPTED, NO_CONTENT, PARTIAL = 201, 202, 204, 206
# A registry does not know, or did not get, what it has let begin: a new upload may end.
_UPLOAD_LOST = (Reason.IMAGE_MISSING, Reason.BLOB_UNKNOWN, Reason.HTTP_UPLOAD)
# What a HEAD may be answered with although GET is not (proxies, Nexus); and its answer has no body to say why.
_HEAD_REFUSED = (400, 403, NOT_FOUND, 405, 406, 415, 501)
_SLOWEST = 1 << 18  # bytes/s
_SHOWN = 10  # images of an index


@dataclass(frozen=True)
class Pushable:
    """What can be pushed: a manifest as bytes, and the blobs that it names. Of an index: the index alone."""

    manifest: bytes = field(repr=False)
    media_type: str
    digest: str
    blobs: Mapping[str, Payload] = field(repr=False)


@dataclass(frozen=True)
class Content(Pushable):
    """An image that is here, all of it."""

    blobs: Mapping[str, bytes] = field(repr=False)


def content_of(image: Image) -> Content:
    """An image of an archive, to be pushed."""
    blobs = {digest: blob for digest, blob in image.blobs.items() if digest != image.digest}
    return Content(image.blobs[image.digest], image.manifest_type, image.digest, blobs)


@dataclass
class Sent:
    """What pushing cost: blobs and their bytes that really went out."""

    blobs: int = 0
    bytes: int = 0


class Writer(Repository):
    """A repository to push to. Safe to use from several threads: a blob is sent once, not once a thread."""

    def __init__(self, registry: Registry, repository: str) -> None:
        super().__init__(registry, repository, "pull,push")
        self.sent = Sent()
        self._present: set[str] = set()
        self._kept: set[str] = set()  # asked for after a manifest that names them was taken
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def push(
        self, content: Pushable, tag: str, *, last_look: Callable[[], None] = lambda: None, small: bool = False
    ) -> None:
        """Have the image under the tag; when this returns, the registry has given it back as it was sent.

        The images of an index are pushed before it, each with its digest as the tag. `last_look` is called when all
        blobs are there, just before the tag is written, each time. What is `small` is sent without asking whether it
        is there, and only what a name has is asked for afterwards. Raises FoundryError ``push-mismatch`` when the
        registry gives something else, and what `Registry.manifest` raises.
        """
        manifest = parse_manifest(content.manifest, content.media_type)
        if isinstance(content, Content) and not isinstance(manifest, Manifest):
            raise FoundryError(f"{content.digest} is an index, not an image", reason=Reason.MANIFEST_UNSUPPORTED)
        parts = (manifest.config, *manifest.layers) if isinstance(manifest, Manifest) else ()
        for part in parts:
            self._have(part, content.blobs, ask=not small)
        if not self._put_manifest(content, tag, last_look):
            self._send_again(parts, content)
            if not self._put_manifest(content, tag, last_look):
                raise FoundryError(f"{self.name} loses blobs of {tag}: it does not know what it has just taken",
                                   reason=Reason.PUSH_MISMATCH, hint="try again later; tell the registry's operator")
        if not small and self._lost(parts):
            self._send_again(parts, content)
            if lost := self._lost(parts):
                raise FoundryError(f"{self.name} lost {lost} of {tag} after it had taken it",
                                   reason=Reason.PUSH_MISMATCH,
                                   hint="try again later; tell the registry's operator")
        if not small or tag != content.digest:
            self._read_back(content, tag)

    def check(self) -> None:
        """Whether images may be pushed here at all: an upload is begun and cancelled. Raises what `push` raises."""
        url = f"{self.registry.base}{self.repository}/blobs/uploads/"

        def once(attempt: Attempt) -> None:
            where = self._begin(attempt, self.repository)
            self._cancel(replace(attempt, url=where))

        with_retries(url, self.registry.policy, once, self.registry.note)

    def _begin(self, attempt: Attempt, what: str) -> str:
        """Where to send a blob; not always to the registry itself, which is where credentials stay."""
        start = replace(attempt, url=f"{self.registry.base}{self.repository}/blobs/uploads/")

        def read(_: Attempt, response: requests.Response) -> str:
            _require_clock(response, self.name)
            where = response.headers.get("Location", "")
            if not where:
                raise start.fault("the registry takes an upload and does not say where", Reason.REGISTRY_MALFORMED)
            return safe_target(start, where)

        return self.registry.exchange(start, "POST", self.scope, read, headers={"Content-Length": "0"},
                                      accept=(ACCEPTED,), what=what)

    def _read_back(self, content: Pushable, tag: str) -> None:
        back = self.tagged(tag)
        if back is None or back.digest != content.digest or back.data != content.manifest:
            found = back.digest if back is not None else "nothing"
            raise FoundryError(f"{self.name}:{tag} was pushed as {content.digest} and is read back as {found}",
                               reason=Reason.PUSH_MISMATCH, hint="does somebody else push this tag?")

    def _send_again(self, parts: tuple[Descriptor, ...], content: Pushable) -> None:
        with self._lock:
            self._present -= {part.digest for part in parts}
            self._kept -= {part.digest for part in parts}
        for part in parts:
            self._have(part, content.blobs)

    def _have(self, part: Descriptor, blobs: Mapping[str, Payload], *, ask: bool = True) -> None:
        """Send the blob if the registry lacks it, once for all threads."""
        with self._lock:
            lock = self._locks[part.digest]
        with lock:
            if part.digest in self._present:
                return
            data = blobs[part.digest]
            url = self.registry.blob_url(self.repository, part.digest)
            went = with_retries(url, patient(self.registry.policy, part.size),
                           lambda attempt: self._upload(attempt, part, data, ask=ask), self.registry.note)
            with self._lock:
                self._present.add(part.digest)
                self.sent.blobs += went
                self.sent.bytes += part.size * went

    def _upload(self, attempt: Attempt, part: Descriptor, data: Payload, *, ask: bool) -> int:
        """One attempt; 1 when the blob was sent, 0 when it was there."""
        if ask and self._has(attempt, part.digest):
            return 0
        what = f"{self.repository} {part.digest}"
        where = self._begin(attempt, what)
        joint = "&" if "?" in where else "?"
        try:
            self.registry.exchange(
                replace(attempt, url=f"{where}{joint}digest={part.digest}"), "PUT", self.scope, lambda *_: None,
                headers={"Content-Type": "application/octet-stream"}, accept=(CREATED, NO_CONTENT), what=what,
                data=data,
            )
        except BaseException as error:
            self._cancel(replace(attempt, url=where))
            if isinstance(error, FoundryError) and error.reason in _UPLOAD_LOST:
                lost = attempt.fault(f"the upload is lost: {error.message}", Reason.HTTP_UPLOAD, retry=True)
                raise RetryableError(lost) from error
            raise
        return 1

    def _has(self, attempt: Attempt, digest: str, *, expected: bool = False) -> bool:
        """Whether the registry has a blob; one that is expected is not missing because HEAD says so."""
        there = replace(attempt, url=self.registry.blob_url(self.repository, digest))

        def status(method: str, accept: tuple[int, ...], **headers: str) -> int:
            return self.registry.exchange(there, method, self.scope, lambda _, response: response.status_code,
                                          headers=headers, accept=accept, what=f"{self.repository} {digest}")

        said = status("HEAD", (OK, *_HEAD_REFUSED))
        if said != OK and (expected or said != NOT_FOUND):
            said = status("GET", (OK, PARTIAL, NOT_FOUND), Range="bytes=0-0")
        return said != NOT_FOUND

    def _cancel(self, attempt: Attempt) -> None:
        """Remove an upload that did not end; a registry that can't keeps it until it cleans up itself."""
        with suppress(FoundryError, RetryableError):
            self.registry.exchange(attempt, "DELETE", self.scope, lambda *_: None, accept=(NO_CONTENT, NOT_FOUND))

    def _lost(self, parts: tuple[Descriptor, ...]) -> str:
        """The first blob that the registry no longer has after it has taken the manifest."""
        for digest in {part.digest: None for part in parts if part.digest not in self._kept}:
            url = self.registry.blob_url(self.repository, digest)
            asked = partial(self._has, digest=digest, expected=True)
            if not with_retries(url, self.registry.policy, asked, self.registry.note):
                return digest
            self._kept.add(digest)
        return ""

    def _put_manifest(self, content: Pushable, tag: str, last_look: Callable[[], None]) -> bool:
        """False when the registry says that it lacks a blob. A PUT that was not answered is looked after first."""
        tried = False

        def once(attempt: Attempt) -> bool:
            nonlocal tried
            if tried:
                there = self.look(attempt, tag)
                if there is not None and there.digest == content.digest:
                    return True
            last_look()
            tried = True
            return self.registry.exchange(
                attempt, "PUT", self.scope, lambda *_: True, headers={"Content-Type": content.media_type},
                accept=(CREATED, OK, ACCEPTED), what=f"{self.repository} {tag}", data=content.manifest,
            )

        url = f"{self.registry.base}{self.repository}/manifests/{tag}"
        try:
            return with_retries(url, self.registry.policy, once, self.registry.note)
        except FoundryError as error:
            if error.reason == Reason.BLOB_UNKNOWN:
                return False
            raise


def _require_clock(response: requests.Response, who: str) -> None:
    """OutsideError ``clock`` where the registry's clock and ours differ: a row would get a time that others refuse."""
    with suppress(ValueError, TypeError, OverflowError):  # a server that does not say it, or not as a date
        require_clock(parsedate_to_datetime(response.headers.get("Date", "")).timestamp(), f"by the clock of {who}")


def patient(policy: RetryPolicy, size: int) -> RetryPolicy:
    """The same for so many bytes: what moves steadily may take its time."""
    return replace(policy, total=policy.total + size / _SLOWEST)


def fetch_content(registry: Registry, repository: str, reference: str, max_bytes: int) -> Content:
    """A whole image from a registry, every digest checked; for copying it to another."""
    fetched = registry.manifest(repository, reference)
    manifest = parse_manifest(fetched.data, fetched.media_type)
    if not isinstance(manifest, Manifest):
        raise FoundryError(f"{registry.host}/{repository} {reference} is an index, not an image",
                           reason=Reason.MANIFEST_UNSUPPORTED, hint="name one of its images by digest: " + ", ".join(
                               f"{one.digest} ({one.platform})" for one in images_in(manifest)[:_SHOWN]))
    parts = (manifest.config, *manifest.layers)
    if sum(part.size for part in parts) > max_bytes:
        raise FoundryError(f"{registry.host}/{repository} {reference} has more than {max_bytes} bytes",
                           reason=Reason.IMAGE_TOO_LARGE)
    blobs = {part.digest: registry.blob(repository, part.digest, part.size) for part in parts}
    return Content(fetched.data, manifest.media_type, fetched.digest, blobs)
