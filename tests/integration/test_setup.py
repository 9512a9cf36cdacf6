"""The set-up script: silent when all is there; without rights it prints the one line to run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.harness.clone import ROOT

SCRIPT = "container/sandbox/system-packages.sh"
NEEDED = ("sh", "id", "env", "python3", "apt-get", "dirname", "uname")


def test_nothing_to_say_when_all_is_there() -> None:
    done = subprocess.run([SCRIPT, "tests"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_rights_it_prints_the_one_line(tmp_path: Path) -> None:
    """A user without sudo, on a machine that has little more than a shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        real = shutil.which(name)
        assert real is not None
        (folder / name).symlink_to(Path(real).resolve())
    script = tmp_path / "system-packages.sh"
    # the search of /usr/sbin would find this machine's own tools
    script.write_text((ROOT / SCRIPT).read_text().replace(":/usr/sbin:/sbin", ""))
    script.chmod(0o755)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    done = subprocess.run(
        [str(script), "tests"], capture_output=True, text=True, check=False, env={"PATH": str(folder)},
        user=65534, group=65534, extra_groups=[],
    )
    assert done.returncode == 3
    [line] = [line for line in done.stderr.splitlines() if line.startswith("run: ")]
    assert line.startswith("run: sudo apt-get install --no-install-recommends ")
    for package in ("podman", "runc", "docker-registry", "rpm", "createrepo-c", "mmdebstrap", "gpgv", "sbsigntool",
                    "chromium", "chromium-driver"):
        assert package in line.split()
    assert len(line.split()) == len(set(line.split())), "each package once"
