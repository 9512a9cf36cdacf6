"""Fixtures on real parts: the sandbox, clones of the project, and one clone in which everything is built."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foundry.base.plain_text import forget_secrets
from tests.harness.checkout import Checkout
from tests.harness.clone import AccessLogs, Clone
from tests.harness.fuzz import load_profile
from tests.harness.rpmtools import Key, signing_key
from tests.harness.sandbox import knowing_clone, sandbox
from tests.harness.store import cold_store

load_profile()
os.environ["KMOD_TEST_LONGEST_PAUSE"] = "0.05"  # of the programs that tests start: tests/harness/audit

MATRIX = [
    {"driver": "2.16.7.0", "ocp_versions": ["4.16", "4.17"]},
    {"driver": "2.22.2.0", "ocp_versions": ["4.16.30", "4.17", "4.18.16"]},
]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (`pytest -n 2 --dist=loadgroup`), a file that uses the sandbox or podman has one of them."""
    for item in items:
        if "services" in getattr(item, "fixturenames", ()) or item.get_closest_marker("podman"):
            item.add_marker(pytest.mark.xdist_group(f"sandbox-{item.path.stem}"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Two workers must not make what a file's tests share twice: pytest-xdist must have seen the groups."""
    if getattr(session.config.option, "loadgroup", False):
        lost = [item.nodeid for item in session.items
                if item.get_closest_marker("xdist_group") and "@sandbox-" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"pytest-xdist does not see the group of {lost[0]}: is it too old for this pytest?")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes don't name a test: those of gzip hold the time, and each worker would have other names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _no_secrets() -> Iterator[None]:
    """What one test calls a secret is an ordinary word in the next one."""
    yield
    forget_secrets()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A test that was skipped has shown nothing: it fails the suite."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The first of several workers has the machine's store of images, the others have one each."""
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":
        yield
        return
    with cold_store(tmp_path_factory.mktemp("store") / "store") as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """The sandbox, up."""
    with sandbox(tmp_path_factory.mktemp("sandbox")) as clone:
        yield clone


@pytest.fixture(scope="session")
def kernels(services: Clone) -> list[str]:
    """The sandbox's kernels, oldest first."""
    catalogue = services.catalogue()
    return list(dict.fromkeys(entry["kernel"] for entry in catalogue))


@pytest.fixture(scope="session")
def new_clone(services: Clone, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Clone]:
    """Makes clones as `knowing_clone` does."""

    def make(name: str = "kmod") -> Clone:
        return knowing_clone(services, tmp_path_factory.mktemp("clone") / name, MATRIX)

    return make


@pytest.fixture(scope="session")
def built(new_clone: Callable[[], Clone]) -> Clone:
    """A clone in which all cells of MATRIX are built. Never changed: copy it."""
    clone = new_clone()
    done = clone.doit("build")
    assert done.code == 0, done.text
    return clone


@pytest.fixture
def copied(built: Clone, new_clone: Callable[[], Clone]) -> Iterator[Clone]:
    """A fresh clone with the built one's ``build/`` carried over; gone after the test."""
    clone = new_clone()
    clone.copy_state(built, "cells", "inputs", "sources", "locks", "engine", "validation.json")
    yield clone
    shutil.rmtree(clone.root, ignore_errors=True)


@pytest.fixture(scope="session")
def key() -> Iterator[Key]:
    """A key that signs packages."""
    with signing_key() as made:
        yield made


@pytest.fixture(scope="session")
def other() -> Iterator[Key]:
    """Another key, which is not the one that is pinned."""
    with signing_key() as made:
        yield made


@pytest.fixture
def access(services: Clone) -> AccessLogs:
    """Counts the requests that the servers see."""
    return AccessLogs(services.services)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout in the profile `local`, without the environment's say."""
    for name in ("KMOD_PROFILE", "GITHUB_ACTIONS", "KMOD_ECR_REPOSITORY_NAME", "FORCE_BUILD"):
        monkeypatch.delenv(name, raising=False)
    return Checkout(tmp_path)
