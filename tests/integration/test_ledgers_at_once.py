"""Two machines keep the ledger of one driver in the same instant, in a real registry: no row is lost."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from foundry.base.errors import FoundryError
from foundry.base.names import KEY_LABEL
from foundry.ledger import ledgers
from foundry.plan.rows import row_of
from foundry.registry.document import Document, put_document
from foundry.run.context import Foundry, open_foundry
from tests.harness.checkout import NEW, OLD, Checkout
from tests.harness.front import Asked, Front, forward, hang_up, send
from tests.harness.registry import Pusher
from tests.integration.pushing import writer

DRIVER = "2.22.2.0"
LEDGER = f"/manifests/ledger-{DRIVER}"


def machine(folder: Path, registry: Front, repository: str, monkeypatch: pytest.MonkeyPatch) -> Foundry:
    checkout = Checkout(folder)
    checkout.publishes(repository, address=registry.address)
    monkeypatch.setenv("KMOD_PROFILE", "local")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return open_foundry(folder)


def put_row(foundry: Foundry, kernel: str, published: str = "2026-01-02T03:04:05Z") -> None:
    [cell] = [one for one in foundry.states.plan.by_driver[DRIVER] if one.kernel == kernel]
    key = foundry.states.cells[cell.name].key
    assert key is not None
    [target] = foundry.registries.targets("neuron")
    registry = Pusher(foundry.addresses.of("registry.test"), target.repository)
    digest = registry.image([kernel.encode()], labels={KEY_LABEL: key.key}, tag=cell.tag)["digest"]
    ledgers.put_row(foundry, cell, row_of(
        cell, key, content_sha256="2" * 64, digest=digest, tags=[cell.tag], registries=[target.name],
        published=published,
    ))


def kernels_of(foundry: Foundry) -> list[str]:
    """The rows that a fresh machine finds."""
    ledgers.fetch_missing(foundry, [DRIVER])
    return [row.kernel for row in ledgers.ledger_of(foundry, DRIVER).sorted_rows()]


@pytest.mark.parametrize("before", [False, True], ids=["the first ledger", "one that is there"])
def test_both_rows_stay(one: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    """Each has read the ledger before the other one writes."""
    repository = f"at-once-{str(before).lower()}"
    machines = [machine(tmp_path / name, one, repository, monkeypatch) for name in "ab"]
    if before:
        put_row(machines[0], OLD)
        ledgers.store(machines[0], DRIVER)
        machines[1].states.forget([DRIVER])
    both_read = threading.Barrier(2, timeout=30)

    def together(handler: Asked) -> None:
        both_read.wait()
        forward(handler, one, handler.body, {})

    for foundry, kernel in zip(machines, (OLD, NEW), strict=True):
        put_row(foundry, kernel)
    one.faults += [(f"GET /v2/{repository}{LEDGER}", together)] * 2
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda foundry: ledgers.store(foundry, DRIVER), machines))
    assert both_read.n_waiting == 0 and not one.faults
    assert kernels_of(machine(tmp_path / "fresh", one, repository, monkeypatch)) == [OLD, NEW]


def overwrite(one: Front, repository: str, theirs: Foundry, kernel: str, second: int = 0) -> None:
    """Somebody puts a ledger of one row in place of what is there, without a look; not through the front."""
    put_row(theirs, kernel, published=f"2026-01-02T03:05:{second:02}Z")
    data = ledgers.ledger_of(theirs, DRIVER).with_revision().to_bytes()
    put_document(writer(Front("", address=one.upstream), repository), ledgers.ledger_tag(DRIVER), Document(data),
                 ledgers.MEDIA_TYPE)


@pytest.mark.parametrize("answered", [True, False])
def test_somebody_who_writes_just_after_is_merged(
    one: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """The tag is another one's when it is read back, and when a write that nobody answered is tried again."""
    repository = f"after-{str(answered).lower()}"
    mine, theirs = (machine(tmp_path / name, one, repository, monkeypatch) for name in "ab")
    put_row(mine, OLD)

    def overtaken(handler: Asked) -> None:
        requests.put(f"http://{one.upstream}{handler.path}", handler.body, timeout=10,
                     headers={"Content-Type": handler.headers["Content-Type"]}).raise_for_status()
        overwrite(one, repository, theirs, NEW)
        if answered:
            send(handler, 201, b"")
        else:
            hang_up(handler)

    one.faults.append((f"PUT /v2/{repository}{LEDGER}", overtaken))
    ledgers.store(mine, DRIVER)
    assert not one.faults
    assert kernels_of(machine(tmp_path / "fresh", one, repository, monkeypatch)) == [OLD, NEW]


def test_one_who_never_rests_is_an_error(one: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six times is enough: one sentence, and this checkout's ledger has its row still."""
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    mine, theirs = (machine(tmp_path / name, one, "restless", monkeypatch) for name in "ab")
    put_row(mine, OLD)
    count = itertools.count()

    def other(handler: Asked) -> None:
        overwrite(one, "restless", theirs, NEW, next(count))
        forward(handler, one, handler.body, {})

    one.always("GET /v2/restless" + LEDGER, other)
    with pytest.raises(FoundryError) as caught:
        ledgers.store(mine, DRIVER)
    assert (caught.value.reason, next(count)) == ("document-changed", 12)
    assert [row.kernel for row in ledgers.ledger_of(mine, DRIVER).sorted_rows()] == [OLD, NEW]
