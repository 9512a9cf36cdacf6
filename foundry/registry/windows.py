"""A layer as a stream that costs little more than what is taken from it.

What a server has sent can't be taken back: a connection that is cut off has
long filled the buffers on the way. So a layer is asked for in ranges that
double from 32 KiB to just under 1 MiB. A server that knows no ranges (it answers
200) is read as one stream and cut off.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.images.manifest import Descriptor
from foundry.net.transport import OK, Attempt, RetryableError
from foundry.registry.client import Registry, check_digest, pull_scope, whole

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
FIRST_WINDOW = 32 << 10  # bytes
LARGEST_WINDOW = 960 << 10  # bytes: with what decompression holds back, under 1 MiB too much
PARTIAL = 206
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


def read_layer(registry: Registry, repository: str, layer: Descriptor, look: Callable[[Iterator[bytes]], T]) -> T:
    """What `look` makes of the layer's bytes, as stored; it takes only as many chunks as it needs.

    When it has taken all of them, or when they fit into the first window, the layer's digest has been
    checked. `look` is called again with a new stream when a server without ranges cuts off its answer.

    Raises what `Registry.blob` raises, FoundryError ``digest-mismatch`` and what `look` raises.
    """
    what = f"{registry.host}/{repository}"
    if layer.size == 0:
        return look(_checked(iter(()), layer, what))
    blob = _Blob(registry, repository, layer)

    def read(attempt: Attempt, response: requests.Response) -> tuple[bytes, list[T]]:
        if response.status_code == OK and layer.size > FIRST_WINDOW:
            return b"", [look(_checked(_stream(attempt, response), layer, what))]
        data = whole(attempt, response, layer.size) if response.status_code == OK else \
            blob.part(attempt, response, 0, FIRST_WINDOW)
        if len(data) < min(layer.size, FIRST_WINDOW):
            why = f"{len(data)} of {layer.size} bytes arrived"
            raise RetryableError(attempt.fault(why, Reason.HTTP_TRUNCATED, retry=True))
        if layer.size <= FIRST_WINDOW:  # all of it is here, however little `look` will take
            check_digest(layer.digest, hashlib.sha256(data).hexdigest(), what)
        return data, []

    first, done = blob.ask(0, FIRST_WINDOW, (OK, PARTIAL), read)
    return done[0] if done else look(_checked(blob.from_start(first), layer, what))


@dataclass
class _Blob:
    """One layer in its registry; `elsewhere` is where a redirect led, which serves the next windows too."""

    registry: Registry
    repository: str
    layer: Descriptor
    elsewhere: str = ""

    def from_start(self, first: bytes) -> Iterator[bytes]:
        """All of the layer, window by window, each asked for when it is wanted."""
        yield first
        offset, size = len(first), FIRST_WINDOW
        while offset < self.layer.size:
            size = min(2 * size, LARGEST_WINDOW)
            data = self._window(offset, size)
            yield data
            offset += len(data)

    def _window(self, offset: int, size: int) -> bytes:
        def read(attempt: Attempt, response: requests.Response) -> bytes:
            return self.part(attempt, response, offset, size)

        if self.elsewhere:
            try:
                return self.ask(offset, size, (PARTIAL,), read, self.elsewhere)
            except FoundryError:
                self.elsewhere = ""  # such addresses end; the registry gives another
        return self.ask(offset, size, (PARTIAL,), read)

    def ask(
        self, offset: int, size: int, accept: tuple[int, ...], read: Callable[[Attempt, requests.Response], T],
        elsewhere: str = "",
    ) -> T:
        """Ask for a range, at the registry or where it led before."""
        last = min(offset + size, self.layer.size) - 1
        url = elsewhere or self.registry.blob_url(self.repository, self.layer.digest)
        return self.registry.ask(
            "GET", url, "" if elsewhere else pull_scope(self.repository), read,
            headers={"Range": f"bytes={offset}-{last}"}, accept=accept, what=f"{self.repository} {self.layer.digest}",
        )

    def part(self, attempt: Attempt, response: requests.Response, offset: int, size: int) -> bytes:
        """The bytes of an answer to a request for a range, when they are those."""
        self._check_range(attempt, response, offset)
        wanted = min(size, self.layer.size - offset)
        data = whole(attempt, response, wanted)
        if len(data) != wanted:
            raise RetryableError(attempt.fault(f"{len(data)} of {wanted} bytes arrived",
                                               Reason.HTTP_TRUNCATED, retry=True))
        if response.url != self.registry.blob_url(self.repository, self.layer.digest):
            self.elsewhere = response.url
        return data

    def _check_range(self, attempt: Attempt, response: requests.Response, offset: int) -> None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != offset or int(match[3]) != self.layer.size:
            raise attempt.fault("the server answers with another range than was asked for", Reason.HTTP_RANGE)


def _checked(chunks: Iterator[bytes], layer: Descriptor, what: str) -> Iterator[bytes]:
    """The same chunks; at their end, digest and size have been compared."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if size > layer.size:
            break
        yield chunk
    if size > layer.size:
        raise FoundryError(f"{what}: {layer.digest} has more than its {layer.size} bytes",
                           reason=Reason.DIGEST_MISMATCH)
    check_digest(layer.digest, digest.hexdigest(), what)


def _stream(attempt: Attempt, response: requests.Response) -> Iterator[bytes]:
    while chunk := response.raw.read1(FIRST_WINDOW, decode_content=False):
        if attempt.late:
            raise attempt.fault("it takes too long", Reason.HTTP_TIMEOUT, retry=True)
        yield chunk
