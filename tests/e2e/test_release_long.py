"""A release of more images than fit into GitHub's text, or of fewer beside a long text of people's own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.bench.release import clone_for, publish
from tests.harness.front import front
from tests.harness.github import github_fake
from tests.harness.github_releases import LONGEST
from tests.harness.registry import real_registry

DRIVER, KERNELS = "2.22.2.0", 500


def test_tables_move_to_an_asset(tmp_path: Path) -> None:
    """`images.md` has what the text can't hold, and is in the checksums; the next run writes nothing."""
    with real_registry(tmp_path / "registry") as address, front(address) as server, github_fake() as hub:
        clone = clone_for(tmp_path / "clone", server, hub, [DRIVER], KERNELS)
        publish(clone)
        run = clone.doit("release")
        assert run.code == 0, run.text
        [release] = hub.releases
        held = {asset.name: asset.content for asset in release.assets}
        rows = json.loads(held["images.json"])["cells"]
        assert len(rows) == KERNELS
        body = release.body or ""
        assert len(body) < 10_000 < LONGEST < len(held["images.md"])
        assert "see the asset `images.md`" in body and "## How to use them" in body
        assert all(row["digest"] in held["images.md"].decode() for row in rows)
        sums = dict(line.split()[::-1] for line in held["SHA256SUMS"].decode().splitlines())
        assert sums == {name: hashlib.sha256(held[name]).hexdigest() for name in set(held) - {"SHA256SUMS"}}
        folder = clone.root / "build" / "local" / "release" / DRIVER
        assert {name: (folder / name).read_bytes() for name in held} == held
        hub.requests.clear()
        assert clone.doit("release").code == 0
        assert [method for method, _ in hub.requests] == ["GET"]
        # Somebody writes so much that not even the short text fits: said, and nothing is changed.
        release.body = f"{'mine ' * 24_900}\n\n{body}"
        hub.requests.clear()
        run = clone.doit("release")
        assert run.code == 1, run.text
        assert "shorten your own text" in run.out
        assert hub.writes() == []
        assert hub.violations == []
