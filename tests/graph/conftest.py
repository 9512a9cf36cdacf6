"""A checkout for tests of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A checkout in which doit can be run."""
    return Project(tmp_path)
