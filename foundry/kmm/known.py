"""What is wrong in manifests by what this library knows: its images, which kernels releases have, what boots showed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from foundry.base.errors import FoundryError
from foundry.base.references import Reference, parse_reference
from foundry.kmm.objects import At, Finding
from foundry.kmm.rules import ANY_KERNEL, Wanted, filled, flavours, images, module_specs, varies
from foundry.plan.rows import Row


@dataclass(frozen=True)
class Known:
    """What is known.

    `rows` are the published images by repository (``host/path``); `refused` are digests that a boot refused since;
    `releases` are the kernels of releases. `secret`: the registry wants a login. `proofs`: images are booted.
    """

    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    releases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    secret: bool = False
    proofs: bool = False

    @property
    def kernels(self) -> list[str]:
        """All kernels that have an image or a release, each once."""
        found = [row.kernel for rows in self.rows.values() for row in rows]
        return sorted({*found, *(kernel for kernels in self.releases.values() for kernel in kernels)})

    def rows_of(self, reference: Reference) -> Sequence[Row] | None:
        """The images of its repository, also in a mirror of it; None where that is not one of this library."""
        found = self.rows.get(reference.name)
        if found is not None:
            return found
        return next((rows for name, rows in self.rows.items()
                     if reference.repository.endswith(f"/{name.partition('/')[2]}")
                     or reference.repository == name.partition("/")[2]), None)


def releases_in(at: At) -> list[str]:
    """The release that a ClusterVersion says the cluster has, or goes to."""
    if at["kind"].text != "ClusterVersion":
        return []
    wanted = at["spec"]["desiredUpdate"]["version"].text or at["status"]["desired"]["version"].text
    done = next((one["version"].text for one in at["status"]["history"] if one["state"].text == "Completed"), "")
    return [one for one in dict.fromkeys((done, wanted)) if one]


def findings(at: At, known: Known, kernels: Sequence[str]) -> Iterator[Finding]:
    """The mistakes of an object; `kernels` are those that nodes have or will have."""
    spec = module_specs(at)
    if spec is not None:
        sample = [*kernels, *known.kernels, *ANY_KERNEL]
        for mapping in spec["moduleLoader"]["container"]["kernelMappings"]:
            yield from flavours(mapping, sample)
    wanted = list(images(at))
    always = spec is not None and spec["moduleLoader"]["container"]["imagePullPolicy"].text == "Always"
    for one in wanted:
        if one.kernel or not varies(one.image):
            yield from (finding for finding in _image(
                one, filled(one.image, one.kernel) if one.kernel else one.image, known)
                if not (always and finding.rule == "tag"))
    if at["kind"].text == "DeviceConfig":
        yield from _version(at["spec"]["driversImage"], known)
    if at["kind"].text in ("Module", "ManagedClusterModule", "DeviceConfig", "BootModuleConfig"):
        yield from _covered(at, wanted, known, kernels)
        yield from _login(at, wanted, known)


def _rows(image: str, known: Known) -> tuple[Reference, Sequence[Row]] | None:
    try:
        reference = parse_reference(image)
    except FoundryError:
        return None
    rows = known.rows_of(reference)
    return (reference, rows) if rows is not None else None


def _of(reference: Reference, rows: Sequence[Row]) -> Row | None:
    if reference.digest:
        return next((row for row in rows if row.digest == reference.digest), None)
    return next((row for row in rows if reference.tag in row.tags), None)


def _image(one: Wanted, image: str, known: Known) -> Iterator[Finding]:
    """What is wrong with an image that is named outright."""
    found = _rows(image, known)
    if found is None:
        return
    reference, rows = found
    if not reference.tag and not reference.digest:
        return  # said by the rules of manifests
    row = _of(reference, rows)
    if row is None:
        now = next((row for row in rows if row.replaces is not None and row.replaces.digest == reference.digest), None)
        if now is not None and now.replaces is not None:
            yield one.at.says("replaced", f"it was replaced since ({now.replaces.reason})",
                              f"{reference.name}@{now.digest}")
        else:
            yield one.at.says("unpublished", f"the ledgers have no image {reference.tag or reference.digest}",
                              "`doit bundle` writes the images that there are")
        return
    if one.kernel and row.kernel != one.kernel:
        yield one.at.says("other-kernel", f"the image is of {row.kernel}, not of {one.kernel}",
                          "KMM copies the folder of the node's kernel, which this image has not")
    if not reference.digest:
        since = f", which was replaced since ({row.replaces.reason})" if row.replaces is not None else ""
        yield one.at.says("tag", f"a node keeps what it has under a tag{since}", f"{reference.name}@{row.digest}",
                          warning=row.replaces is None)
    if row.digest in known.refused:
        yield one.at.says("refused", "its kernel did not load it", "`doit status` says why")
    elif known.proofs and (row.proof is None or row.proof.get("outcome") != "proven"):
        yield one.at.says("unproven", "no boot has shown that its kernel loads it", "`doit boot` does", warning=True)


def _version(image: At, known: Known) -> Iterator[Finding]:
    """A driversImage of which no kernel has an image."""
    found = _rows(image.text, known) if image.text else None
    if found is not None and found[0].tag and not any(
        tag == found[0].tag or tag.startswith(f"{found[0].tag}-") for row in found[1] for tag in row.tags
    ):
        yield image.says("unpublished", f"the ledgers have no image of {found[0].tag} for any kernel",
                         "`doit status` shows what is published")


def _covered(at: At, wanted: Sequence[Wanted], known: Known, kernels: Sequence[str]) -> Iterator[Finding]:
    """Kernels of nodes that nothing is for; and those for which the name leads to no image, so that KMM waits."""
    place = _mapping_list(at)
    for kernel in kernels:
        fits = next((one for one in wanted if one.kernels(kernel)), None)
        if fits is None:
            why = "its kernel can be no tag" if at["kind"].text == "BootModuleConfig" else "no mapping fits it"
            yield place.says("not-covered", f"a node with {kernel} gets no module: {why}", "add a mapping for it")
            continue
        found = _rows(filled(fits.image, kernel), known)
        if found is not None and varies(fits.image) and _of(*found) is None:
            yield fits.at.says("unpublished", f"for {kernel} there is no image {found[0].tag}",
                               "KMM waits until there is: publish it before nodes get that kernel")


def _mapping_list(at: At) -> At:
    spec = module_specs(at)
    if spec is not None:
        return spec["moduleLoader"]["container"]["kernelMappings"]
    return at["spec"]["driversImage" if at["kind"].text == "DeviceConfig" else "kernelModuleImage"]


def _login(at: At, wanted: Sequence[Wanted], known: Known) -> Iterator[Finding]:
    spec = module_specs(at) or at["spec"]
    if not known.secret or "imageRepoSecret" in spec or at["kind"].text == "BootModuleConfig":
        return
    one = next((one for one in wanted if _rows(filled(one.image, ANY_KERNEL[0]), known) is not None), None)
    if one is not None:
        yield one.at.says("no-secret", "the profile says that this registry wants a login, and there is no"
                          " imageRepoSecret", "`imageRepoSecret: {name: …}`, a secret of the Module's namespace")


