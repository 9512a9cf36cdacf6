"""What refers to an image in a registry: signed statements about it (`foundry.formats.attestations.bundle`).

Protocol: OCI distribution specification 1.1, "Listing referrers"; registries without that API keep the list as an index
under a tag that is made of the image's digest, which who pushes a referrer writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, parse_json, sha256_bytes
from foundry.base.reasons import Reason
from foundry.formats.attestations.bundle import (
    BUNDLE_TYPE,
    LARGEST,
    PREDICATE,
    Signed,
    parse_bundle,
    parse_statement,
    referring,
)
from foundry.formats.images.manifest import (
    MAX_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    parse_manifest,
)
from foundry.net.transport import NOT_FOUND, OK
from foundry.registry.client import Fetched, whole
from foundry.registry.push import Content, Pushable, Writer
from foundry.registry.repository import NOT_THERE, Repository
from foundry.signing.image_key import PublicKey

if TYPE_CHECKING:
    import requests

    from foundry.net.transport import Attempt

_NO_API = (400, NOT_FOUND, 405, 406)  # how registries say that they keep no lists of referrers
_MOST = 64  # referrers of an image that are read: every user who can push can add some
_MALFORMED = (Reason.MANIFEST_MALFORMED, Reason.MANIFEST_UNSUPPORTED)


def fallback_tag(digest: str) -> str:
    """The tag of the list of an image's referrers where the registry keeps none itself."""
    return digest.replace(":", "-")


def attached(place: Repository, digest: str, keys: Sequence[PublicKey]) -> dict[str, list[Signed]]:
    """The statements about the image that one of these keys signed, by predicate type.

    Two requests, and two for each bundle that is there. Raises what `Registry.manifest` raises: an answer that can't be
    had is never "there is none".
    """
    found: dict[str, list[Signed]] = defaultdict(list)
    for signed in _bundles(place, _listed(place, digest)[0]):
        if kind := believed(signed, digest, keys):
            found[kind].append(signed)
    return found


def believed(signed: Signed, digest: str, keys: Sequence[PublicKey]) -> str:
    """The predicate type of a statement about the image, where one of the keys signed it; else empty."""
    said = parse_statement(signed.payload)
    about = said is not None and said.digest == digest and any(signed.is_by(key.verifies) for key in keys)
    return said.predicate_type if said is not None and about else ""


def attach(writer: Writer, image: Descriptor, bundles: Mapping[str, bytes], key: PublicKey) -> list[str]:
    """Have these bundles of the key's, by predicate type, beside the image; the digests of the manifests that are new.

    A statement that is there already, by this key, is left as it is. Raises what `Writer.push` raises, and FoundryError
    ``document-malformed`` where something else than a list of referrers is under the list's tag.
    """
    entries, tagged = _listed(writer, image.digest)
    there, added = {str(entry.get("digest")) for entry in entries}, []
    for kind, bundle in bundles.items():
        manifest, blobs, entry = referring(bundle, kind, image)
        if entry["digest"] in there or _has(writer, entries, kind, bundle, key):
            continue
        if len(bundle) > LARGEST:
            raise FoundryError(f"the statement {kind} about {writer.name}@{image.digest} has {len(bundle)} bytes",
                               reason=Reason.DOCUMENT_TOO_LARGE, hint=f"{LARGEST} bytes are the limit of a bundle")
        try:
            writer.push(Content(manifest, OCI_MANIFEST, entry["digest"], blobs), entry["digest"], small=True)
        except FoundryError as error:
            if error.reason != Reason.HTTP_STATUS or error.retry:
                raise
            raise FoundryError(f"{writer.name} takes no statements about its images: {error.message}",
                               reason=Reason.REFERRERS_REFUSED, hint="it must take manifests with `subject` (OCI 1.1)"
                               ) from error
        added.append(entry)
    if added and not writer.registry.lists_referrers:
        _list(writer, image.digest, [*entries, *added], tagged)
    return [entry["digest"] for entry in added]


def _list(writer: Writer, digest: str, entries: Sequence[Mapping[str, Any]], before: Fetched | None) -> None:
    """Write the list of referrers under its tag, in place of the one that was there."""
    data = canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})

    def look() -> None:
        now = writer.tagged(fallback_tag(digest))
        if (now.digest if now else "") != (before.digest if before else ""):
            raise FoundryError(f"somebody else attaches something to {writer.name}@{digest} at the same time",
                               reason=Reason.DOCUMENT_CHANGED, retry=True, hint="run again")

    writer.push(Pushable(data, OCI_INDEX, f"sha256:{sha256_bytes(data)}", {}), fallback_tag(digest), last_look=look)


def _has(writer: Writer, entries: Iterable[Mapping[str, Any]], kind: str, bundle: bytes, key: PublicKey) -> bool:
    """Whether the very statement is there by this key; for keys that sign otherwise each time."""
    same = [entry for entry in entries if _kind(entry) == kind]
    wanted = parse_bundle(bundle)
    return wanted is not None and any(
        signed.payload == wanted.payload and signed.is_by(key.verifies) for signed in _bundles(writer, same))


def _bundles(place: Repository, entries: Sequence[Mapping[str, Any]]) -> Iterator[Signed]:
    """The bundles with statements in a list of referrers."""
    for entry in [entry for entry in entries if entry.get("artifactType") == BUNDLE_TYPE][:_MOST]:
        try:
            fetched = place.registry.manifest(place.repository, str(entry["digest"]), scope=place.scope)
            manifest = parse_manifest(fetched.data, fetched.media_type)
            layers = manifest.layers if isinstance(manifest, Manifest) else ()
            if len(layers) != 1 or layers[0].media_type != BUNDLE_TYPE or layers[0].size > LARGEST:
                continue
            data = place.registry.blob(place.repository, layers[0].digest, layers[0].size)
        except FoundryError as error:
            if error.reason not in (*_MALFORMED, *NOT_THERE):
                raise
            continue  # somebody else's, or half removed
        if signed := parse_bundle(data):
            yield signed


def _kind(entry: Mapping[str, Any]) -> str:
    annotations = entry.get("annotations")
    return str(annotations.get(PREDICATE, "")) if isinstance(annotations, dict) else ""


def _listed(place: Repository, digest: str) -> tuple[list[Mapping[str, Any]], Fetched | None]:
    """What refers to an image, as it stands in the list; and the list's manifest, where it is kept under a tag."""
    registry = place.registry
    if registry.lists_referrers is not False:
        found = _asked(place, digest)
        registry.lists_referrers = found is not None
        if found is not None:
            return _entries(place, found), None
    there = place.tagged(fallback_tag(digest))
    return (_entries(place, there.data), there) if there is not None else ([], None)


def _asked(place: Repository, digest: str) -> bytes | None:
    """The list of the registry's own; None where it keeps none."""
    def read(attempt: Attempt, response: requests.Response) -> bytes | None:
        return whole(attempt, response, MAX_MANIFEST) if response.status_code == OK else None

    url = f"{place.registry.base}{place.repository}/referrers/{digest}"
    return place.registry.ask("GET", url, place.scope, read, headers={"Accept": OCI_INDEX}, accept=(OK, *_NO_API),
                              what=f"{place.repository} referrers of {digest}")


def _entries(place: Repository, data: bytes) -> list[Mapping[str, Any]]:
    try:
        parsed = parse_manifest(data, OCI_INDEX)
    except FoundryError as error:
        if error.reason not in _MALFORMED:
            raise
        parsed = None
    if not isinstance(parsed, Index):
        raise FoundryError(f"{place.name} has something else than a list of an image's referrers",
                           reason=Reason.DOCUMENT_MALFORMED, hint="who writes there? remove its tag `sha256-…`")
    entries: list[Mapping[str, Any]] = parse_json(data)["manifests"]
    return entries
