"""Stage kit: all that a site without a network needs of a driver, in one tar: an OCI layout with files beside it.

Format: OCI image layout specification, version 1; a tag is the annotation ``org.opencontainers.image.ref.name``. What
lies beside an image is as the distribution specification (1.1) has it in registries that keep no referrers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.attest.documents import bundle_of
from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, read_file, scratch, sha256_bytes, sha256_file
from foundry.base.names import CHECKSUMS_BUNDLE, CHECKSUMS_FILE, LEDGER_BUNDLE, LEDGER_FILE
from foundry.base.reasons import Reason
from foundry.base.records import output_facts, outputs_changed, read_record, write_record
from foundry.formats.attestations.bundle import make_file_bundle, parse_bundle, parse_statement, referring
from foundry.formats.images.layout import Gathered
from foundry.formats.images.manifest import OCI_INDEX, Descriptor
from foundry.formats.images.simple_signing import signature_tag
from foundry.formats.trees.sourcetar import tree_entries, write_tar
from foundry.ledger.attest import bundles_of
from foundry.ledger.ledgers import kept_ledger, ledger_file
from foundry.ledger.verify import MAX_IMAGE
from foundry.plan.cells import Cell
from foundry.plan.ledger import Ledger
from foundry.plan.rows import Row
from foundry.release import attested, bundle, source_tarballs
from foundry.release.unbuilt import withdrawn
from foundry.run.context import Foundry

if TYPE_CHECKING:
    from foundry.signing.image_key import ImageSigner

RECORD, LOG = "kit.json", "kit.log"
_FORM = 1  # of what is in it; another number makes it anew
_MAX_SIGNATURES = 4 << 20  # bytes
_PARTS = (attested.FOLDER, bundle.FOLDER)


def kit_file(foundry: Foundry, driver: str) -> Path:
    """Where the driver's kit is."""
    family = foundry.states.plan.families[driver].name
    return ledger_file(foundry, driver).with_name(f"{family}-{driver}-kit.tar")


def current(foundry: Foundry, driver: str) -> bool:
    """Whether the kit that is here has today's images, manifests, keys and sources; no network request."""
    ledger = foundry.states.ledger(driver)
    folder = ledger_file(foundry, driver).parent
    record = read_record(folder / RECORD, "kit")
    return (ledger is not None and record is not None and record["key"] == _key(foundry, ledger)
            and not outputs_changed(record, folder))


def kit(foundry: Foundry, driver: str) -> None:
    """Gather and write the kit; what was there stays where something can't be had.

    Raises FoundryError ``not-published`` where no image is in a registry, and what registries raise, and the sources.
    """
    source_tarballs.make(foundry, driver)
    ledger = kept_ledger(foundry, driver)
    refused = withdrawn(foundry, ledger)
    rows = [row for row in ledger.sorted_rows() if row.registries and row.digest not in refused]
    if not rows:
        raise FoundryError(f"{driver} has no image in a registry", reason=Reason.NOT_PUBLISHED,
                           hint=f"run `doit release:{driver}`")
    signer, dest = foundry.publishing_signer(), kit_file(foundry, driver)
    with scratch(dest.parent, "kit") as work:
        layout = Gathered(work / "kit")
        for row in rows:
            _add(foundry, ledger, row, layout)
        layout.close()
        for name, data in _files(foundry, ledger, rows[-1], signed=signer is not None).items():
            path = work / "kit" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        _sum(work / "kit", signer)
        package = foundry.config.locks.of(ledger.family).packages[driver]
        with (work / dest.name).open("wb") as sink:
            write_tar(sink, tree_entries(work / "kit"), top=dest.name.removesuffix(".tar"), mtime=package.build_time)
        (work / dest.name).replace(dest)
    write_record(dest.with_name(RECORD), "kit", {
        "driver": driver, "family": ledger.family, "key": _key(foundry, ledger), "inputs": {},
        "outputs": output_facts(dest.parent, [dest.name]),
    })


def _key(foundry: Foundry, ledger: Ledger) -> str:
    parts = [read_record(folder, stage.stage) for stage in _PARTS
             for folder in [ledger_file(foundry, ledger.driver).with_name(stage.record)]]
    return sha256_bytes(canonical_json([
        _FORM, sha256_bytes(ledger.to_bytes()), [part["key"] if part is not None else "" for part in parts],
        sorted(withdrawn(foundry, ledger)), foundry.config.image_key]))


def _add(foundry: Foundry, ledger: Ledger, row: Row, layout: Gathered) -> None:
    """An image, and what lies beside it."""
    from foundry.registry.push import fetch_content
    from foundry.registry.referrers import fallback_tag

    family = foundry.config.families[ledger.family]
    targets = [target for target in foundry.registries.targets(family.name) if target.is_in(row.registries)]
    if not targets:
        raise FoundryError(f"{row.tags[0]} is in none of the profile's registries, but in {', '.join(row.registries)}",
                           reason=Reason.NOT_PUBLISHED, hint=f"run `doit publish:{ledger.driver}`")
    place = foundry.registries.repository(targets[0])
    image = fetch_content(place.registry, place.repository, row.digest, MAX_IMAGE)
    layout.add(image.manifest, image.media_type, image.blobs, row.tags)
    if not row.image_signer:
        return
    there = fetch_content(place.registry, place.repository, signature_tag(row.digest), _MAX_SIGNATURES)
    layout.add(there.manifest, there.media_type, there.blobs, [signature_tag(row.digest)])
    cell = Cell(ledger.driver, family, row.kernel, row.arch, row.releases, row.toolkit)
    entries = []
    for one in bundles_of(foundry, cell, row):
        manifest, blobs, entry = referring(
            one, _kind(one), Descriptor(image.media_type, image.digest, len(image.manifest)))
        layout.add(manifest, entry["mediaType"], blobs)
        entries.append(entry)
    listed = canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    layout.add(listed, OCI_INDEX, {}, [fallback_tag(row.digest)])


def _kind(one: bytes) -> str:
    signed = parse_bundle(one)
    said = parse_statement(signed.payload) if signed is not None else None
    return said.predicate_type if said is not None else ""


def _files(foundry: Foundry, ledger: Ledger, row: Row, *, signed: bool) -> dict[str, bytes]:
    """What lies beside the layout: ledger, manifests, keys and policies, sources, and what to do with it."""
    folder = ledger_file(foundry, ledger.driver).parent
    found = {LEDGER_FILE: ledger.to_bytes()}
    if signature := bundle_of(foundry, found[LEDGER_FILE], folder / LEDGER_BUNDLE):
        found[LEDGER_BUNDLE] = signature
    for part in _PARTS:
        found |= {path.relative_to(folder).as_posix(): read_file(path)
                  for path in sorted((folder / part.name).rglob("*")) if path.is_file()}
    found |= {f"sources/{name}": read_file(folder / name)
              for name in source_tarballs.tarballs(foundry, ledger.driver, ledger)}
    repository = row.registries[0]
    name = kit_file(foundry, ledger.driver).name
    return {**found, "README.md": _readme(name, repository, row.tags[0], signed=signed).encode()}


def _sum(folder: Path, signer: ImageSigner | None) -> None:
    listed = "".join(f"{sha256_file(path)}  {name}\n" for name, path in _all(folder)).encode()
    (folder / CHECKSUMS_FILE).write_bytes(listed)
    if signer is not None:
        (folder / CHECKSUMS_BUNDLE).write_bytes(make_file_bundle(listed, signer.sign, signer.public.fingerprint))


def _all(folder: Path) -> Iterator[tuple[str, Path]]:
    yield from sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def _readme(file: str, repository: str, tag: str, *, signed: bool) -> str:
    host, _, path = repository.partition("/")
    top = file.removesuffix(".tar")
    return f"""# {top}

All of a driver for a site without a network: images for all its kernels{_SIGNED if signed else ""},
manifests for clusters (`kmm/`) and the sources that the licences ask for (`sources/`). It is an OCI layout.

{_PROVE.format(top=top) if signed else _SUM.format(top=top)}
## Into a registry

With kmod-foundry, which proves everything before, and what has arrived after:

```sh
doit kit:load {'--key=image.pub ' if signed else '--unsigned '}{file} mirror.example.com/drivers
```

Or with what is there, an image at a time:

```sh
skopeo copy oci:{top}:{tag} docker://mirror.example.com/drivers/{path}:{tag}
oras cp --recursive --from-oci-layout {top}:{tag} mirror.example.com/drivers/{path}:{tag}
```

(`oras` takes along what lies beside the image.)

## Into a cluster

`kmm/overlays/example` names the images in a mirror: put yours into it. Or leave `kmm/` as it is and apply
`kmm/mirror/mirror-sets.yaml`, by which nodes look for `{host}` in the mirror.
"""


_SIGNED = (", with signatures and\nsigned statements beside each; keys and policies (`verify/`)")
_SUM = """## Is it whole?

```sh
cd {top} && sha256sum --check --quiet SHA256SUMS
```

Nothing in it is signed.
"""
_PROVE = """## Is it what we made?

Have the public key (`image.pub`) from where you trust it, not from here.

```sh
cosign verify-blob --new-bundle-format --key image.pub --insecure-ignore-tlog=true \\
    --trusted-root {top}/verify/trusted_root.json --bundle {top}/SHA256SUMS.sigstore.json {top}/SHA256SUMS
cd {top} && sha256sum --check --quiet SHA256SUMS
```

With kmod-foundry, images and statements, too: `doit verify --offline={top} --key=image.pub`.
"""
