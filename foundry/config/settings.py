"""The settings: the defaults with the profile's changes, as one value.

The classes are schemas/settings.schema.json, field by field. What config/defaults.yaml always says has no default here
(schemas/defaults.schema.json).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from foundry.base.errors import Fault
from foundry.config.signing import ImageSigning, Signing


@dataclass(frozen=True)
class ImagePlace:
    """Where images go; both names may have fields in braces, and may be empty: nowhere."""

    registry: str
    repository: str
    create_repository: bool = False


@dataclass(frozen=True)
class Releases:
    """Where `doit toolkit` finds releases; `timeout` is in seconds for all of it.

    `repository` has the release images, `images` those that they are made of; `signatures` is as the file has it, and
    empty where signatures are not looked at.
    """

    source: str
    graph: str
    channels: tuple[str, ...]
    tags: str
    repository: str
    images: tuple[str, ...]
    exclude: tuple[str, ...]
    parallel: int
    timeout: int
    toolkits: str
    signatures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CustomToolkits:
    """Custom toolkits: recipes by name, the file of the kernel list, where they are published, the first minor."""

    recipes: tuple[str, ...]
    kernels: str
    publish: ImagePlace
    since: str


@dataclass(frozen=True)
class Kmm:
    """What manifests say of the cluster: the Modules' namespace, the pull secret there, a mirror (``host/path``).

    `version` is the cluster's KMM (``2.4``); `fallback`: kernels that are not listed take the tag that they would have.
    `boot_repository` (``host/path``, with ``{driver}`` and perhaps ``{family}``) has images under kernels' names alone.
    """

    namespace: str = ""
    image_repo_secret: str = ""
    mirror: str = ""
    version: str = ""
    fallback: bool = True
    boot_repository: str = ""


@dataclass(frozen=True)
class SandboxContent:
    """What the sandbox holds: stand-in versions, kernels, and which kernel (0 is the oldest) a release has.

    `rt` are the kernels whose toolkits have a real-time kernel of the same version, too; `families` the further
    ones, by name as the file has them.
    """

    versions: tuple[str, ...] = ()
    kernels: int = 0
    releases: Mapping[str, int] = field(default_factory=dict)
    rt: tuple[int, ...] = ()
    families: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """All settings; config/defaults.yaml says what each means. Timeouts are in seconds, disks in GiB.

    `family`, `families` and `toolkit_recipes` are parts of other files, which are read with them.
    """

    matrix: tuple[str, ...]
    drivers: tuple[str, ...]
    catalogue: str
    upgrades: str
    locks: str
    source: str
    default_family: str
    arch: tuple[str, ...]
    runners: Mapping[str, str]
    publish: tuple[ImagePlace, ...]
    mirror: ImagePlace
    extra_tags: tuple[str, ...]
    leave_tags: tuple[str, ...]
    github_repository: str
    keep_images: bool
    max_disk: float
    keep_toolkits: bool
    parallel: int
    compile_timeout: int
    compile_disk: float
    compile_memory: float
    compile_processes: int
    network_timeout: int
    proof: str
    secure_boot: bool
    boot_timeout: int
    releases: Releases
    toolkits: CustomToolkits
    signing: Signing
    image_signing: ImageSigning
    image_repository: str
    source_url: str
    family: Mapping[str, Any]
    further_matrix: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, Any] = field(default_factory=dict)
    toolkit_recipes: Mapping[str, Any] = field(default_factory=dict)
    services: str = ""
    kmm: Kmm = field(default_factory=Kmm)
    sandbox: SandboxContent = field(default_factory=SandboxContent)

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Settings:
        """From the defaults and a profile, both checked."""
        toolkits = _fields(document["toolkits"])
        return Settings(**{
            **_fields(document),
            "publish": tuple(ImagePlace(**one) for one in document["publish"]),
            "proof": document["proof"] or "off",  # YAML takes the word for "no"
            "mirror": ImagePlace(**document["mirror"]),
            "releases": Releases(**_fields(document["releases"])),
            "toolkits": CustomToolkits(**{**toolkits, "publish": ImagePlace(**toolkits["publish"])}),
            "signing": Signing(**document["signing"]),
            "image_signing": ImageSigning(**_fields(document["image_signing"])),
            "kmm": Kmm(**document.get("kmm", {})),
            "sandbox": SandboxContent(**_fields(document.get("sandbox", {}))),
        })


def sandbox_faults(sandbox: Mapping[str, Any], families: Collection[str], file: str) -> Iterator[Fault]:
    """What ``services: sandbox`` needs and `sandbox` does not say, or names in vain; `file` is the profile's."""
    needed = ("versions", "kernels", "releases")
    yield from (Fault(file, f"$.sandbox.{name}", "is missing: `services: sandbox` needs it")
                for name in needed if name not in sandbox)
    numbers = {f"$.sandbox.releases.{release}": number for release, number in sandbox.get("releases", {}).items()}
    numbers |= {f"$.sandbox.rt[{index}]": number for index, number in enumerate(sandbox.get("rt", ()))}
    kernels = sandbox.get("kernels")
    yield from (Fault(file, path, f"there is no kernel {number}: `kernels` is {kernels}, and the first one is 0")
                for path, number in numbers.items() if kernels is not None and number >= kernels)
    yield from (Fault(file, f"$.sandbox.families.{name}", "there is no such family")
                for name in sandbox.get("families", {}) if name not in families)


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
