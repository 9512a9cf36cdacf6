"""What OpenShift signs of a release image: an "atomic container signature", which names a repository and a digest.

The text that containers/image describes (docs/containers-signature.5.md); openshift/cluster-update-keys says where and
by which keys such texts are signed for releases.
"""

from __future__ import annotations

from typing import Any, NoReturn

from foundry.base.errors import FoundryError
from foundry.base.files import parse_json
from foundry.base.reasons import Reason
from foundry.base.references import Reference, parse_reference

MAX_BYTES = 16 << 10
_TYPE = "atomic container signature"


def require_same_image(content: bytes, payload: Reference) -> None:
    """Compare the signed text with the release image, which is named by digest.

    Raises FoundryError ``signature-malformed`` for another kind of text, ``signature-other-image``.
    """
    try:
        document = parse_json(content)
    except ValueError as error:
        _malformed(f"it is no JSON ({str(error)[:200]})")
    critical = _fields(document, "it", ("critical",), ("optional",))["critical"]
    _fields(critical, "`critical`", ("type", "image", "identity"))
    if critical["type"] != _TYPE:
        _malformed(f"its type is {ascii(critical['type'])[:80]}")
    digest = _fields(critical["image"], "`image`", ("docker-manifest-digest",))["docker-manifest-digest"]
    name = _fields(critical["identity"], "`identity`", ("docker-reference",))["docker-reference"]
    try:
        signed = parse_reference(name) if isinstance(name, str) else None
    except FoundryError:
        signed = None
    if signed is None:
        _malformed("it names no image")
    if (digest, signed.name) != (payload.digest, payload.name):
        raise FoundryError(f"the signature is one for {signed.name}@{ascii(digest)[1:-1][:80]}",
                           reason=Reason.SIGNATURE_OTHER_IMAGE)


def _fields(document: Any, what: str, required: tuple[str, ...], further: tuple[str, ...] = ()) -> dict[str, Any]:
    """The document, where it is an object with these fields and no other ones."""
    if not isinstance(document, dict) or not {*required} <= document.keys() <= {*required, *further}:
        _malformed(f"{what} is no object of {', '.join(required)}")
    return document


def _malformed(why: str) -> NoReturn:
    raise FoundryError(f"what is signed is no release image: {why}", reason=Reason.SIGNATURE_MALFORMED)
