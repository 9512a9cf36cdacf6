"""AWS for tests: settings of their own, moto, and the fakes. The secrets in the settings must not show anywhere."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.aws import FakeEcr, ecr_fake, ecr_public_fake, moto_server
from tests.harness.aws_settings import Environment, no_secrets


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
