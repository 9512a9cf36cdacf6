"""The notes of a driver's release: Markdown made from its ledger alone and a few facts; the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import quote

from foundry.base.errors import FoundryError
from foundry.base.markdown import cell, code, words
from foundry.base.names import BUNDLE_FILE, CHECKSUMS_FILE, LEDGER_FILE, SIGNING_FILE, TABLES_FILE
from foundry.base.plain_text import plain
from foundry.base.reasons import Reason
from foundry.base.versions import version_key
from foundry.formats.packages.sideeffect import HostSideEffect
from foundry.plan.ledger import Ledger
from foundry.plan.rows import Row

_IN_LINKS = "/:?&=%#+,;@~-._"


@dataclass(frozen=True)
class Unbuilt:
    """A cell that was tried and can't be built, or whose kernel does not load its modules: why, in one line.

    `withdrawn` is the digest of an image that was published before its kernel was asked; it is in no list.
    """

    kernel: str
    releases: tuple[str, ...]
    why: str
    published: bool  # an image of an earlier state is there
    withdrawn: str = ""


@dataclass(frozen=True)
class Served:
    """The releases of an image, by kernel and architecture: those that the matrix wants now, and further ones."""

    kernel: str
    arch: str
    wanted: tuple[str, ...]
    also: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What the notes say besides the ledger. `registries` are where images are looked for first, in order."""

    title: str
    modules: tuple[str, ...]
    registries: tuple[str, ...]
    package: str
    package_url: str
    package_license: str
    content_sha256: str
    fingerprint: str
    base: str
    busybox: str
    sources: tuple[str, ...]  # file names of the source tarballs
    unbuilt: tuple[Unbuilt, ...] = ()
    unproven: tuple[Unbuilt, ...] = ()  # built, but their kernels did not load them
    certificate: str = ""  # SHA-256 of the one beside the release; empty: there is none
    manifest: str = ""  # KMM's Modules for the newest image, as YAML; empty where none is in a registry
    further: tuple[tuple[str, str], ...] = ()  # further packages: file name and content's SHA-256
    left_out: tuple[HostSideEffect, ...] = ()
    remarks: tuple[str, ...] = ()
    served: tuple[Served, ...] = ()

    @cached_property
    def _served(self) -> Mapping[tuple[str, str], Served]:
        return {(one.kernel, one.arch): one for one in self.served}

    def of(self, row: Row) -> Served:
        """The releases of a row's image; without facts those that it was published for."""
        return self._served.get((row.kernel, row.arch)) or Served(row.kernel, row.arch, row.releases, ())


@dataclass(frozen=True)
class Notes:
    """The text, and the long tables where they did not fit into it; else empty."""

    text: str
    tables: str = ""


def make_notes(ledger: Ledger, facts: Facts, room: int) -> Notes:
    """Notes of at most `room` characters. FoundryError ``notes-too-long`` where even the short ones don't fit."""
    withdrawn = {one.withdrawn for one in facts.unproven}
    ledger = replace(ledger, rows={place: row for place, row in ledger.rows.items() if row.digest not in withdrawn})
    long = [_available(ledger, facts), _by_release(ledger, facts), _news(ledger, facts), _unbuilt(facts),
            _unproven(facts)]
    head, tail = _head(ledger, facts), [_left_out(facts), _sources(ledger, facts)]
    text = _joined([head, *long, *tail])
    if len(text) <= room:
        return Notes(text)
    title = f"# {facts.title} {ledger.driver}: images"
    tables = _joined([[title], *long])
    text = _joined([head, _short(ledger, facts), *tail])
    if len(text) > room:
        raise FoundryError(
            f"the notes of {ledger.driver} don't fit into {room} characters", reason=Reason.NOTES_TOO_LONG,
            hint="shorten your own text around kmod-foundry's section of the release",
        )
    return Notes(text, tables)


def pull_specs(row: Row, facts: Facts) -> list[str]:
    """Where the image is, by digest; registries that publish today come first."""
    places = sorted(row.registries, key=lambda name: (_rank(name, facts), name))
    return [f"{name}@{row.digest}" for name in places] or [f"image.oci.tar@{row.digest}"]


def _rank(name: str, facts: Facts) -> int:
    return facts.registries.index(name) if name in facts.registries else len(facts.registries)


def _head(ledger: Ledger, facts: Facts) -> list[str]:
    rows = ledger.sorted_rows()
    kernels, releases = {row.kernel for row in rows}, {name for row in rows for name in facts.of(row).wanted}
    modules = ", ".join(f"`{name}`" for name in facts.modules)
    lines = [
        f"Container images with the kernel modules of the {facts.title} {ledger.driver} (family `{ledger.family}`;"
        f" {'module' if len(facts.modules) == 1 else 'modules'} {modules}), each compiled for one kernel of OpenShift"
        f" nodes, to be loaded by the Kernel Module Management operator (KMM):"
        f" {_count(len(rows), 'image')} for {_count(len(kernels), 'kernel')} of {_count(len(releases), 'release')}.",
    ]
    if facts.manifest:
        lines += ["", "## How to use them", "", *_usage(facts)]
    return lines


def _usage(facts: Facts) -> Iterator[str]:
    yield "Let KMM choose the image by the node's kernel, with a `Module` such as (here with the newest image alone):"
    yield from ("", "```yaml", *facts.manifest.splitlines(), "```", "")
    yield f"`{BUNDLE_FILE}` has it with all images, by digest, for `kubectl apply -k`."


def _available(ledger: Ledger, facts: Facts) -> list[str]:
    lines = ["## Available Images", ""]
    for row in ledger.sorted_rows():
        served = facts.of(row)
        releases = ", ".join(_sorted(served.wanted)) or "none"
        lines.append(f"- {code(row.tags[0])} (compatible with OCP: {releases})")
        lines += [f"  - {code(spec)}" for spec in pull_specs(row, facts)]
        if row.depends:
            lines.append(f"  - needs of the kernel's own modules: {', '.join(map(code, row.depends))}")
        lines += [f"  - {text}" for text in _exceptions(row, ledger, facts)]
        if served.also:
            lines.append(f"  - also serves {', '.join(_sorted(served.also))}, which the matrix does not name")
    return lines if ledger.rows else [*lines, "None yet."]


def _exceptions(row: Row, ledger: Ledger, facts: Facts) -> Iterator[str]:
    """What is so of this image's modules, and not as the notes say it of all."""
    proof, main = row.proof, _main_certificate(ledger, facts)
    if proof is None and _proven(ledger):
        yield "not booted"
    elif proof is not None and proof["outcome"] != "proven":
        yield f"unproven: {code(proof.get('fault', ''))}"
    if proof is not None and proof.get("warnings"):
        yield f"when it was booted, the kernel warned: {code(proof['warnings'][0])}"
    if row.signature is None and main:
        yield "not signed"
    elif row.signature is not None and row.signature["certificate"] != main:
        yield f"signed by {code(row.signature['signer'])}, whose certificate is in the image:" \
              f" SHA-256 `{row.signature['certificate']}`"


def _main_certificate(ledger: Ledger, facts: Facts) -> str:
    """The SHA-256 of the certificate that the notes tell of: that beside the release, else that of most images."""
    found = [row.signature["certificate"] for row in ledger.sorted_rows() if row.signature is not None]
    return facts.certificate if facts.certificate in found else max(found, key=found.count, default="")


def _proven(ledger: Ledger) -> list[Row]:
    """The images whose kernels loaded their modules."""
    return [row for row in ledger.sorted_rows() if row.proof is not None and row.proof["outcome"] == "proven"]


def _by_release(ledger: Ledger, facts: Facts) -> list[str]:
    places = [(release, row) for row in ledger.sorted_rows() for release in facts.of(row).wanted]
    places.sort(key=lambda pair: version_key(pair[0]))
    if not places:
        return []
    lines = ["## Images by OpenShift release", ""]
    if len({release for release, _ in places}) < len(places):
        lines += ["A release with several kernels has a line for each: a real-time kernel, one of a second node image,"
                  " or that of another architecture. A node takes the image of the kernel that it runs.", ""]
    lines += ["| OpenShift | kernel | image |", "|---|---|---|"]
    for release, row in places:
        where = pull_specs(row, facts)[0].partition("@")[0]
        image = f"{where}:{row.tags[0]}"
        lines.append(f"| {release} | {cell(row.kernel)} | {cell(image)} |")
    return lines


def _news(ledger: Ledger, facts: Facts) -> list[str]:
    """What the newest revision changed; of the first one everything is new."""
    revised = [(row, row.revision) for row in ledger.sorted_rows() if row.revision is not None]
    rows = [(row, revision.was) for row, revision in revised if revision.number == ledger.revision]
    if not rows:
        return []
    lines = ["## What is new", ""]
    for row, was in rows:
        releases = ", ".join(_sorted(row.releases))
        if was is None:
            lines.append(f"- new: {code(row.tags[0])} ({releases})")
            continue
        added = _sorted(set(row.releases) - set(was.releases))
        gone = _sorted(set(was.releases) - set(row.releases))
        what = []
        if was.digest != row.digest:
            what.append(f"rebuilt ({_why(row)}), before: `{was.digest}`")
        what += [f"now also for {', '.join(added)}"] if added else []
        what += [f"no longer for {', '.join(gone)}"] if gone else []
        lines.append(f"- {code(row.tags[0])}: {'; '.join(what)}")
    return lines


def _why(row: Row) -> str:
    return words(row.replaces.reason) if row.replaces is not None else "its inputs changed"


def _unbuilt(facts: Facts) -> list[str]:
    if not facts.unbuilt:
        return []
    return ["## Known not to build", "", *map(_why_not, facts.unbuilt)]


def _unproven(facts: Facts) -> list[str]:
    if not facts.unproven:
        return []
    return ["## Not loaded by their kernel", "",
            "These are built, and not published: no boot of their own kernel loaded them.", "",
            *map(_why_not, facts.unproven)]


def _why_not(one: Unbuilt) -> str:
    image = "; the image above is of an earlier state" if one.published else ""
    if one.withdrawn:
        image = f"; the image `{one.withdrawn}` was published before that was known"
    return f"- {code(one.kernel)} ({', '.join(one.releases)}): {code(one.why)}{image}"


def _short(ledger: Ledger, facts: Facts) -> list[str]:
    """In place of the long tables: a line a minor release, and where the tables are."""
    counts: dict[str, int] = {}
    for row in ledger.rows.values():
        for minor in {".".join(release.split(".")[:2]) for release in facts.of(row).wanted}:
            counts[minor] = counts.get(minor, 0) + 1
    lines = ["## Available Images", "", f"The list of all images is too long for this page: see the asset"
             f" `{TABLES_FILE}`, or `{LEDGER_FILE}` for programs.", "", "| OpenShift | images |", "|---|---|"]
    lines += [f"| {minor} | {counts[minor]} |" for minor in _sorted(counts)]
    if facts.unbuilt:
        lines += ["", f"{_count(len(facts.unbuilt), 'kernel')} can't be built for; `{TABLES_FILE}` says why."]
    if facts.unproven:
        lines += ["", f"{_count(len(facts.unproven), 'kernel')} did not load what was built for them;"
                      f" `{TABLES_FILE}` says why."]
    return lines


def _left_out(facts: Facts) -> list[str]:
    """What a node would get from the package and does not get from an image."""
    if not facts.left_out and not facts.remarks:
        return []
    lines = ["## Not part of the image", ""]
    if facts.left_out:
        lines += ["The vendor's package would do this on a node, too. An image can't: see to it yourself where you"
                  " need it.", ""]
    for one in facts.left_out:
        lines.append(f"- {words(one.kind)}: " + (f"{code(one.text)} (in {code(one.where)})" if one.text
                                                 else code(one.where)))
    lines += [f"- {code(remark)}" for remark in facts.remarks]
    return lines


def _boots(ledger: Ledger) -> Iterator[str]:
    """What the images' kernels showed, as far as that is common to them."""
    rows = _proven(ledger)
    proofs = [row.proof for row in rows if row.proof is not None]
    if not proofs:
        if ledger.rows:
            yield "- No image's kernel was booted to load its modules; they were compared with the symbols it exports."
        return
    unloaded = all(any(check["name"] == "unloads" for check in proof.get("checks", ())) for proof in proofs)
    signed = all(row.signature is not None for row in rows)
    but = " (but for those that say otherwise above)" if len(proofs) < len(ledger.rows) else ""
    secure = " with UEFI Secure Boot" if all(proof.get("secure_boot") for proof in proofs) else ""
    done = "loaded and unloaded the very modules that are in it, twice" if unloaded else "loaded the very modules in it"
    shown = f"load{' and unload' if unloaded else ''}, with their symbols{' and their signature' if signed else ''}"
    yield f"- Each image's own kernel{but} was booted in a virtual machine{secure} and {done}. That shows" \
          f" that they {shown}. There was no hardware: no device was probed."
    for text in dict.fromkeys(text for proof in proofs for text in _refusals(proof)):
        yield f"- In that machine an init refused: {code(text)}."


def _signer(ledger: Ledger, facts: Facts) -> Iterator[str]:
    main = _main_certificate(ledger, facts)
    found = [row.signature for row in ledger.sorted_rows() if row.signature is not None]
    said = next((one for one in found if one["certificate"] == main), None)
    if said is not None:
        beside = f"`{SIGNING_FILE}` here and " if facts.certificate else ""
        yield f"- The modules are signed by {code(said['signer'])} ({words(said['hash'])}). The certificate is" \
              f" {beside}`/licenses/{SIGNING_FILE}` in the images, its SHA-256 `{main}`: nodes whose kernel insists" \
              " on signatures must trust it."


def _refusals(proof: Mapping[str, Any]) -> list[str]:
    """Of modules that loaded as far as their init, which refused as the family says that it may without hardware."""
    said = {name: {check["detail"].partition(":")[0].replace("-", "_"): check["detail"]
                   for check in proof.get("checks", ()) if check["name"] == name} for name in ("loads", "lives")}
    return [detail for name, detail in said["loads"].items() if name not in said["lives"]]


def _sources(ledger: Ledger, facts: Facts) -> list[str]:
    tarballs = ", ".join(f"`{name}`" for name in facts.sources) or "none"
    lines = [
        "## Sources and proofs", "",
        f"- Driver package: {code(facts.package)}{_download(facts.package_url)},"
        f" licence {words(facts.package_license)}; SHA-256 of its content `{facts.content_sha256}`, as locked.",
    ]
    if facts.fingerprint:
        lines.append(f"- The package's signature was verified with the key `{facts.fingerprint}`.")
    return [
        *lines, *_boots(ledger), *_signer(ledger, facts),
        *(f"- Further package: {code(name)}; SHA-256 of its content `{sha256}`." for name, sha256 in facts.further),
        f"- Base image: {code(facts.base)}" + (f", BusyBox {words(facts.busybox)}." if facts.busybox else "."),
        f"- Source tarballs of what is in the images, as the GPL asks for: {tarballs}.",
        f"- `{LEDGER_FILE}` has keys, digests and toolkits of all images; `{CHECKSUMS_FILE}` has all files' checksums.",
    ]


def _download(url: str) -> str:
    """A link to the package, where there is one that a browser follows."""
    return f" ([download]({quote(url, safe=_IN_LINKS)}))" if url.startswith(("https://", "http://")) else ""


def _joined(sections: Iterable[Sequence[str]]) -> str:
    return plain("\n\n".join("\n".join(lines).strip() for lines in sections if lines) + "\n")


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=version_key)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
