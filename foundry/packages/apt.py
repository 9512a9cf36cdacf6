"""Debian's archive as this machine's apt has it: a URL ``apt://debian/pool/…`` names no mirror.

The address comes from apt's sources and files are fetched by apt's own helper, so mirrors, proxies and log-ins are
those that apt has. What was fetched is checked by the caller, as from anywhere.
"""

from __future__ import annotations

import re
import shutil
from functools import lru_cache
from pathlib import Path

from foundry.base.errors import OutsideError
from foundry.base.process import run
from foundry.base.reasons import Reason

SCHEME = "apt://"
_HELPER = Path("/usr/lib/apt/apt-helper")
_SECONDS = 900.0
_PROXY = re.compile(r'(Acquire::[A-Za-z]+::Proxy(?:-Auto-Detect)?(?:::[^ ]+)?) "(.+)";')


def address(url: str) -> str:
    """The URL with the machine's own address of the archive; one that is none of apt's stays as it is.

    Raises OutsideError where apt's sources have no such archive.
    """
    if not url.startswith(SCHEME):
        return url
    name, _, path = url.removeprefix(SCHEME).partition("/")
    base = archive(name)
    if not base:
        raise OutsideError(f"apt on this machine has no archive of {name}, where {url} is", reason=Reason.TOOL_MISSING,
                           hint="add it to apt's sources, or write an address of your own in place of it")
    return f"{base}/{path}"


def download(url: str, file: Path, log: Path, *, sha256: str = "") -> str:
    """Fetch what an ``apt://`` URL names; the address that it came from. Raises as `address`, and ``http-failed``."""
    place = address(url)
    if not _fetched(place, file, log, *([f"SHA256:{sha256}"] if sha256 else [])):
        raise OutsideError(f"{place}: apt can't fetch it", reason=Reason.HTTP_FAILED, log=log,
                           hint="does `apt-get update` work? The log has apt's words")
    return place


def _fetched(place: str, file: Path, log: Path, *checksum: str) -> bool:
    argv = [str(_HELPER), "-o", "APT::Sandbox::User=root", "download-file", place, str(file), *checksum]
    return run(argv, log=log, timeout=_SECONDS, env={"LC_ALL": "C"}, check=False).returncode == 0


@lru_cache
def archive(name: str) -> str:
    """Where apt has the archive of a distribution, ``http://…/debian``; empty where its sources have none."""
    if not _HELPER.exists() or shutil.which("apt-get") is None:
        return ""
    listed = run(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)"], env={"LC_ALL": "C"}).stdout
    return chosen(listed, name)


def chosen(listed: str, name: str) -> str:
    """The first archive of that name among lines ``label|address``; before `apt-get update` labels are empty."""
    for line in listed.splitlines():
        label, _, uri = line.partition("|")
        base = uri.rstrip("/")
        if uri.startswith(("http://", "https://", "file:")) and (
                label.lower() == name or (not label and base.endswith(f"/{name}"))):
            return base
    return ""


def beside(base: str, name: str, proof: str, file: Path, log: Path) -> str:
    """Where the archive of another name lies in the same folder of a mirror; empty where it has no file `proof`.

    The proof is fetched to `file`.
    """
    place = f"{base.rpartition('/')[0]}/{name}"
    return place if _fetched(f"{place}/{proof}", file, log) else ""


def proxies() -> list[str]:
    """Apt's settings of proxies, as ``--aptopt`` of mmdebstrap takes them."""
    if shutil.which("apt-config") is None:
        return []
    dumped = run(["apt-config", "dump", "Acquire"], env={"LC_ALL": "C"}).stdout
    return [f'{name} "{value}"' for name, value in _PROXY.findall(dumped)]
