"""Registries, OpenShift's servers, and AWS: settings of its own, moto, and the fakes.

The secrets in AWS's settings must not show anywhere.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.aws import FakeEcr, ecr_fake, ecr_public_fake, moto_server
from tests.harness.aws_settings import Environment, no_secrets
from tests.harness.front import Front, front
from tests.harness.openshift import OpenShift, openshift
from tests.harness.registry import real_registry


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real registry, where all may push."""
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def one(upstream: str) -> Iterator[Front]:
    """A server before the module's registry that counts and disturbs."""
    with front(upstream) as running:
        yield running


@pytest.fixture(scope="session")
def shared_openshift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenShift]:
    """OpenShift's servers, for `world`."""
    with openshift(tmp_path_factory.mktemp("openshift")) as world:
        yield world


@pytest.fixture
def world(shared_openshift: OpenShift) -> OpenShift:
    """OpenShift without releases, whatever the test before did to it."""
    shared_openshift.clear()
    return shared_openshift


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of moto, for ``AWS_ENDPOINT_URL``."""
    with moto_server() as url:
        yield url


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str],
) -> Iterator[Environment]:
    """AWS's settings: keys, a home without files, no proxy, no endpoints."""
    log = io.StringIO()
    handler, root = logging.StreamHandler(log), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield Environment(monkeypatch, tmp_path)
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    out, err = capfd.readouterr()
    no_secrets(log.getvalue(), out, err)
    assert "Traceback" not in log.getvalue() + err


@pytest.fixture
def public(environment: Environment) -> Iterator[FakeEcr]:
    """ECR Public, asked instead of the real one."""
    with ecr_public_fake() as fake:
        environment.set(AWS_ENDPOINT_URL_ECR_PUBLIC=fake.url)
        yield fake
        assert fake.violations == []


@pytest.fixture
def private(environment: Environment) -> Iterator[FakeEcr]:
    """ECR in us-east-1, asked instead of the real one."""
    with ecr_fake() as fake:
        environment.set(AWS_ENDPOINT_URL_ECR=fake.url)
        yield fake
        assert fake.violations == []
