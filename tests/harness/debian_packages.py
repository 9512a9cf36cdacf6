"""Packages of Debian's archive, fetched by apt, which checks its signatures; nothing is installed."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from foundry.base.filelock import locked
from foundry.base.files import scratch
from foundry.packages.apt import archive
from tests.harness.github_openapi import CACHE

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def download(folder: Path, suite: str, packages: Sequence[str]) -> None:
    """The packages, as files in the folder."""
    for name in ("state/lists/partial", "cache/archives/partial", "etc/preferences.d"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive('debian')} {suite} main\n")
    options = [f"Dir::State={folder}/state", f"Dir::Cache={folder}/cache", f"Dir::Etc={folder}/etc",
               f"Dir::Etc::sourcelist={folder}/sources.list", "Dir::State::status=/dev/null",
               "Acquire::Languages=none", "Acquire::Retries=3", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
    subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*apt, "download", *packages], check=True, stdout=subprocess.DEVNULL, cwd=folder)


def file_of(folder: Path, package: str, pattern: str) -> bytes:
    """The one file of a package whose path fits."""
    deb, = folder.glob(f"{package}_*.deb")
    with (subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as unpacking,
          tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive):
        found = [data.read() for one in archive
                 if re.fullmatch(rf"\./{pattern}", one.name) and (data := archive.extractfile(one))]
    file, = found
    return file


@cache
def sign_file() -> Path:
    """The kernel's own ``scripts/sign-file``, fetched once."""
    program = CACHE / "sign-file-6.1"
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / ".sign-file.lock"):  # another worker may be at it
        if not program.exists():
            with scratch(CACHE, "sign-file") as work:
                download(work / "apt", "bookworm", ["linux-kbuild-6.1"])
                made = work / "sign-file"
                made.write_bytes(file_of(work / "apt", "linux-kbuild-6.1", r"usr/lib/[^/]*/scripts/sign-file"))
                made.chmod(0o755)
                os.replace(made, program)
    return program
