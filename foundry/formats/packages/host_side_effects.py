"""What a package would do on a node besides its module, found in its scripts and files; read, never executed.

An image brings a module and firmware. Device rules, module options, services and users stay
behind: node administrators have to know of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from foundry.formats.packages.sideeffect import HostSideEffect

_LONGEST = 200  # characters of a line that are shown
_MOST = 40  # parts of a package
_MAX_SCRIPT = 1 << 18  # characters

# Folders whose files have an effect on a node by being there.
_PLACES = (
    (re.compile(r"(?:usr/)?(?:etc|lib)/udev/(?:rules|hwdb)\.d/.+"), "udev rule"),
    (re.compile(r"(?:usr/)?(?:etc|lib)/modprobe\.d/.+"), "module options"),
    (re.compile(r"(?:usr/)?(?:etc|lib)/modules-load\.d/.+|etc/modules"), "module to load at boot"),
    (re.compile(r"(?:usr/)?(?:etc|lib)/(?:systemd/(?:system|user)/.+)|etc/init\.d/.+"), "service"),
    (re.compile(r"(?:usr/)?(?:etc|lib)/(?:sysusers|tmpfiles|sysctl|depmod)\.d/.+"), "system setting"),
    (re.compile(r"etc/(?:dracut\.conf\.d|initramfs-tools|security)/.+|usr/lib/dracut/.+"), "system setting"),
    (re.compile(r"(?:usr/)?lib/firmware/.+"), "firmware"),
)
# Lines of scripts that change a node. The first that fits says what a line is.
_LINES = (
    (re.compile(r"""\b(?:KERNEL|SUBSYSTEMS?|ACTION|ATTRS?|DEVPATH|DRIVERS?)(?:\{[^}]*\})?==|\budev/rules\.d\b"""),
     "udev rule"),
    (re.compile(r"\bmodprobe\.d\b"), "module options"),
    (re.compile(r"\bmodules-load\.d\b|/etc/modules\b"), "module to load at boot"),
    (re.compile(r"\b(?:useradd|groupadd|adduser|addgroup|usermod|groupmod)\b"), "user or group"),
    (re.compile(r"\b(?:systemctl|systemd-sysusers|systemd-tmpfiles|update-rc\.d|chkconfig|invoke-rc\.d)\b"), "service"),
    (re.compile(r"/lib/firmware\b"), "firmware"),
    (re.compile(r"\b(?:sysctl|update-initramfs|dracut|mknod|setcap|semodule|restorecon|update-grub|grubby)\b"),
     "system setting"),
    (re.compile(r"\b(?:modprobe|insmod|rmmod)\s+(?!-)\S+"), "loading of the module"),
)
_HARMLESS = re.compile(
    r"^\s*(?:#|if\b|elif\b|\[|command -v|which\b|echo\s+[\"'][^\"'>=]*[\"']\s*$|printf\s+[\"'][^>]*$)"
)


def find_parts(
    scripts: Mapping[str, str], files: Iterable[str], taken: Iterable[str] = ()
) -> tuple[HostSideEffect, ...]:
    """What scripts (by a name for people) and the paths of a package's files would do; `taken` is in the image.

    A line counts once, wherever it is.
    """
    parts: dict[tuple[str, str], HostSideEffect] = {}
    gone = set(taken)
    for path in sorted(files):
        kind = next((kind for pattern, kind in _PLACES if pattern.fullmatch(path)), "")
        if kind and path not in gone:
            parts.setdefault((kind, path), HostSideEffect(kind, f"/{path}", ""))
    for name, script in scripts.items():
        for line in _lines(script):
            kind = next((kind for pattern, kind in _LINES if pattern.search(line)), "")
            if kind:
                parts.setdefault((kind, line), HostSideEffect(kind, name, line))
    found = list(parts.values())
    if len(found) > _MOST:
        more = HostSideEffect("and", "the package's scripts", f"{len(found) - _MOST} more lines of this kind")
        found = [*found[:_MOST], more]
    return tuple(found)


def _lines(script: str) -> Iterable[str]:
    for line in script[:_MAX_SCRIPT].replace("\\\n", " ").splitlines():
        text = "".join(char if char.isprintable() else " " for char in line).strip()
        if text and not _HARMLESS.match(text):
            yield text[:_LONGEST]
