"""Toolkits from Debian's own kernels, made by container/driver-toolkit/ and pushed to the sandbox's registry."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import OutsideError
from tasks.core.files import scratch
from tasks.core.names import image_tag
from tasks.core.versions import version_key
from tasks.services.podman import Engine
from tasks.services.process import run

SUITE = "bookworm"
REGISTRY = "registry.sandbox.internal"
_PREFIX = "localhost/kmod-foundry-sandbox"
DEBIAN = f"{_PREFIX}/debian:{SUITE}"
_TOOLCHAIN = f"{_PREFIX}/toolchain:{SUITE}"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What the kernel packages' names end in, by `uname -m`.
_FLAVOURS = {"x86_64": "cloud-amd64", "aarch64": "cloud-arm64"}


@dataclass(frozen=True)
class Toolkit:
    """A toolkit in the registry."""

    kernel: str
    reference: str


def import_debian(engine: Engine, work: Path, log: Path) -> None:
    """A minimal Debian with apt as a local image; OutsideError when Debian's archive can't be had."""
    if engine.has_image(DEBIAN):
        return
    if not _KEYRING.exists():
        raise OutsideError(
            "Debian's archive keys are not installed", reason="tool-missing",
            hint="apt-get install debian-archive-keyring",
        )
    with scratch(work, "debian") as folder:
        tar = folder / "root.tar"
        run(["mmdebstrap", "--quiet", "--variant=apt", SUITE, str(tar)], log=log, reason="debian-unreachable",
            hint="is Debian's archive (deb.debian.org) reachable? Read the log")
        engine.call("import", "--quiet", str(tar), DEBIAN, log=log)


def find_kernels(engine: Engine, arch: str, count: int, log: Path) -> list[str]:
    """`count` kernels that Debian's archive has now, oldest first.

    The newest of each series, then the next newest of the oldest series; never a
    fixed ABI number, because old ones leave the archive.
    """
    flavour = _FLAVOURS[arch]
    listing = in_debian(engine, f"apt-cache search --names-only '^linux-(headers|image)-[0-9].*-{flavour}$'", log)
    return choose_kernels(listing, flavour, count)


def choose_kernels(listing: str, flavour: str, count: int) -> list[str]:
    """From apt-cache's listing; OutsideError when there are too few."""
    pattern = re.compile(rf"^linux-(headers|image)-([0-9]+\.[0-9]+\.[0-9]+\S*-{flavour})\b", re.MULTILINE)
    packages: dict[str, set[str]] = defaultdict(set)
    for kind, kernel in pattern.findall(listing):
        packages[kernel].add(kind)
    whole = sorted((kernel for kernel, kinds in packages.items() if len(kinds) == 2), key=version_key)  # noqa: PLR2004
    series: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for kernel in whole:
        series[version_key(kernel)[:2]].append(kernel)
    chosen = [kernels[-1] for kernels in series.values()][-count:]
    spare = [kernel for kernel in reversed(whole) if kernel not in chosen]
    oldest = [kernel for kernel in spare if version_key(kernel)[:2] == min(series, default=())]
    chosen += [*oldest, *(kernel for kernel in spare if kernel not in oldest)][: count - len(chosen)]
    if len(chosen) < count:
        raise OutsideError(
            f"Debian's archive offers {len(chosen)} kernels of flavour {flavour}, {count} are wanted",
            reason="kernels-missing", hint="set fewer `sandbox.kernels` in config/profiles/sandbox.yaml",
        )
    return sorted(chosen, key=version_key)


def build_toolkits(engine: Engine, kernels: Sequence[str], recipes: Path, work: Path, log: Path) -> list[Toolkit]:
    """Build and push one toolkit a kernel; removes the local images again."""
    _build(engine, recipes, _TOOLCHAIN, {"BASE": DEBIAN}, log, target="toolchain")
    try:
        with ThreadPoolExecutor(max_workers=2) as pool:
            return list(pool.map(lambda kernel: _toolkit(engine, kernel, recipes, work, log), kernels))
    finally:
        engine.remove_image(_TOOLCHAIN)


def in_debian(engine: Engine, command: str, log: Path, mount: Path | None = None) -> str:
    """What a shell command prints in a Debian container with fresh package lists; `mount` appears at /out."""
    volumes = [f"--volume={mount.absolute()}:/out"] if mount else []
    with engine.container("debian") as name:
        done = engine.call(
            "run", f"--name={name}", "--rm", "--pull=never", "--network=host", "--security-opt=label=disable",
            f"--label={engine.label}", *volumes, DEBIAN, "/bin/sh", "-c", f"apt-get -qq update && {command}",
            starts=True, reason="debian-unreachable", hint="is Debian's archive (deb.debian.org) reachable?",
        )
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ {command}\n{done.stdout}{done.stderr}")
    return done.stdout


def push(engine: Engine, image: str, name: str, work: Path, log: Path) -> str:
    """Push a local image as ``REGISTRY/name`` and return ``REGISTRY/repository@sha256:…``; the local one goes."""
    with scratch(work, "push") as folder:
        digest_file = folder / "digest"
        # Unlike a pull, a push is not redirected by registries.conf: it needs the address itself.
        target = f"docker://{engine.registries[REGISTRY]}/{name}"
        engine.call("push", "--quiet", "--tls-verify=false", f"--digestfile={digest_file}", image, target, log=log)
        digest = digest_file.read_text(encoding="utf-8").strip()
    engine.remove_image(image)
    return f"{REGISTRY}/{name.rpartition(':')[0]}@{digest}"


def _toolkit(engine: Engine, kernel: str, recipes: Path, work: Path, log: Path) -> Toolkit:
    tag = image_tag("", kernel).removeprefix("-")
    image = f"{_PREFIX}/driver-toolkit:{tag}"
    own_log = log.with_name(f"toolkit-{tag}.log")
    own_log.unlink(missing_ok=True)
    _build(engine, recipes, image, {"BASE": DEBIAN, "KERNEL": kernel}, own_log)
    return Toolkit(kernel, push(engine, image, f"driver-toolkit:{tag}", work, own_log))


def _build(engine: Engine, recipes: Path, image: str, arguments: dict[str, str], log: Path, target: str = "") -> None:
    engine.call(
        "build", "--quiet", "--pull=never", "--network=host", "--layers=true", "--force-rm", f"--tag={image}",
        *([f"--target={target}"] if target else []),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        f"--file={recipes / 'Containerfile.debian'}", str(recipes),
        starts=True, log=log, reason="toolkit-build-failed", hint="read the log",
    )
