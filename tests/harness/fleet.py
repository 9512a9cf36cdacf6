"""A repository, machines that check it out and play its build workflow, and the stand-in for GitHub."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.harness.clone import ROOT, Clone
from tests.harness.github import GitHub
from tests.harness.quick_driver import take_quick
from tests.harness.workflow import Play, Workflow

NAME = "build-kmod-kmm-images.yml"
TOKEN = "token-canary-4711"
BAD_PATCH = {
    "id": "never-fits", "why": "a text that is nowhere", "drivers": ">=2.28",
    "edits": [{"file": "neuron_cdev.c", "find": "no such text", "replace": "x", "matches": 1}],
}


class Fleet:
    """A repository, the machines that check it out, and the stand-in for GitHub."""

    def __init__(self, folder: Path, services: Clone, github: GitHub, locks: Path,
                 drivers: Mapping[str, list[str]]) -> None:
        self.folder = folder
        self.services = services
        self.github = github
        self.count = 0
        self.main = Clone(folder / "main", services.services)
        self.main.copy_state(services, "driver-toolkit.json", "locks", "keys")
        shutil.copytree(locks, self.main.build / "locks", dirs_exist_ok=True)
        take_quick(self.main)
        self.main.use_profile("github", {})
        self.repository = self.main.repository
        self.change(publish=[{"registry": "registry.sandbox.internal", "repository": self.repository}])
        self.main.write("build-matrix.json", [
            {"driver": driver, "ocp_versions": wanted} for driver, wanted in drivers.items()])
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


def tasks(play: Play) -> set[str]:
    """The cells that a run planned."""
    return {task.removeprefix("push:") for one in play.matrix("shard") for task in one["tasks"].split()}
