"""What releases ask of GitHub, counted by a stand-in: 3 drivers of 60 kernels from nothing, then with nothing new.

The ledgers are made up, as if all cells were published; registry, GitHub's client and notes are real.
GitHub's limits: 1,000 requests an hour for GITHUB_TOKEN and repository, 500 an hour that create content
(docs.github.com, "Rate limits for the REST API").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from foundry.base.files import sha256_bytes, write_atomic
from foundry.config.load import load_config
from foundry.config.patches import applying
from foundry.config.profile import Profile
from foundry.ledger.ledgers import ledger_file
from foundry.plan.ledger import Ledger
from foundry.plan.releases import asset_name
from foundry.plan.rows import row_of
from foundry.release import source_tarballs
from foundry.run.context import Foundry, make_foundry
from tests.bench.figure import Figure, at_most
from tests.bench.synthetic import PROFILE, fill, synthetic_clone
from tests.harness.clone import Clone
from tests.harness.front import Front, front
from tests.harness.github import GitHub, github_fake
from tests.harness.registry import real_registry

DRIVERS, KERNELS = ("2.16.7.0", "2.22.2.0", "2.28.0.0"), 60
HOST, REPOSITORY = "registry.bench", "kmod"
HOURLY, HOURLY_CONTENT, PART = 1000, 500, 5
EACH = 4  # requests a driver when there is nothing new
TOKEN = "bench-token"
_ARCHIVE_BYTES = 300_000


def measure(folder: Path) -> Iterator[Figure]:
    """Requests from nothing, then of the same and of a fresh checkout."""
    with real_registry(folder / "registry") as address, front(address) as server, github_fake() as hub:
        hub.token = TOKEN
        clone = clone_for(folder / "clone", server, hub, DRIVERS, KERNELS)
        publish(clone)
        _released(clone, hub)
        what = f"{len(DRIVERS)} x {KERNELS} cells, GitHub"
        yield at_most(f"{what} requests", len(hub.requests), HOURLY / PART, "")
        yield at_most(f"{what} writes", len(hub.writes()), HOURLY_CONTENT / PART, "")
        for name, one in (("warm", clone), ("fresh", clone_for(folder / "fresh", server, hub, DRIVERS, KERNELS))):
            hub.requests.clear()
            hub.elsewhere_requests.clear()
            server.requests.clear()
            _released(one, hub)
            asked = len(hub.requests) + len(hub.elsewhere_requests)
            yield at_most(f"nothing new, {name}: GitHub, a driver", asked / len(DRIVERS), EACH, "",
                          f"{len(server.requests)} of the registry")
            yield at_most(f"nothing new, {name}: GitHub writes", len(hub.writes()), 0, "")


def clone_for(folder: Path, server: Front, hub: GitHub, drivers: Sequence[str], kernels: int) -> Clone:
    """A clone that wants every driver for so many kernels, and talks to these two."""
    clone = synthetic_clone(folder, drivers, releases=kernels, kernels=kernels)
    clone.write(f"config/profiles/{PROFILE}.yaml", "\n".join([
        "image_repository: localhost/neuron-driver", f"github_repository: {hub.repo}", "publish:",
        f"  - registry: {HOST}", f"    repository: {REPOSITORY}", "addresses:", f"  {HOST}: '{server.address}'", "",
    ]))
    clone.extra |= {"GITHUB_API_URL": hub.url, "GITHUB_REPOSITORY": hub.repo, "GITHUB_TOKEN": TOKEN,
                    "NO_PROXY": "127.1,127.0.0.0/8"}
    return clone


def _released(clone: Clone, hub: GitHub) -> None:
    """``doit release``, which must leave all releases right and compile nothing."""
    run = clone.doit("release")
    found = sorted((one.tag_name, one.draft, len(one.assets)) for one in hub.releases)
    if run.code != 0 or run.compiled or found != [(f"neuron-driver-{name}", False, 5) for name in DRIVERS]:
        raise RuntimeError(f"{found}: {run.text[-2000:]}")
    if hub.violations:
        raise RuntimeError("\n".join(hub.violations))


def publish(clone: Clone) -> None:
    """Ledgers as if all cells were published, with source tarballs that they know."""
    fill(clone)
    loaded = load_config(clone.root, Profile(PROFILE, "synthetic"))
    one = make_foundry(loaded)
    for driver, cells in one.states.plan.by_driver.items():
        ledger = Ledger(driver, cells[0].family.name)
        for cell in cells:
            state = one.states.cells[cell.name]
            if state.key is None or state.image is None:
                raise RuntimeError(f"{cell.name} is not built")
            image = state.image
            row = row_of(
                cell, state.key, content_sha256=one.content_sha256(cell), digest=image.digest, tags=[cell.tag],
                registries=[f"{HOST}/{REPOSITORY}"], config_digest=image.config_digest, size=image.size,
                published="2026-01-02T03:04:05Z",
            )
            applied = applying(cell.family.patches, driver, cell.kernel)
            ledger = ledger.with_row(row, [patch.as_data() for patch in applied])
        write_atomic(ledger_file(one, driver), _with_archives(one, ledger).to_bytes())


def _with_archives(one: Foundry, ledger: Ledger) -> Ledger:
    names = {source_tarballs.DRIVER: asset_name("aws-neuronx-dkms", ledger.driver),
             source_tarballs.BUSYBOX: "busybox-1.37.0.tar.bz2"}
    for kind, key in source_tarballs.keys(one, ledger.driver, ledger).items():
        content = f"{ledger.driver} {kind}\n".encode() * (_ARCHIVE_BYTES // 20)
        write_atomic(ledger_file(one, ledger.driver).with_name(names[kind]), content)
        ledger = ledger.with_sources({names[kind]: {
            "kind": kind, "key": key, "sha256": sha256_bytes(content), "size": len(content)}})
    return ledger
