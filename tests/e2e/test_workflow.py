"""The build workflow's own steps, played over machines: some die, a cell fails, two run at once, a tag is replaced."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from foundry.base.names import tag_of
from foundry.net.traffic import size
from tests.harness.clone import AccessLogs, Clone, registry_login, registry_port
from tests.harness.fleet import BAD_PATCH, TOKEN, Fleet, compiled, tasks
from tests.harness.github import github_fake
from tests.harness.registry import OCI_MANIFEST
from tests.harness.workflow import Job, Play, Workflow

DRIVERS = {"2.16.7.0": ["4.17"], "2.22.2.0": ["4.16", "4.17", "4.18.16"], "2.28.0.0": ["4.16"]}
FEW = {"2.22.2.0": ["4.16", "4.17"]}


@pytest.fixture
def fleet(services: Clone, locks: Path, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_of(services, locks, tmp_path, DRIVERS) as one:
        yield one


@contextmanager
def fleet_of(services: Clone, locks: Path, folder: Path, drivers: Mapping[str, list[str]]) -> Iterator[Fleet]:
    with github_fake() as github:
        github.token = TOKEN
        yield Fleet(folder, services, github, locks, drivers)
        assert github.violations == []


@pytest.fixture(scope="module")
def locks(new_clone: Callable[[], Clone]) -> Path:
    """Locks as they are committed, with the packages of all drivers."""
    clone = new_clone()
    clone.write("build-matrix.json", [{"driver": driver, "ocp_versions": ["4.16"]} for driver in DRIVERS])
    run = clone.doit("fetch:*")
    assert run.code == 0, run.text
    return clone.build / "locks"


def put(access: AccessLogs, repository: str) -> Counter[str]:
    """Tags of images by how often a manifest was put there."""
    found = (re.search(rf'"PUT /v2/{repository}/manifests/([^ ]+) ', line) for line in access.new())
    return Counter(match[1] for match in found if match and not match[1].startswith("ledger-"))


def published(states: dict[str, str]) -> set[str]:
    return {name for name, state in states.items() if state == "published"}


def test_nights_with_losses(fleet: Fleet, access: AccessLogs, kernels: list[str]) -> None:
    """A machine dies half-way, a cell fails: all is published, each cell once; a tag that is replaced is seen."""
    bad = f"2.28.0.0-{kernels[0]}"
    good = {f"2.22.2.0-{kernels[0]}", f"2.22.2.0-{kernels[2]}"}
    doomed = {f"2.16.7.0-{kernels[1]}", f"2.22.2.0-{kernels[1]}"}
    cells = {bad, *good, *doomed}
    puts = put(access, "nothing")

    fleet.patches(BAD_PATCH)
    first = a_night_that_fails(fleet, lambda: put(access, fleet.repository), puts, bad=bad, doomed=doomed)
    assert tasks(first) == cells
    pushed = {cell for cell in doomed if tag_of(cell) in puts}
    assert published(fleet.status()) == good | pushed, "what the machine had pushed is adopted, too"
    assert set(fleet.titles()) == {f"neuron-driver-{cell.partition('-')[0]}" for cell in good | pushed}
    assert compiled(first)[bad] == 0, "its patch does not fit"

    fleet.patches()
    second = fleet.run()
    assert tasks(second) == cells - good, "what left no record left no proof either: it is booted, and not compiled"
    for shard in second.matrix("shard"):
        job = second.play("shard", fleet.machine(), shard)
        assert job.result == "success", job.text
    release = second.play("release", fleet.machine())
    assert release.result == "success", release.text
    told_bytes(second)
    puts.update(put(access, fleet.repository))
    assert puts == Counter({tag_of(cell): 1 for cell in cells})
    assert published(fleet.status()) == cells
    assert not (good | pushed) & set(compiled(second))
    whole_releases(fleet, cells, DRIVERS)
    nothing_left(fleet)
    assert not put(access, fleet.repository)
    the_pages_show(second, fleet, cells)
    a_tag_is_replaced(fleet, *sorted(tag_of(cell) for cell in good))


def the_pages_show(play: Play, fleet: Fleet, cells: Collection[str]) -> None:
    """Another machine writes them, from what is published alone, where the variable asks for them."""
    assert not play.wanted("site")
    play.workflow.contexts = {**play.workflow.contexts, "vars": {"KMOD_SITE": "true"}}
    assert play.wanted("site")
    job = play.play("site", fleet.machine())
    assert job.result == "success" and play.wanted("pages"), job.text
    shown = json.loads((play.folder / "github-pages/index.json").read_text())
    assert {f"{driver['version']}-{image['kernel']}" for driver in shown["drivers"] for image in driver["images"]} == {
        *cells}
    assert all(driver["release"].endswith(f"neuron-driver-{driver['version']}") for driver in shown["drivers"])


def a_tag_is_replaced(fleet: Fleet, victim: str, other: str) -> None:
    """The next morning's run fails and names it; while all is well it does not."""
    morning = Workflow("verify-images.yml", fleet.workflow.contexts, fleet.environment)
    job = Play(morning, fleet.folder / "verify", 1).play("verify", fleet.machine())
    assert job.result == "success" and " 0 bad" in job.text, job.text
    registry = f"http://127.0.0.1:{registry_port(fleet.services.services)}/v2/{fleet.repository}/manifests"
    login = registry_login(fleet.services.services)
    found = requests.get(f"{registry}/{other}", headers={"Accept": OCI_MANIFEST}, auth=login, timeout=30)
    assert requests.put(f"{registry}/{victim}", data=found.content, headers={"Content-Type": OCI_MANIFEST}, auth=login,
                        timeout=30).status_code == 201
    job = Play(morning, fleet.folder / "verify", 2).play("verify", fleet.machine())
    assert job.step("look at every tag").code == 1, job.text
    assert f"its tag {victim} is {found.headers['Docker-Content-Digest']}" in job.text and " 1 bad" in job.text


def test_two_runs_in_the_same_instant(
    services: Clone, locks: Path, access: AccessLogs, kernels: list[str], tmp_path: Path
) -> None:
    """Both plan before anything is published, publish side by side, and collect and release side by side."""
    cells = {f"2.22.2.0-{kernel}" for kernel in kernels[:2]}
    with fleet_of(services, locks, tmp_path, FEW) as fleet:
        both = fleet.run(), fleet.run()
        assert tasks(both[0]) == tasks(both[1]) == cells
        jobs = at_once([(play, "shard", fleet.machine(), shard) for play in both for shard in play.matrix("shard")])
        assert len(jobs) == 4
        all_well(jobs)
        left = [path for job in jobs for path in job.clone.build.glob("cells/*/push.json")]
        rows = [json.loads(path.read_text())["row"] for path in left]
        assert len(rows) == 2 * len(cells)
        assert len({(row["tags"][0], row["digest"]) for row in rows}) == len(cells), "a tag is one image"
        assert set(put(access, fleet.repository)) == {tag_of(cell) for cell in cells}
        jobs = at_once([(play, "release", fleet.machine(), None) for play in both])
        all_well(jobs)
        assert published(fleet.status()) == cells
        whole_releases(fleet, cells, FEW)
        assert len(fleet.github.releases) == len(FEW), "no draft is left"
        nothing_left(fleet)
        assert not put(access, fleet.repository)


def all_well(jobs: Iterable[Job]) -> None:
    for job in jobs:
        logs = (path.read_text(errors="replace") for path in sorted(job.clone.build.glob("cells/*/*.log")))
        assert job.result == "success", "\n".join((job.text, *logs))


def at_once(jobs: Sequence[tuple[Play, str, Clone, Mapping[str, Any] | None]]) -> list[Job]:
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda job: job[0].play(*job[1:]), jobs))


def a_night_that_fails(
    fleet: Fleet, new_puts: Callable[[], Counter[str]], puts: Counter[str], *, bad: str, doomed: set[str]
) -> Play:
    """One machine is gone after its first push, with all that it had; one cell fails."""
    def half_way() -> bool:
        puts.update(new_puts())
        return any(tag_of(cell) in puts for cell in doomed)

    play = fleet.run()
    shards = play.matrix("shard")
    assert [len(one["toolkits"]) for one in shards] == [1, 1, 1], "one for each toolkit"
    [dying] = [one for one in shards if next(iter(doomed)) in one["tasks"]]
    for shard in shards:
        job = play.play("shard", fleet.machine(), shard, dies=half_way if shard is dying else None)
        assert job.result == ("failure" if shard is dying or bad in shard["tasks"] else "success"), job.text
    puts.update(new_puts())
    assert sum(tag_of(cell) in puts for cell in doomed) == 1, "half of its work is done"
    assert {path.name for path in play.folder.iterdir()} == {
        f"shard-{one['shard']}" for one in shards if one is not dying}
    left = [path for path in play.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in left} == {".json", ".log"}
    assert sum(path.stat().st_size for path in left) < 100_000 * len(left)
    assert play.wanted("release"), "whatever the shards came to"
    release = play.play("release", fleet.machine())
    assert (release.step("collect").code, release.step("release").code) == (0, 1), release.text
    for cell in (bad, *doomed):
        adopted = cell in doomed and tag_of(cell) in puts
        assert (f"{cell} is not published" in release.text) == (not adopted)
        assert (f"{cell}: published by a machine that left no record" in release.text) == adopted
        assert (f"{cell} is not proven: in the ledger, but never booted" in release.text) == adopted
    return play


def whole_releases(fleet: Fleet, cells: set[str], drivers: Iterable[str]) -> None:
    """One for each driver, with all of its cells, and its sources."""
    assert fleet.titles() == [f"neuron-driver-{driver}" for driver in drivers]
    for found in fleet.github.releases:
        driver = found.tag_name.removeprefix("neuron-driver-")
        names = {asset.name for asset in found.assets}
        assert {"images.json", "SHA256SUMS"} < names
        assert any("modified-source" in name for name in names) and any("busybox" in name for name in names)
        rows = json.loads(found.asset("images.json").content)["cells"]
        assert {f"{driver}-{row['kernel']}" for row in rows} == {one for one in cells if one.startswith(driver)}
        assert all(row["tags"][0] in (found.body or "") for row in rows)


def told_bytes(play: Play) -> None:
    """Each shard's summary has the bytes of its run, and the last job's has those of all shards."""
    last = play.jobs["release"].summary
    for shard in play.matrix("shard"):
        job = play.jobs[f"shard {shard['shard']}"]
        took = json.loads((job.clone.build / "run.json").read_text())
        sent = size(took["sent"])
        assert f"{sent} sent" in job.summary
        assert took["sent"] and took["received"]
        name = f"shard-{shard['shard']}" if len(play.matrix("shard")) > 1 else "shards"  # one artifact has no folder
        [row] = [line for line in last.splitlines() if line.startswith(f"| `{name}` |")]
        assert row.endswith(f"| {size(took['received'])} | {size(took['pulled'])} | {sent} |")
    assert f"{len(play.matrix('shard'))} of {len(play.matrix('shard'))} shards" in last


def nothing_left(fleet: Fleet) -> None:
    """A further run plans nothing, builds nothing and changes nothing."""
    writes = len(fleet.github.writes())
    last = fleet.run()
    assert last.jobs["plan"].outputs["matrix"] == '{"include":[]}'
    assert not last.wanted("shard") and last.wanted("release")
    release = last.play("release", fleet.machine())
    assert release.result == "success", release.text
    assert len(fleet.github.writes()) == writes
    assert compiled(last) == Counter()
