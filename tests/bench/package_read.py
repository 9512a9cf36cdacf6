"""Reading and verifying one package: at most 2 x `gpgv` + `rpm2cpio | cpio` of the same file.

Ours is what the stages fetch and source do with a package that is downloaded: read, parse, verify,
and once more read, parse, and unpack with every file's digest checked. It runs inside this
process, as in a run of doit, where the imports are paid once for all packages, but starts
gpgv as it does there. Theirs are the three processes, started without a shell; the signature, the
signed bytes and the keyring lie ready for them, which ours makes each time. Either side writes
the same tree into a new folder; removing it is not measured. Compared are medians of runs that
take turns.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry.base.files import sha256_file
from foundry.formats.packages import rpm, rpmpayload
from foundry.packages import gpg
from foundry.packages.repository import verify_signature
from foundry.sandbox.standin import TREE, build_repository, package_file
from tests.bench.child import Cost, in_turns
from tests.bench.figure import Figure, at_most
from tests.bench.parts import DRIVER
from tests.harness.clone import ROOT

LIMIT = 2.0
TIMES = 15
_FILES, _LINES = 120, 700  # about 5 MB, in as many files as the vendor's packages have
_SEED = 7


@dataclass(frozen=True)
class _Parts:
    """One package, the key that signed it, and what gpgv wants of both as files."""

    package: Path
    key: Path
    fingerprint: str
    ring: Path
    signature: Path
    signed: Path


def measure(folder: Path) -> Iterator[Figure]:
    """Wall time of ours, in theirs."""
    parts = _parts(folder)
    ours, theirs = folder / "ours", folder / "theirs"
    _ours(parts, ours)
    _theirs(parts, theirs)
    trees = [_tree(ours), _tree(theirs)]
    if trees[0] != trees[1] or len(trees[0]) < _FILES:
        raise RuntimeError("the two ways to unpack give different trees")
    mine, others = in_turns(TIMES, lambda: _ours(parts, ours), lambda: _theirs(parts, theirs))
    most, least = (statistics.median(cost.wall for cost in costs) for costs in (mine, others))
    size = sum((ours / name).stat().st_size for name in trees[0]) / 1e6
    yield at_most(
        "package / (gpgv + rpm2cpio | cpio)", most / least, LIMIT,
        detail=f"{most * 1000:.0f} ms, {least * 1000:.0f} ms, {len(trees[0])} files, {size:.1f} MB",
    )


def _parts(folder: Path) -> _Parts:
    repository = build_repository(
        folder / "repository", [DRIVER], source=large_source(folder / "source"), log=folder / "build.log"
    )
    package, key_file = repository.folder / package_file(DRIVER), repository.key_file
    data = package.read_bytes()
    parsed = rpm.parse_package(data)
    parts = _Parts(
        package, key_file, repository.fingerprint, folder / "ring.gpg", folder / "signature", folder / "signed"
    )
    parts.ring.write_bytes(gpg.keyring(key_file))
    if not parsed.signature:
        raise RuntimeError("the package has no signature over header and payload")
    parts.signature.write_bytes(parsed.signature)
    parts.signed.write_bytes(data[parsed.header_range[0] :])
    return parts


def large_source(folder: Path) -> Path:
    """The stand-in's source with headers full of registers, as drivers have them: text that compresses to a fifth."""
    shutil.copytree(ROOT / "container" / "sandbox" / "standin", folder, symlinks=True)
    numbers = random.Random(_SEED)
    for file in range(_FILES):
        lines = [
            f"#define NEURON_BLOCK{file}_REGISTER_{line}_OFFSET 0x{numbers.getrandbits(32):08x} /* bits"
            f" {numbers.randrange(32)} to {numbers.randrange(32)} */\n"
            for line in range(_LINES)
        ]
        (folder / f"neuron_registers_{file}.h").write_text("".join(lines), encoding="ascii")
    return folder


def _ours(parts: _Parts, dest: Path) -> Cost:
    shutil.rmtree(dest, ignore_errors=True)
    started = time.perf_counter()
    # fetch
    data = rpm.read_bytes(parts.package)
    package = rpm.parse_package(data)
    verify_signature(data, package, parts.key, parts.fingerprint)
    # source
    rpmpayload.unpack(parts.package, rpm.read_package(parts.package), dest)
    return Cost(time.perf_counter() - started, 0.0, 0)


def _theirs(parts: _Parts, dest: Path) -> Cost:
    shutil.rmtree(dest, ignore_errors=True)
    started = time.perf_counter()
    dest.mkdir()
    keyring = ["--homedir", str(dest.parent), "--keyring", str(parts.ring)]
    subprocess.run(["gpgv", *keyring, str(parts.signature), str(parts.signed)], capture_output=True, check=True)
    with subprocess.Popen(["rpm2cpio", str(parts.package)], stdout=subprocess.PIPE) as archive:
        subprocess.run(
            ["cpio", "--extract", "--make-directories", "--preserve-modification-time", "--quiet"],
            stdin=archive.stdout, cwd=dest, check=True,
        )
    if archive.returncode != 0:
        raise RuntimeError("rpm2cpio failed")
    return Cost(time.perf_counter() - started, 0.0, 0)


def _tree(folder: Path) -> dict[str, str]:
    root = folder / "usr" / "src" / f"{TREE}-{DRIVER}"
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
