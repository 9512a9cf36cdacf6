"""The build workflow's own steps, played over several machines: some die, a cell fails, caches are lost."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.names import tag_of
from tasks.services.traffic import size
from tests.harness.clone import ROOT, AccessLogs, Clone
from tests.harness.github import GitHub, github_fake
from tests.harness.workflow import Play, Workflow

NAME = "build-kmod-kmm-images.yml"
TOKEN = "token-canary-4711"
DRIVERS = {"2.16.7.0": ["4.17"], "2.22.2.0": ["4.16", "4.17", "4.18.16"], "2.28.0.0": ["4.16"]}
BAD_PATCH = {
    "id": "never-fits", "why": "a text that is nowhere", "drivers": ">=2.28",
    "edits": [{"file": "neuron_cdev.c", "find": "no such text", "replace": "x", "matches": 1}],
}


class Fleet:
    """A repository, the machines that check it out, and the stand-in for GitHub."""

    def __init__(self, folder: Path, services: Clone, github: GitHub, locks: Path) -> None:
        self.folder = folder
        self.services = services
        self.github = github
        self.count = 0
        self.main = Clone(folder / "main", services.services)
        self.main.copy_state(services, "driver-toolkit.json", "locks", "keys")
        shutil.copytree(locks, self.main.build / "locks", dirs_exist_ok=True)
        self.main.use_profile("github", {})
        self.repository = self.main.repository
        self.change(publish=[{"registry": "registry.sandbox.internal", "repository": self.repository}])
        self.main.write("build-matrix.json", [
            {"driver": driver, "ocp_versions": wanted} for driver, wanted in DRIVERS.items()])
        self.main.edit("config/defaults.yaml", "keep_toolkits: false", "keep_toolkits: true")
        self.main.edit("config/defaults.yaml", "parallel: 0", "parallel: 1")
        shutil.rmtree(self.main.root / "build")
        self.environment = {
            "GITHUB_ACTIONS": "true", "GITHUB_API_URL": github.url, "GITHUB_REPOSITORY": github.repo,
            "NO_PROXY": "127.1,127.0.0.0/8,localhost", "no_proxy": "127.1,127.0.0.0/8,localhost",
        }
        self.workflow = Workflow(NAME, {
            "github": {"token": TOKEN}, "secrets": {}, "vars": {}}, self.environment)

    def change(self, **settings: Any) -> None:
        """Change the profile on main."""
        path = self.main.root / "config" / "profiles" / "github.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))

    def patches(self, *more: dict[str, Any]) -> None:
        """The family's further patches on main: the sandbox's own and these."""
        families = yaml.safe_load((self.main.root / "config/profiles/github.yaml").read_text())["families"]
        own = [one for one in families["neuron"]["additional_patches"] if one["id"] != BAD_PATCH["id"]]
        families["neuron"]["additional_patches"] = [*own, *more]
        self.change(families=families)

    def machine(self) -> Clone:
        """A fresh checkout of main, with its Python environment made: `make runtime` finds it."""
        self.count += 1
        clone = Clone(self.folder / f"machine-{self.count}", self.services.services)
        shutil.copytree(self.main.root, clone.root, dirs_exist_ok=True)
        clone.profile = "github"
        clone.extra = {"KMOD_TEST_AUDIT": str(clone.root / ".audit")}
        venv = clone.root / ".venv"
        venv.mkdir()
        (venv / "bin").symlink_to(ROOT / ".venv" / "bin")
        (venv / ".runtime").touch()
        return clone

    def run(self, **inputs: Any) -> Play:
        """A run that has planned."""
        self.count += 1
        play = Play(self.workflow, self.folder / f"artifacts-{self.count}", self.count, inputs)
        plan = play.play("plan", self.machine())
        assert plan.result == "success", plan.text
        return play

    def titles(self) -> list[str]:
        """The published releases by tag."""
        return sorted(one.tag_name for one in self.github.releases if not one.draft)

    def status(self) -> dict[str, str]:
        """The cells' states, for a checkout that knows nothing but main and what the ledgers say."""
        clone = self.machine()
        assert clone.doit("shards", GITHUB_TOKEN=TOKEN, **self.environment).code == 0
        return {name: row["state"] for name, row in clone.status().items()}


@pytest.fixture
def fleet(services: Clone, locks: Path, tmp_path: Path) -> Iterator[Fleet]:
    with github_fake() as github:
        github.token = TOKEN
        yield Fleet(tmp_path, services, github, locks)
        assert github.violations == []


@pytest.fixture(scope="module")
def locks(new_clone: Callable[[], Clone]) -> Path:
    """Locks as they are committed, with the packages of all drivers."""
    clone = new_clone()
    clone.write("build-matrix.json", [{"driver": driver, "ocp_versions": ["4.16"]} for driver in DRIVERS])
    run = clone.doit("fetch:*")
    assert run.code == 0, run.text
    return clone.build / "locks"


def compiled(*plays: Play) -> Counter[str]:
    """Cells by how many compile containers they had, over all machines of these runs."""
    found: Counter[str] = Counter()
    for job in (job for play in plays for job in play.jobs.values()):
        audit = job.clone.root / ".audit"
        lines = audit.read_text().splitlines() if audit.exists() else []
        for kind, argv in map(json.loads, lines):
            if kind == "process" and argv[:1] == ["podman"] and "run" in argv[1:3]:
                found.update(m[1] for word in argv if (m := re.search(r"/cells/([^/]+)/work/src:", word)))
    return found


def put(access: AccessLogs, repository: str) -> Counter[str]:
    """Tags of images by how often a manifest was put there."""
    found = (re.search(rf'"PUT /v2/{repository}/manifests/([^ ]+) ', line) for line in access.new())
    return Counter(match[1] for match in found if match and not match[1].startswith("ledger-"))


def tasks(play: Play) -> set[str]:
    """The cells that a run planned."""
    return {task.removeprefix("push:") for one in play.matrix("shard") for task in one["tasks"].split()}


def published(states: dict[str, str]) -> set[str]:
    return {name for name, state in states.items() if state == "published"}


def test_nights_with_losses(fleet: Fleet, access: AccessLogs, kernels: list[str]) -> None:
    """A machine dies half-way, a cell fails, caches are lost, two runs overlap: all is published, each cell once."""
    bad = f"2.28.0.0-{kernels[0]}"
    good = {f"2.22.2.0-{kernels[0]}", f"2.22.2.0-{kernels[2]}"}
    doomed = {f"2.16.7.0-{kernels[1]}", f"2.22.2.0-{kernels[1]}"}
    cells = {bad, *good, *doomed}
    puts = put(access, "nothing")

    fleet.patches(BAD_PATCH)
    first = a_night_that_fails(fleet, lambda: put(access, fleet.repository), puts, bad=bad, doomed=doomed)
    assert tasks(first) == cells
    assert published(fleet.status()) == good
    assert fleet.titles() == ["neuron-driver-2.22.2.0"], "what is good is released"
    assert compiled(first)[bad] == 0, "its patch does not fit"
    assert fleet.workflow.caches, "times are kept"

    fleet.patches()
    fleet.workflow.lose_caches()
    both = fleet.run(), fleet.run()
    for play in both:
        assert tasks(play) == cells - good
        for shard in play.matrix("shard"):
            job = play.play("shard", fleet.machine(), shard)
            assert job.result == "success", job.text
    for play in both:
        release = play.play("release", fleet.machine())
        assert release.result == "success", release.text
        told_bytes(play)
    puts.update(put(access, fleet.repository))
    assert puts == Counter({tag_of(cell): 1 for cell in cells})
    assert published(fleet.status()) == cells
    assert not any(cell in good for cell in compiled(*both))
    whole_releases(fleet, cells)
    nothing_left(fleet)
    assert not put(access, fleet.repository)


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
        assert f"{cell} is not published" in release.text
    return play


def whole_releases(fleet: Fleet, cells: set[str]) -> None:
    """One for each driver, with all of its cells, and its sources."""
    assert fleet.titles() == [f"neuron-driver-{driver}" for driver in DRIVERS]
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
        [row] = [line for line in last.splitlines() if line.startswith(f"| `shard-{shard['shard']}` |")]
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


def test_one_run_at_a_time_publishes() -> None:
    for name, cancels in ((NAME, False), ("update-driver-toolkit.yml", False), ("checks.yml", True)):
        document = Workflow(name, {}, {}).document
        assert document["concurrency"]["cancel-in-progress"] is cancels
        assert document["permissions"] == {}
        assert all("permissions" in job and "timeout-minutes" in job for job in document["jobs"].values())


def test_a_pull_request_sees_no_secret() -> None:
    text = (ROOT / ".github/workflows/checks.yml").read_text()
    assert "secrets." not in text and "id-token" not in text and "pull_request_target" not in text


def test_a_push_that_touches_an_input_builds() -> None:
    """What cells are made from, and how: a change of any of it starts a run."""
    events: Any = dict(enumerate(Workflow(NAME, {}, {}).document.values()))[1]  # YAML takes the key `on` for true
    paths = events["push"]["paths"]
    inputs = ["build-matrix.json", "driver-toolkit/driver-toolkit.json", "config/locks/neuron.json",
              "config/profiles/github.yaml", "config/drivers/neuron.yaml", "config/defaults.yaml",
              "container/Containerfile", "container/build-module.sh", "tasks/core/keys.py", "dodo.py",
              "schemas/ledger.schema.json", "requirements.txt"]
    assert [name for name in inputs if not (ROOT / name).exists() and "locks" not in name] == []
    for name in inputs:
        assert any(name == path or (path.endswith("/**") and name.startswith(path[:-2])) for path in paths), name
