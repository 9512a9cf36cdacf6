"""The Debian that the sandbox's images are made from, and what its archive offers today."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from foundry.base.errors import OutsideError
from foundry.base.files import scratch
from foundry.base.process import run
from foundry.base.reasons import Reason
from foundry.base.versions import version_key
from foundry.packages import apt
from foundry.podman.mounts import bind_mount
from foundry.sandbox.localstore import LocalStore

SUITE = "bookworm"
IMAGE = "debian"
_RELEASED = 1_686_355_200  # bookworm, 2023-06-10: files that mmdebstrap makes are dated to it
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_UNREACHABLE = "does `apt-get update` work on this machine? Read the log"
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/doc/*")
# What the kernel packages' names end in, by `uname -m`.
_FLAVOURS = {"x86_64": "cloud-amd64", "aarch64": "cloud-arm64"}
_RT_FLAVOURS = {"x86_64": "rt-amd64", "aarch64": "rt-arm64"}


@dataclass(frozen=True)
class Survey:
    """What Debian's archive offers; `busybox_root` holds the root of the base image, `date` and times are seconds."""

    image: str
    kernels: tuple[str, ...]
    date: int
    busybox_root: Path
    busybox_version: str
    busybox_created: int
    busybox_source: str
    busybox_sha256: str


def make_debian(store: LocalStore, recipes: Path, log: Path) -> str:
    """A minimal Debian with apt as a local image; returns its id.

    Raises OutsideError when the keys of Debian's archive are missing, FoundryError when it can't be had.
    """
    if not _KEYRING.exists():
        raise OutsideError(
            "Debian's archive keys are not installed", reason=Reason.TOOL_MISSING,
            hint="apt-get install debian-archive-keyring",
        )
    with scratch(store.work, "debian") as folder:
        # Without root mmdebstrap works as another user id, which may not enter our folders.
        place = {"TMPDIR": str(folder)} if os.geteuid() == 0 else {}
        run(
            ["mmdebstrap", "--quiet", "--variant=apt", "--skip=output/dev", f"--keyring={_KEYRING}",
             *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
             "--dpkgopt=path-include=/usr/share/doc/*/copyright", "--dpkgopt=force-unsafe-io",
             '--aptopt=APT::Install-Recommends "false"', *(f"--aptopt={setting}" for setting in apt.proxies()),
             SUITE, str(folder / "root.tar"), *_sources(folder, log)],
            log=log, env={**place, "SOURCE_DATE_EPOCH": str(_RELEASED)}, reason=Reason.DEBIAN_UNREACHABLE,
            hint=_UNREACHABLE,
        )
        return store.build(IMAGE, recipes / "Containerfile.debian", folder, log=log, created=_RELEASED)


def _sources(work: Path, log: Path) -> list[str]:
    """Lines for apt with this machine's own mirrors; none where it has no such, as on Ubuntu: mmdebstrap knows some.

    A machine whose sources leave out the security updates has older kernels alone, too few for the sandbox: they are
    looked for beside the archive.
    """
    main, updates = apt.archive("debian"), f"{SUITE}-security"
    if not main:
        return []
    security = apt.archive("debian-security") or apt.beside(
        main, "debian-security", f"dists/{updates}/InRelease", work / "InRelease", log)
    lines = [f"deb {main} {suite} main" for suite in (SUITE, f"{SUITE}-updates")]
    return lines + ([f"deb {security} {updates} main"] if security else [])


def survey(store: LocalStore, image: str, recipes: Path, out: Path, log: Path) -> Survey:
    """Ask Debian's archive; `out` is a folder that the facts are written to."""
    out.mkdir(parents=True, exist_ok=True)
    with store.engine.container("survey") as name:
        store.engine.call(
            "run", f"--name={name}", "--rm", "--pull=never", "--network=host", "--security-opt=label=disable",
            bind_mount(out.absolute(), "/out", read_only=False),
            bind_mount((recipes / "archive.sh").absolute(), "/archive.sh", read_only=True), image, "/bin/sh",
            "/archive.sh", SUITE,
            log=log, reason=Reason.DEBIAN_UNREACHABLE, hint=_UNREACHABLE,
        )
    facts = {name: (out / name).read_text(encoding="utf-8").strip() for name in (
        "kernels", "date", "busybox.version", "busybox.created", "busybox.uris")}
    source, sha256 = upstream_source(facts["busybox.uris"])
    if not source or not facts["busybox.version"]:
        raise OutsideError("Debian's archive offers no source of its busybox", reason=Reason.DEBIAN_UNREACHABLE,
                           log=log)
    return Survey(
        image, tuple(facts["kernels"].split()), int(parsedate_to_datetime(facts["date"]).timestamp()),
        out / "busybox", facts["busybox.version"], int(facts["busybox.created"]), source, sha256,
    )


def upstream_source(listing: str) -> tuple[str, str]:
    """URL and hex SHA-256 of the upstream tarball among a source package's files, both empty when it is not there.

    The lines are those of ``apt-get source --print-uris``: URL and checksum, as in ``SHA256:0123…``.
    """
    for line in listing.splitlines():
        url, _, checksum = line.partition(" ")
        kind, _, digest = checksum.partition(":")
        if ".orig.tar" in url and not url.endswith(".asc") and kind == "SHA256":
            return url, digest
    return "", ""


def choose_kernels(offered: tuple[str, ...], arch: str, count: int) -> list[str]:
    """`count` of the kernels that Debian's archive offers, oldest first.

    The newest of each series, then the next newest of the oldest series; never
    a fixed ABI number, because old ones leave it. OutsideError when
    there are too few.
    """
    flavour = _FLAVOURS[arch]
    pattern = re.compile(rf"\d+\.\d+\.\d+\S*-{flavour}")
    whole = sorted((kernel for kernel in offered if pattern.fullmatch(kernel)), key=version_key)
    series: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for kernel in whole:
        series[version_key(kernel)[:2]].append(kernel)
    chosen = [kernels[-1] for kernels in series.values()][-count:]
    for kernels in series.values():
        chosen += [kernel for kernel in reversed(kernels) if kernel not in chosen][: count - len(chosen)]
    if len(chosen) < count:
        raise OutsideError(
            f"Debian's archive offers {len(chosen)} kernels of flavour {flavour}, {count} are wanted",
            reason=Reason.KERNEL_MISSING,
            hint="have apt's sources Debian's security updates? Or set fewer `sandbox.kernels` in"
            " config/profiles/sandbox.yaml",
        )
    return sorted(chosen, key=version_key)


def rt_kernel(offered: tuple[str, ...], kernel: str, arch: str) -> str:
    """The real-time kernel of the same version as one that was chosen; OutsideError when there is none."""
    name = f"{kernel.removesuffix(_FLAVOURS[arch])}{_RT_FLAVOURS[arch]}"
    if name not in offered:
        raise OutsideError(
            f"Debian's archive does not offer the kernel {name}", reason=Reason.KERNEL_MISSING,
            hint="leave the kernel out of `sandbox.rt` in config/profiles/sandbox.yaml",
        )
    return name
