"""Diffs: whatever the bytes, `patch -p1` and `git apply` make the new file of the old one, exactly."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foundry.config import patches
from foundry.config.patches import Edit, Patch
from foundry.formats.trees.diffs import unified_diff
from tests.harness.fuzz import examples

PATCH = ["patch", "--quiet", "-p1", "-i", "../change.patch"]
GIT = ["git", "apply", "../change.patch"]
# What is special to diffs, to shells and to text: none of it is special to a diff of bytes.
LINES = [
    b"", b" ", b"\t", b"a", b"b", b"int main(void)", b"{", b"}", b"\r", b"a\r", b"\0", b"\xff\xfe\0", b"\f", b"\x1a",
    b"--- a/f", b"+++ b/f", b"@@ -1 +1 @@", b"\\ No newline at end of file", b"-", b"+", b"-- a", b"1d", b"Index: x",
    b"diff --git a/x b/x", b"Prereq: 1", b"GIT binary patch", "Grüße".encode(), b"\xc3", b"\xe2\x80\xa8", b"a " * 300,
]
texts = st.builds(
    lambda lines, end: b"\n".join(lines) + end, st.lists(st.sampled_from(LINES), max_size=40),
    st.sampled_from([b"", b"\n", b"\r\n"]),
)
contents = st.one_of(texts, st.binary(max_size=200))


@st.composite
def changes(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A file and a changed one that has much in common with it."""
    old = draw(contents)
    new = old
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(new)))
        end = draw(st.integers(start, min(len(new), start + 30)))
        new = new[:start] + draw(st.one_of(st.binary(max_size=20), st.sampled_from(LINES))) + new[end:]
    return old, draw(st.sampled_from([new, new, new, draw(contents)]))


def applied(command: list[str], name: str, old: bytes, diff: bytes) -> bytes:
    """The file after a program applied the diff; the program is silent, and leaves nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        file = tree / name
        file.parent.mkdir(parents=True)
        file.write_bytes(old)
        Path(folder, "change.patch").write_bytes(diff)
        environment = {**os.environ, "LC_ALL": "C", "GIT_CEILING_DIRECTORIES": folder, "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(command, cwd=tree, capture_output=True, check=False, env=environment)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert done.stdout == b""
        assert [path for path in tree.rglob("*") if path.is_file()] == [file]
        return file.read_bytes()


@pytest.mark.parametrize("command", [PATCH, GIT], ids=["patch", "git"])
def test_any_change_of_any_bytes(command: list[str]) -> None:

    @examples(60)
    @given(changes())
    @example((b"a", b"a\n"))
    @example((b"a\n", b"a"))
    @example((b"a\n", b""))
    @example((b"", b"a"))
    @example((b"", b"\n"))
    @example((b"a\r\nb\r\n", b"a\r\nc\r\n"))
    @example((b"a\r\n", b"a\n"))
    @example((b"x\n" * 5000, b"x\n" * 2500 + b"y\n" + b"x\n" * 2499))
    def check(change: tuple[bytes, bytes]) -> None:
        old, new = change
        diff = unified_diff("f", old, new)
        assert bool(diff) is (old != new)
        if diff:
            assert applied(command, "f", old, diff) == new

    check()


@pytest.mark.parametrize("command", [PATCH, GIT], ids=["patch", "git"])
@pytest.mark.parametrize("name", [
    "neuron_cdev.c", "v2/a b.c", "a\tb", 'quote".c', "back\\slash", "Grüße/ß.c", os.fsdecode(b"\xff.c"), "-r", "a b b",
    "[a]*?", "$(x)", "share/neuron_driver_shared.h",
])
def test_any_name(command: list[str], name: str) -> None:
    old, new = b"one\ntwo\n", b"one\nthree\n"
    assert applied(command, name, old, unified_diff(name, old, new)) == new


@examples(50)
@given(st.data())
def test_as_our_own_patching(data: st.DataObject) -> None:
    """An edit of a patch and its diff do the same."""
    find, replace = data.draw(st.text(min_size=1, max_size=8)), data.draw(st.text(max_size=12))
    around = data.draw(st.lists(contents, min_size=2, max_size=5))
    old = find.encode().join(around)
    patch = Patch("p", "why", "*", "*", "*", (Edit("f", find, replace, old.count(find.encode())),))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "f").write_bytes(old)
        patches.apply(patch, Path(folder))
        ours = Path(folder, "f").read_bytes()
    diff = unified_diff("f", old, ours)
    for command in (PATCH, GIT):
        assert (applied(command, "f", old, diff) if diff else old) == ours


def test_the_form() -> None:
    old = b"".join(b"%d\n" % number for number in range(1, 21)) + b"end"
    new = old.replace(b"\n3\n", b"\nthree\n").replace(b"end", b"END\r")
    assert unified_diff("v2/f.c", old, new) == b"""\
diff --git a/v2/f.c b/v2/f.c
--- a/v2/f.c
+++ b/v2/f.c
@@ -1,6 +1,6 @@
 1
 2
-3
+three
 4
 5
 6
@@ -18,4 +18,4 @@
 18
 19
 20
-end
\\ No newline at end of file
+END\r
\\ No newline at end of file
"""
