"""The sandbox's YUM repository: stand-in drivers, packed and indexed by the real tools, signed as the vendor signs.

One template folder holds the sources of every version. In its files
``@VERSION@`` becomes the version, and lines between ``@since X`` or
``@before X`` and ``@end`` (each in a comment of its own line) are left out of
the versions that they are not for; a file of which nothing is left is left out.

To a reader a package has the vendor's form (`oldrpm`), and its source package
lies beside it, with the same name and version.

The same template, versions and key give the same bytes: time stamps come from
the version, the key's and the signatures' dates are fixed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from foundry.base import process
from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import remove_abandoned, scratch, write_atomic
from foundry.base.reasons import Reason
from foundry.sandbox import oldrpm
from foundry.sandbox.openpgp3 import SecretKey, read_secret_key

PACKAGE = "aws-neuronx-dkms"
TREE = "aws-neuronx"
KEY_NAME = "GPG-KEY.pub"
EMPTY_FOLDER = "firmware"
SIGNER = "kmod-foundry sandbox <sandbox@localhost>"
SECRET_NAME = "signing-key.asc"  # noqa: S105 -- a file's name

_RELEASE = "dkms"
_LICENSE = Path("/usr/share/common-licenses/GPL-2")
_KEY_DATE = "20200101T000000"
_FIRST_DAY = 1_577_923_200  # 2020-01-02: the key must be older than what it signs
_DAY = 86_400
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){3}")
_MARK = re.compile(r"^\s*(?:/\*|#|//)\s*@(since|before|end)\b\s*([\d.]*)\s*(?:\*/)?\s*$")
_COMMAND_SECONDS = 300.0


@dataclass(frozen=True)
class StandinRepository:
    """A signed YUM repository on disk; `fingerprint` is the key's, 40 upper-case hex digits."""

    folder: Path
    key_file: Path
    fingerprint: str


def build_repository(dest: Path, versions: Sequence[str], *, source: Path, log: Path) -> StandinRepository:
    """Make the repository `dest` anew with one package for each version, and put it in place whole.

    The signing key lives in the folder ``keys`` beside `dest` and is made the
    first time.

    Raises FoundryError when a version or the template is wrong or a tool
    fails, OutsideError when a tool or the licence text is not installed.
    """
    for version in versions:
        _parsed(version)
    with scratch(dest.parent, dest.name) as work, signing_key(dest.parent / "keys", log) as (home, key):
        folder = work / "repository"
        folder.mkdir(mode=0o755)
        for version in versions:
            tree = work / version / f"{TREE}-{version}"
            write_tree(source, tree, version)
            _package(folder, version, tree.parent, log)
            for arch in ("noarch", "src"):
                _sign(folder / package_file(version, arch), build_time(version), key)
        fingerprint = key.fingerprint.hex().upper()
        (folder / KEY_NAME).write_text(_gpg(home, "--armor", "--export", fingerprint).stdout)
        newest = max((build_time(version) for version in versions), default=_FIRST_DAY)
        process.run(
            ["createrepo_c", "--checksum=sha256", "--compress-type=gz", "--general-compress-type=gz",
             "--database", f"--revision={newest}", "--set-timestamp-to-revision", str(folder)],
            log=log, timeout=_COMMAND_SECONDS,
        )
        if dest.exists():
            os.replace(dest, work / "before")
        os.replace(folder, dest)
    return StandinRepository(dest, dest / KEY_NAME, fingerprint)


def package_file(version: str, arch: str = "noarch") -> str:
    """The package's file name, which like the vendor's leaves out the release; `arch` ``src`` is the source package."""
    return f"{PACKAGE}-{version}.{arch}.rpm"


def build_time(version: str) -> int:
    """Seconds since the epoch that a version is dated to: later for later versions."""
    _, minor, patch, _ = _parsed(version)
    return _FIRST_DAY + _DAY * (20 * minor + patch)


def render(text: str, version: str) -> str:
    """One file of the template as it is in `version`."""
    wanted = _parsed(version)
    lines = []
    keep = True
    inside = False
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        mark = _MARK.match(line)
        if mark is None:
            if keep:
                lines.append(line)
            continue
        word, bound = mark.groups()
        if (word == "end") != inside:
            raise FoundryError(
                f"line {number} of the stand-in's template: @{word} does not fit here", reason=Reason.STANDIN_TEMPLATE
            )
        inside = not inside
        keep = not inside or (wanted >= _parsed(bound)) == (word == "since")
    if inside:
        raise FoundryError("the stand-in's template: an @end is missing", reason=Reason.STANDIN_TEMPLATE)
    return "".join(lines).replace("@VERSION@", version)


def write_tree(source: Path, dest: Path, version: str) -> None:
    """The source tree of one version, as the package holds it, in the new folder `dest`."""
    for folder, folders, names in os.walk(source):
        folders.sort()
        here = dest / Path(folder).relative_to(source)
        here.mkdir(mode=0o755, parents=True)
        for name in sorted(names):
            _write_file(Path(folder, name), here / name, version)
    (dest / EMPTY_FOLDER).mkdir(mode=0o755)
    for folder, folders, names in os.walk(dest, topdown=False):
        if not folders and not names and Path(folder) != dest / EMPTY_FOLDER:
            os.rmdir(folder)
    if not _LICENSE.is_file():
        raise OutsideError(
            f"{_LICENSE} is not there", reason=Reason.TOOL_MISSING, hint="Debian's package base-files has it"
        )
    shutil.copyfile(_LICENSE, dest / "LICENSE")


def _write_file(source: Path, dest: Path, version: str) -> None:
    if source.is_symlink():
        dest.symlink_to(os.readlink(source))
        return
    text = render(source.read_text(), version)
    if text:
        dest.write_text(text)
        dest.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _parsed(version: str) -> tuple[int, int, int, int]:
    if not _VERSION.fullmatch(version):
        raise FoundryError(
            f"{version!r} is not a driver version", reason=Reason.STANDIN_VERSION, hint="four numbers, such as 2.22.2.0"
        )
    major, minor, patch, build = (int(part) for part in version.split("."))
    return major, minor, patch, build


def _package(folder: Path, version: str, work: Path, log: Path) -> None:
    spec = work / f"{PACKAGE}.spec"
    spec.write_text(_SPEC.format(package=PACKAGE, tree=TREE, version=version, release=_RELEASE, packager=SIGNER))
    macros = {
        "_topdir": work / "rpmbuild", "_sourcedir": work, "_rpmdir": folder, "_dbpath": work / "rpmdb",
        "_rpmfilename": package_file(version), "_srcrpmdir": folder, "_srcdefattr": "(0644,root,root)",
        "_buildhost": "sandbox", "_binary_payload": "w2.xzdio", "_source_payload": "w2.xzdio",
        "_source_filedigest_algorithm": "8", "_binary_filedigest_algorithm": "8",
        "use_source_date_epoch_as_buildtime": "1", "clamp_mtime_to_source_date_epoch": "1",
    }
    process.run(
        ["rpmbuild", "-ba", *_defines(macros), str(spec)],
        log=log, timeout=_COMMAND_SECONDS, cwd=work,
        env={"SOURCE_DATE_EPOCH": str(build_time(version)), "HOME": str(work), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
    )
    os.replace(folder / f"{PACKAGE}-{version}-{_RELEASE}.src.rpm", folder / package_file(version, "src"))


def _sign(package: Path, when: int, key: SecretKey) -> None:
    package.write_bytes(oldrpm.signed(package.read_bytes(), key, when))
    os.utime(package, (when, when))


def _defines(macros: Mapping[str, object]) -> list[str]:
    return [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]


@contextmanager
def signing_key(keys: Path, log: Path) -> Iterator[tuple[Path, SecretKey]]:
    """A GnuPG home for the block that holds the signing key, and the key itself."""
    short = Path("/tmp")  # noqa: S108 - sockets are in it; nobody else can enter the folder that is made there
    remove_abandoned(short, "kf")  # an agent ends with its home
    secret = keys / SECRET_NAME
    with scratch(short, "kf") as home:
        try:
            if secret.is_file():
                _gpg(home, "--import", str(secret))
            else:
                _gpg(home, "--faked-system-time", f"{_KEY_DATE}!", "--passphrase", "",
                     "--quick-generate-key", SIGNER, "rsa2048", "sign", "never")
                exported = _gpg(home, "--armor", "--export-secret-keys").stdout
                write_atomic(secret, exported.encode(), mode=0o600)
            plain = home / "secret-key"
            _gpg(home, "--output", str(plain), "--export-secret-keys")
            if not plain.is_file():
                raise FoundryError(
                    f"{secret} holds no signing key", reason=Reason.STANDIN_KEY,
                    hint=f"remove {keys}: a new one is made",
                )
            yield home, read_secret_key(plain.read_bytes())
        finally:
            process.run(["gpgconf", "--homedir", str(home), "--kill", "all"], log=log, timeout=60, check=False)


def _gpg(home: Path, *words: str) -> process.Completed:
    return process.run(
        ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", *words],
        timeout=_COMMAND_SECONDS,
    )


# Variables, not macros, for folders: the source package holds this with all macros expanded.
_SPEC = """\
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}

Name: {package}
Version: {version}
Release: {release}
Summary: {tree} {version} dkms package (stand-in of the kmod-foundry sandbox)
License: GPL-2.0
Packager: {packager}
Group: System/Kernel
BuildArch: noarch
AutoReqProv: no
Requires: dkms >= 1.95

%description
Sources of a stand-in for the AWS Neuron driver. It drives no hardware.

%install
mkdir -p "$RPM_BUILD_ROOT/usr/src" "$RPM_BUILD_ROOT/usr/share/{tree}"
cp -a "$RPM_SOURCE_DIR/{tree}-{version}" "$RPM_BUILD_ROOT/usr/src/"
printf '#!/bin/sh\\nexec dkms install -m "$1" -v "$2"\\n' > "$RPM_BUILD_ROOT/usr/share/{tree}/postinst"
chmod -R u=rwX,go=rX "$RPM_BUILD_ROOT/usr"

%post
for POSTINST in /usr/lib/dkms/common.postinst /usr/share/{tree}/postinst; do
    if [ -f "$POSTINST" ]; then
        "$POSTINST" {tree} {version} /usr/share/{tree}
        exit $?
    fi
    echo "WARNING: $POSTINST does not exist."
done
exit 1

%preun
dkms remove -m {tree} -v {version} --all --rpm_safe_upgrade
exit 0

%files
%defattr(-,root,root)
%dir /usr/src
/usr/src/{tree}-{version}
%dir /usr/share/{tree}
%attr(0755,root,root) /usr/share/{tree}/postinst
"""
