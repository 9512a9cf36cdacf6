"""`doit release` in the profiles without GitHub: sources, ledger, notes, checksums; once, and the same everywhere."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path

from tests.harness.clone import AccessLogs, Clone
from tests.harness.released import DRIVERS, files_of, ledger, written
from tests.harness.runner import commands_in

DRIVER = "2.22.2.0"


def test_a_release_in_the_sandbox(copied: Clone, access: AccessLogs, tmp_path: Path) -> None:
    """Everything is there and right; the next run does nothing; a fresh checkout makes the same without a compiler."""
    run = copied.doit("release")
    assert run.code == 0, run.text
    assert run.compiled == []
    assert {row["state"] for row in copied.status().values()} == {"published"}
    for driver in DRIVERS:
        complete(copied, driver)
    access.new()
    before = written(copied)
    run = copied.doit("release")
    assert (run.code, run.processes, run.connections, access.new()) == (0, [], [], []), run.text
    assert written(copied) == before
    fresh = copied.checkout(tmp_path / "fresh")
    run = fresh.doit("release")
    assert run.code == 0, run.text
    assert (run.compiled, run.imaged) == ([], 0)
    for driver in DRIVERS:
        assert files_of(fresh, driver) == files_of(copied, driver)
    access.new()
    again = fresh.doit("release")
    assert (again.code, again.processes, again.connections, access.new()) == (0, [], [], [])
    heals(fresh)


def heals(clone: Clone) -> None:
    """A release's files that were cut, zeroed or removed are made again, the same; a folder in the place is said."""
    folder, before = clone.build / "release" / DRIVER, files_of(clone, DRIVER)
    for name in {*before, "notes.json", "stored.json"} - {"images.json"}:
        path = folder / name
        size = path.stat().st_size
        for content in (path.read_bytes()[:size // 2], bytes(size), None):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            run = clone.doit(f"release:{DRIVER}")
            assert (run.code, run.compiled) == (0, []), run.text
            assert files_of(clone, DRIVER) == before, name
        path.unlink()
        path.mkdir()
        run = clone.doit(f"release:{DRIVER}")
        assert run.code == 3, run.text
        assert "something else is in the place" in run.text
        path.rmdir()
    assert clone.doit(f"release:{DRIVER}").code == 0


def complete(clone: Clone, driver: str) -> None:
    """A driver's release folder has notes, ledger, both sources and the checksums of all."""
    folder = clone.build / "release" / driver
    files = files_of(clone, driver)
    source = f"aws-neuronx-dkms-{driver}-modified-source.tar.gz"
    [busybox] = [name for name in files if name.startswith("busybox-")]
    rows = ledger(clone, driver)["cells"]
    certificate = {"module-signing.der"} if all("signature" in row for row in rows) else set()
    published = {"images.json.sigstore.json", "verify.tar.gz", "kmm.tar.gz"}  # signed, and to be had by clusters
    more = certificate | (published if all(row["registries"] for row in rows) else set())
    assert set(files) == {"notes.md", "images.json", "SHA256SUMS", source, busybox} | more
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.partition(":")[0] for line in done.stdout.splitlines()} == {
        "images.json", source, busybox} | more
    assert {hashlib.sha256(files[name]).hexdigest() for name in certificate} == {
        row["signature"]["certificate"] for row in rows if "signature" in row}
    with tarfile.open(folder / source) as archive:
        names = archive.getnames()
    assert not [name for name in names if name.endswith((".o", ".ko", ".cmd"))], "no build products"
    assert any(name.endswith("neuron_cdev.c") for name in names)
    notes = files["notes.md"].decode()
    for row in rows:
        assert f"- `{row['tags'][0]}` (compatible with OCP: {', '.join(row['releases'])})" in notes
        assert all(f"`{name}@{row['digest']}`" in notes for name in row["registries"])
        assert all(f"| {release} | `{row['kernel']}` |" in notes for release in row["releases"])
        assert row["revision"]["number"] == 1
    assert notes.count("- new: `") == len(rows)
    assert f"`{busybox}`" in notes and f"`{source}`" in notes


def test_a_release_without_a_registry(copied: Clone, kernels: list[str]) -> None:
    """The profile `local`: the same files; cells count as built. What is built anew is a new revision."""
    copied.use_profile("local", {})
    run = copied.doit("release")
    assert run.code == 0, run.text
    assert run.compiled == []
    for driver in DRIVERS:
        complete(copied, driver)
    assert {row["state"] for row in copied.status().values()} == {"built"}
    before = written(copied)
    run = copied.doit("release")
    assert (run.code, run.processes, run.connections) == (0, [], []), run.text
    assert written(copied) == before
    kernel = kernels[0]
    other = {row["kernel"]: row for row in ledger(copied, DRIVER)["cells"]}
    copied.edit("container/build-module.sh", "set -eu", "set -eu\n# another comment")
    copied.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16.30"]}])
    run = copied.doit("release")
    assert run.code == 0, run.text
    assert run.compiled == [kernel]
    rows = {row["kernel"]: row for row in ledger(copied, DRIVER)["cells"]}
    assert set(rows) == set(other), "rows that were there are there"
    assert {name: row["revision"]["number"] for name, row in rows.items()} == {
        name: 2 if name == kernel else 1 for name in rows}
    notes = files_of(copied, DRIVER)["notes.md"].decode()
    [news] = [line for line in notes.splitlines() if "rebuilt" in line]
    assert news == (f"- `{rows[kernel]['tags'][0]}`: rebuilt (its inputs changed), before:"
                    f" `{other[kernel]['digest']}`")


def test_before_there_is_a_ledger(copied: Clone) -> None:
    """Everything that only shows things says what is missing, makes no network request and leaves nothing."""
    assert copied.doit("list").code == 0  # what was found valid is noted
    before = written(copied)
    listed = copied.doit("list")
    assert (listed.code, listed.processes, listed.connections) == (0, [], [])
    lines = {line.split()[1]: line for line in listed.out.splitlines()}
    for driver in DRIVERS:
        assert lines[f"notes:{driver}"].startswith("pending"), lines[f"notes:{driver}"]
        for stage in ("assets", "ledger", "notes"):
            assert lines[f"{stage}:{driver}"].endswith("there is no ledger yet: run `doit release`")
        assert lines[f"release:{driver}"].startswith("pending"), lines[f"release:{driver}"]
    for name in (f"release:{DRIVER}", f"notes:{DRIVER}", f"assets:{DRIVER}", f"ledger:{DRIVER}"):
        info = copied.doit("info", name)
        assert (info.code, info.connections) == (0, []), info.text
        assert name in info.out and "Traceback" not in info.text
    assert written(copied) == before
    run = copied.doit(f"notes:{DRIVER}")
    assert run.code == 1
    assert f"there is no ledger of {DRIVER} yet" in run.out
    assert f"hint: run `doit release:{DRIVER}`" in run.out
    run = copied.doit("release:9.9.9.9")
    assert run.code == 2
    assert "there is no driver 9.9.9.9 in the matrix" in run.err


def test_one_driver_alone(copied: Clone) -> None:
    """`doit release:DRIVER` leaves the other driver as it is; `doit clean` forgets no ledger."""
    run = copied.doit(f"release:{DRIVER}")
    assert run.code == 0, run.text
    complete(copied, DRIVER)
    other = copied.build / "release" / DRIVERS[0]
    assert not other.exists() or set(files_of(copied, DRIVERS[0])) <= {"images.json"}
    assert {row["driver"] for row in copied.status().values() if row["state"] == "published"} == {DRIVER}
    before = files_of(copied, DRIVER)["images.json"]
    assert copied.doit("clean", f"release:{DRIVER}", f"notes:{DRIVER}", f"ledger:{DRIVER}").code == 0
    assert files_of(copied, DRIVER)["images.json"] == before
    assert "notes.md" not in files_of(copied, DRIVER)
    assert copied.doit(f"release:{DRIVER}").code == 0
    assert files_of(copied, DRIVER)["images.json"] == before
    complete(copied, DRIVER)


def test_in_github_actions(copied: Clone, kernels: list[str], tmp_path: Path) -> None:
    """Annotations and a summary; a build script that prints workflow commands gives none."""
    copied.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16.30", "4.17"]}])
    bad, good = kernels[:2]
    evil = "printf '  ::add-mask::x\\n##[error]y\\n::error::z\\nfoundry: ::set-env name=a::b 100%%, c | d\\n'; exit 9"
    copied.edit("container/build-module.sh", "set -eu", f'set -eu\n[ "$KERNEL" != "{bad}" ] || {{ {evil}; }}')
    summary = tmp_path / "summary.md"
    copied.extra = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    run = copied.doit("run", "-v", "2", "release")
    assert run.code == 1, run.text
    found = [(name, properties["title"]) for name, properties, _ in commands_in(run.out)]
    assert [one for one in found if one[0] == "error"] == [("error", f"module:{DRIVER}-{bad}")]
    [(_, _, data)] = [one for one in commands_in(run.out) if one[0] == "error"]
    assert "::set-env name=a::b 100%, c | d" in data and "build.log" in data
    assert {name for name, _ in found} <= {"error", "warning"}
    assert commands_in(run.err) == []
    assert "| ::error::z" in run.out, "it is shown, and no command"
    text = summary.read_text()
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert set(rows) == {f"{DRIVER}-{bad}", f"{DRIVER}-{good}", DRIVER}
    assert "| failed |" in rows[f"{DRIVER}-{bad}"] and "100%, c ¦ d" in rows[f"{DRIVER}-{bad}"]
    assert "| done | compiled, signed, built, published |" in rows[f"{DRIVER}-{good}"]
    assert "sources packed" in rows[DRIVER] and "notes written" in rows[DRIVER]
    assert "::set-env name=a::b" in files_of(copied, DRIVER)["notes.md"].decode()
    summary.unlink()
    run = copied.doit("release:9.9.9.9")
    assert run.code == 2
    assert [(name, properties["title"]) for name, properties, _ in commands_in(run.out)] == [("error", "kmod-foundry")]
    assert "there is no driver 9.9.9.9" in summary.read_text()
