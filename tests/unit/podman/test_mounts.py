"""podman's options for the files that a container sees."""

from __future__ import annotations

import csv

import pytest

from foundry.podman.mounts import bind_mount


@pytest.mark.parametrize("path", ["/plain", "/a:b", "/a,b", '/a"b', "/a\nb", "/a b", "/a\\b", "/ä=c"])
def test_any_path(path: str) -> None:
    """It is a record of comma-separated values, as podman reads it."""
    option = bind_mount(path, "/in", read_only=True)
    fields = next(csv.reader([option.removeprefix("--mount=")], strict=True))
    assert fields == ["type=bind", f"src={path}", "dst=/in", "ro"]
    assert bind_mount(path, "/in", read_only=False) == option.removesuffix(",ro")
