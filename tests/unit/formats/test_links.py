"""Links of a package's tree: where they lead, judged so that it holds wherever the tree is moved."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.formats.trees.links import Links, is_behind_link, require_tree
from tests.harness.fuzz import examples


@pytest.mark.parametrize("links, end", [
    ({"l": "a/b"}, "a/b"),
    ({"l": "."}, ""),
    ({"d/l": ".."}, ""),
    ({"d/l": "../x/./y//z/"}, "x/y/z"),
    ({"l": "m", "m": "n"}, "n"),
    ({"l": "a/../b", "a": "c/d"}, "c/b"),
    ({"l": ".."}, None),
    ({"l": "/etc"}, None),
    ({"l": "../top/x"}, None),
    ({"d/l": "../../top/d/x"}, None),
    ({"l": "up/../x", "up": "."}, None),
    ({"l": "a/up/../x", "a/up": ".."}, None),
    ({"l": "m", "m": "/etc"}, None),
    ({"l": "m", "m": "l"}, None),
    ({"l": "l/x"}, None),
    ({"l": "l1", **{f"l{number}": f"l{number + 1}" for number in range(1, 60)}}, None),
])
def test_end_of_link(links: Mapping[str, str], end: str | None) -> None:
    assert Links(links).end(next(iter(links))) == end


_PARTS = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=5).map("/".join)


@given(st.dictionaries(st.sampled_from(["a/a", "a/b", "b/a", "c", "b/c"]), _PARTS, min_size=1))
@examples(200)
def test_what_stays_inside_does_so_on_a_disk(links: Mapping[str, str]) -> None:
    """Whatever the folders above it are called and hold: what we let through never leads out of the tree."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "a" / "a"
        for name in ("a", "b"):
            (tree / name).mkdir(parents=True)
        for name, target in links.items():
            (tree / name).symlink_to(target)
        top, followed = os.path.realpath(tree), Links(links)
        for name in links:
            end = followed.end(name)
            assert end is None or os.path.realpath(tree / name) == os.path.normpath(f"{top}/{end}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = tmp_path / "root/usr/src/thing-1"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("x")
    (tmp_path / "root/usr/other").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize("link, target", [
    ("usr/src/thing-1/l", "../../other"), ("usr/src/thing-1/l", "../thing-1/sub"),
    ("usr/src/thing-1/sub/l", "../../.."), ("usr/src/thing-1/l", "/etc"),
])
def test_links_out_of_the_sources(link: str, target: str, root: Path) -> None:
    """They were inside of the package, and lead anywhere from where the sources are moved to."""
    (root / "usr/src/thing-1/fine").symlink_to("sub/../sub/file")
    require_tree(root, "usr/src/thing-1")
    (root / link).symlink_to(target)
    with pytest.raises(FoundryError) as caught:
        require_tree(root, "usr/src/thing-1")
    assert caught.value.reason == "package-unsafe-link"


def test_sources_behind_a_link(root: Path) -> None:
    (root / "usr/src/thing-2").symlink_to("thing-1")
    (root / "usr/lib").symlink_to("src")
    for place in ("usr/src/thing-2", "usr/lib/thing-1", "usr/src/thing-2/sub"):
        with pytest.raises(FoundryError) as caught:
            require_tree(root, place)
        assert caught.value.reason == "package-unsafe-link"
        assert is_behind_link(place, root)
    assert not is_behind_link("usr/src/thing-1/sub/file", root)
