"""What DKMS itself reads in a ``dkms.conf``: the programs of Debian 12 and 13, and the packages that are made for it.

All of them are fetched once from Debian's archive into ``build/cache``, by apt, which checks its signatures; nothing
is installed. The program is loaded by bash as it is, and its own functions read the files; then it is asked what they
left behind, and the make command is run as it runs it, with a program in place of make that writes down its arguments.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from foundry.base.filelock import locked
from foundry.base.files import scratch
from tests.harness.debian_packages import download, file_of
from tests.harness.github_openapi import CACHE

SUITES = ("bookworm", "trixie")
PACKAGES = tuple(f"{name}-dkms" for name in (
    "acpi-call", "adv-17v35x", "apfs", "bbswitch", "dahdi", "ddcci", "digimend", "dm-writeboost", "dpdk-kmods",
    "evdi", "falcosecurity-scap", "gost-crypto", "iptables-netflow", "jool", "langford", "librem-ec-acpi",
    "lime-forensics", "lttng-modules", "nat-rtsp", "openafs-modules", "openrazer-driver", "openvpn-dco", "rapiddisk",
    "rtpengine-kernel", "tp-smapi", "v4l2loopback", "vpoll", "west-chamber", "xtables-addons", "xtrx",
))
KERNEL, ARCH = "6.1.0-55-amd64", "x86_64"
CONFIG = "CONFIG_PCI=y\nCONFIG_I2C=m\nCONFIG_DRM=m\n# CONFIG_PREEMPT_RT is not set\nCONFIG_ACPI=y\nCONFIG_NAME=\"y\"\n"
_LOAD = r"""
exit() {  # which the program calls when it has said its version
    unset -f exit
    trap - EXIT
    exec 1>&4 2> /dev/null
    while IFS= read -r -d '' folder <&3; do
        ( cd "$FOLDER/empty" && judge "$folder" ) | tr '\n' ' '
        printf '\n'
    done
    builtin exit
}
judge() {
    ksourcedir_fromcli=true kernel_source_dir=$FOLDER/kernel parallel_jobs=7
    module= module_version=
    read_conf "$KERNEL" "$ARCH" "$1/dkms.conf" > /dev/null
    module=$PACKAGE_NAME module_version=$PACKAGE_VERSION last_mvka=
    unset build_exclude make_command pre_build built_module_name built_module_location patch_array
    if ! read_conf "$KERNEL" "$ARCH" "$1/dkms.conf" > /dev/null; then printf 'refused\0'; return; fi
    printf '%s\0' read "$module" "$module_version" "${build_exclude:-no}" "${pre_build-}" "${patch_array[0]-}"
    printf '%s\0' "${#built_module_name[@]}"
    for i in "${!built_module_name[@]}"; do
        printf '%s\0' "${built_module_location[i]-}${built_module_name[i]}.ko" "${DEST_MODULE_LOCATION[i]}"
    done
    kernelver=$KERNEL PATH=$FOLDER/bin
    eval "{ ${make_command/#make/make -j$parallel_jobs KERNELRELEASE=$kernelver}; }"
}
. "$DKMS" --version > /dev/null
"""
_MAKE = """\
#!/bin/sh
/usr/bin/printf '%s\\0' called "$@"
/usr/bin/printf 'environment\\0'
/usr/bin/env -0
"""


@dataclass(frozen=True)
class Judged:
    """What DKMS read; `modules` are paths in the build folder and places, `environment` all that make is given."""

    name: str
    version: str
    excluded: bool
    pre_build: str
    patch: str
    modules: tuple[tuple[str, str], ...]
    make: tuple[str, ...] | None
    environment: frozenset[str]


@cache
def fetched() -> Path:
    """The folder with ``bookworm/dkms``, ``trixie/dkms`` and a folder ``confs/PACKAGE`` for each package."""
    folder = CACHE / "dkms-1"
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / ".dkms.lock"):  # another worker may be at it
        if folder.exists():
            return folder
        with scratch(CACHE, "dkms") as work:
            for suite in SUITES:
                download(work / f"apt-{suite}", suite, ("dkms", *(PACKAGES if suite == SUITES[0] else ())))
                (work / "found" / suite).mkdir(parents=True)
                (work / "found" / suite / "dkms").write_bytes(file_of(work / f"apt-{suite}", "dkms", "usr/sbin/dkms"))
            for package in PACKAGES:
                conf = work / "found/confs" / package / "dkms.conf"
                conf.parent.mkdir(parents=True)
                conf.write_bytes(file_of(work / f"apt-{SUITES[0]}", package, r"usr/src/[^/]*/dkms\.conf"))
            os.replace(work / "found", folder)
    return folder


def judged(suite: str, confs: Sequence[bytes], folder: Path) -> list[Judged | None]:
    """What the DKMS of a suite reads in them, None where it refuses one; `folder` is empty."""
    bash = shutil.which("bash")
    assert bash
    for name in ("empty", "bin", "kernel"):
        (folder / name).mkdir(parents=True)
    (folder / "bin/make").write_text(_MAKE)
    (folder / "bin/make").chmod(0o755)
    (folder / "kernel/.config").write_text(CONFIG)
    places = []
    for number, conf in enumerate(confs):
        places.append(folder / f"conf-{number}")
        places[-1].mkdir()
        (places[-1] / "dkms.conf").write_bytes(conf)
    (folder / "list").write_bytes(b"".join(b"%s\0" % os.fsencode(place) for place in places))
    done = subprocess.run(
        [bash, "--noprofile", "--norc", "-c", f"exec 3< {folder}/list 4>&1\n{_LOAD}"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, check=True,
        env={"PATH": os.environ["PATH"], "DKMS": str(fetched() / suite / "dkms"), "FOLDER": str(folder),
             "KERNEL": KERNEL, "ARCH": ARCH, "LC_ALL": "C"},
    )
    lines = done.stdout.decode(errors="replace").split("\n")[:-1]
    assert len(lines) == len(confs)
    return [_judged(line.split("\0")[:-1], folder) for line in lines]


def _judged(words: list[str], folder: Path) -> Judged | None:
    if not words or words == ["refused"]:
        return None
    assert words[0] == "read", words
    _, name, version, excluded, pre_build, patch, count = words[:7]
    end = 7 + 2 * int(count)
    modules = tuple((words[at], words[at + 1]) for at in range(7, end, 2))
    rest = words[end:]
    make, environment = None, []
    if rest:
        split = rest.index("environment")
        make, environment = tuple(rest[1:split]), rest[split + 1:]
    return Judged(name, version, excluded == "yes", pre_build, patch, modules, make, frozenset(environment))


def kernel_folder(folder: Path) -> str:
    """The folder that DKMS is given as the kernel's build tree."""
    return str(folder / "kernel")
