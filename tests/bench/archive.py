"""An archive from nothing: at most 2 x download, gpgv, unpacking and `git commit`, one after another in a plain loop.

Both take the same signed packages from the same server on loopback, as many as the sandbox has versions and
as large as the vendor's. The loop starts curl, gpgv, rpm2cpio, cpio, git add, git commit and git tag for each;
the signatures, the signed bytes and the keyring lie ready for it, and it neither reads metadata nor writes messages.
Ours is a whole `doit archive`. Besides: a second run must cost one conditional request and start no process.
"""

from __future__ import annotations

import compileall
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from foundry.formats.packages import rpm
from foundry.packages import gpg
from foundry.sandbox.standin import build_repository, package_file
from tests.bench.child import Cost, cost_of, in_turns
from tests.bench.figure import Figure, at_most, yes
from tests.bench.package_read import large_source
from tests.bench.synthetic import timed_environment
from tests.harness.archives import TASK, Archivist
from tests.harness.rpmtools import Key, Server, serve

LIMIT = 2.0
TIMES = 5
VERSIONS = ("2.16.7.0", "2.22.2.0", "2.28.0.0")


def measure(folder: Path) -> Iterator[Figure]:
    """Wall time of ours, in loops; and what nothing new costs."""
    made = build_repository(
        folder / "repository", VERSIONS, source=large_source(folder / "source"), log=folder / "build.log"
    )
    key = Key(folder, made.fingerprint, made.key_file)
    ready = [_ready(folder / "ready" / version, made.folder / package_file(version), key) for version in VERSIONS]
    (folder / "ring.gpg").write_bytes(gpg.keyring(made.key_file))
    shutil.copyfile(made.key_file, made.folder / "key.pub")
    with serve(made.folder) as server:
        clone = Archivist(folder / "clone", f"{server.url}/", key)
        compileall.compile_dir(clone.root, quiet=1)
        mine, theirs = in_turns(TIMES, lambda: _ours(clone), lambda: _loop(folder, server, ready))
        _compare(clone, folder / "loop")
        server.hits.clear()
        run = clone.doit(TASK)
        idle = run.processes == [] and server.hits == ["/repodata/repomd.xml"] and server.unmodified > 0
    most, least = (statistics.median(cost.wall for cost in costs) for costs in (mine, theirs))
    yield at_most(f"archive of {len(VERSIONS)} versions / plain loop", most / least, LIMIT,
                  detail=f"{most:.2f} s, {least:.2f} s")
    yield yes("archive, nothing new: one request, no process", idle, detail=", ".join(server.hits))


def _ready(folder: Path, package: Path, key: Key) -> tuple[str, Path, Path]:
    """The package's name, and what gpgv wants of it as files: signature and signed bytes."""
    del key
    folder.mkdir(parents=True)
    data = package.read_bytes()
    parsed = rpm.parse_package(data)
    if not parsed.signature:
        raise RuntimeError("the package has no signature over header and payload")
    (folder / "signature").write_bytes(parsed.signature)
    (folder / "signed").write_bytes(data[parsed.header_range[0] :])
    return package.name, folder / "signature", folder / "signed"


def _ours(clone: Archivist) -> Cost:
    shutil.rmtree(clone.build / "archive", ignore_errors=True)
    return cost_of(clone.command("archive"), clone.root, timed_environment(clone))


def _loop(folder: Path, server: Server, ready: list[tuple[str, Path, Path]]) -> Cost:
    """The plain way: each step a process, one after another."""
    dest = folder / "loop"
    shutil.rmtree(dest, ignore_errors=True)
    started = time.perf_counter()
    (dest / "archive/rpm").mkdir(parents=True)
    git = ["git", "-C", str(dest), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for name, signature, signed in ready:
        file = dest / "archive/rpm" / name
        subprocess.run(["curl", "--silent", "--fail", "--output", str(file), f"{server.url}/{name}"], check=True)
        subprocess.run(["gpgv", "--homedir", str(folder), "--keyring", str(folder / "ring.gpg"), str(signature),
                        str(signed)], check=True, capture_output=True)
        shutil.rmtree(dest / "src", ignore_errors=True)
        (dest / "src").mkdir()
        with subprocess.Popen(["rpm2cpio", str(file)], stdout=subprocess.PIPE) as archive:
            subprocess.run(["cpio", "--extract", "--make-directories", "--quiet"], stdin=archive.stdout,
                           cwd=dest / "src", check=True)
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", f"--message={name}"], check=True)
        subprocess.run([*git, "tag", name], check=True)
    return Cost(time.perf_counter() - started, 0.0, 0)


def _compare(clone: Archivist, loop: Path) -> None:
    """Both hold the newest version's files."""
    ours = subprocess.run(["git", "--git-dir", str(clone.git_dir), "ls-tree", "-r", "main", "src", "payload"],
                          capture_output=True, text=True, check=True).stdout
    theirs = [path for path in (loop / "src").rglob("*") if path.is_file()]
    if len(ours.splitlines()) != len(theirs) or len(theirs) < 100:
        raise RuntimeError(f"the loop unpacked {len(theirs)} files, ours has {len(ours.splitlines())}")
