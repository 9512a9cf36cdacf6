"""Documents kept in a real registry under a tag."""

from __future__ import annotations

import base64
import json
import os

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.net.transport import RetryPolicy
from foundry.registry.document import Document, get_document, put_document
from foundry.registry.push import Content
from tests.harness.front import Fault, Front, says
from tests.integration.pushing import digest_of, image, writer

TYPE = "application/vnd.test.document.v1+json"
SMALL, LARGE = b'{"cells": []}', json.dumps({"x": os.urandom(1 << 20).hex() + "y" * 100}).encode()
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}


@pytest.mark.parametrize("data, requests", [(SMALL, 1), (b"", 1), (bytes(2 << 20), 1), (LARGE, 2)],
                         ids=["small", "empty", "largest", "large"])
def test_a_document_comes_back(one: Front, data: bytes, requests: int) -> None:
    ours = writer(one, "documents")
    digest = put_document(ours, "ledger", Document(data), TYPE)
    found = ours.tagged("ledger")
    assert found is not None and found.digest == digest
    one.requests.clear()
    assert get_document(writer(one, "documents"), "ledger", TYPE) == Document(data)
    assert len(one.requests) == requests


def test_a_document_is_replaced(one: Front) -> None:
    ours = writer(one, "documents")
    for data in (SMALL, LARGE, SMALL, b"[]"):
        put_document(ours, "replaced", Document(data), TYPE)
        assert get_document(ours, "replaced", TYPE) == Document(data)


@pytest.mark.parametrize("data, requests", [(SMALL, 1), (LARGE, 2)], ids=["small", "large"])
def test_a_document_comes_back_with_its_signature(one: Front, data: bytes, requests: int) -> None:
    put_document(writer(one, "signed"), "ledger", Document(data, b'{"a": "bundle"}'), TYPE)
    one.requests.clear()
    assert get_document(writer(one, "signed"), "ledger", TYPE) == Document(data, b'{"a": "bundle"}')
    assert len(one.requests) == requests


def test_a_document_that_is_not_there(one: Front) -> None:
    assert get_document(writer(one, "documents"), "none", TYPE) is None
    assert get_document(writer(one, "never/used"), "none", TYPE) is None


@pytest.mark.parametrize("fault", [says(500), says(403), says(400), says(200, b"<html>Sign in</html>")])
def test_an_answer_that_says_nothing_is_an_error(one: Front, fault: Fault) -> None:
    one.always("GET", fault)
    ours = writer(one, "documents", policy=RetryPolicy(5, 5, 60, 1))
    with pytest.raises(FoundryError):
        get_document(ours, "ledger", TYPE)


def test_nobody_listens() -> None:
    ours = writer(Front("", address="127.0.0.1:1"), policy=RetryPolicy(1, 1, 5, 0))
    with pytest.raises(OutsideError) as caught:
        get_document(ours, "ledger", TYPE)
    assert caught.value.reason == "http-unreachable"


def test_a_large_document_whose_data_is_gone_is_not_missing(one: Front) -> None:
    ours = writer(one, "documents")
    put_document(ours, "gone", Document(LARGE), TYPE)
    one.always("GET /v2/documents/blobs", says(404))
    with pytest.raises(FoundryError) as caught:
        get_document(ours, "gone", TYPE)
    assert digest_of(LARGE) in caught.value.message


def test_something_else_under_the_tag(one: Front) -> None:
    ours = writer(one, "documents")
    ours.push(image([b"layer"]), "other")
    put_document(ours, "type", Document(SMALL), TYPE + "2")
    for tag in ("other", "type"):
        with pytest.raises(FoundryError) as caught:
            get_document(ours, tag, TYPE)
        assert caught.value.reason == "document-malformed"
        assert f"registry.test/documents:{tag}" in caught.value.message and caught.value.hint


@pytest.mark.parametrize("embedded", [base64.b64encode(b'{"cells": {}}').decode(), "%%%", "é", "", "e30"])
def test_embedded_data_that_is_damaged(one: Front, embedded: str) -> None:
    layer = {"mediaType": TYPE, "digest": digest_of(SMALL), "size": len(SMALL), "data": embedded}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": EMPTY, "layers": [layer]}).encode()
    ours = writer(one, "documents")
    content = Content(manifest, "", digest_of(manifest), {digest_of(b"{}"): b"{}", digest_of(SMALL): SMALL})
    ours.push(Content(manifest, "application/vnd.oci.image.manifest.v1+json", content.digest, content.blobs), "damaged")
    with pytest.raises(FoundryError) as caught:
        get_document(ours, "damaged", TYPE)
    assert caught.value.reason == "document-malformed"
