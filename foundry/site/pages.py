"""The pages of the site: from the library's data, by templates in ``site/`` that escape every value."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from foundry.base.files import pretty_json, read_file
from foundry.base.names import tag_of
from foundry.base.versions import minor_of, version_key
from foundry.config.catalogue import FLAVOURS
from foundry.site.index import Data

TEMPLATES, STATIC = "site/templates", "site/static"
_MOST_NEWS = 100
_LETTER, _MARGIN = 6.5, 10  # px of a badge
_NEVER = "1970-01-01T00:00:00Z"

Context = dict[str, Any]


def files(root: Path, library: Data, trouble: Sequence[str] = ()) -> dict[str, bytes]:
    """The site's files by name. `trouble` is said at the top of the first page."""
    environment = Environment(
        loader=FileSystemLoader(root / TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True)
    render = partial(_render, environment)
    drivers = [_driver(one, library) for one in library["drivers"]]
    found = {
        "index.html": render("index.html", **_index(library, drivers), trouble=list(trouble), up=""),
        "feed.xml": render("feed.xml", **_feed("Kernel modules: all drivers", "all", "index.html", drivers)),
        "index.json": pretty_json(library),
        "data.js": b"window.published = " + json.dumps(library, separators=(",", ":"), sort_keys=True).replace(
            "</", "<\\/").encode() + b";\n",
        **{name: read_file(root / STATIC / name) for name in ("site.css", "site.js")},
    }
    for one in drivers:
        name = f"{one['family']} {one['version']}"
        found[one["page"]] = render("driver.html", driver=one, up="../")
        found[one["feed"]] = render("feed.xml", **_feed(
            f"Kernel modules: {name}", name, f"{one['name']}.html", [one]))
        found[one["badge"]], found[one["shield"]] = _badge(render, one)
    for version, places in _by_release(library).items():
        found[_page(version)] = render("release.html", **_release(version, places, library, drivers), up="../")
    return found


def _render(environment: Environment, template: str, **context: Any) -> bytes:
    return environment.get_template(template).render(**context).encode()


def _page(release: str) -> str:
    return f"releases/{tag_of(release)}.html"


def _anchor(kernel: str, arch: str) -> str:
    return f"{tag_of(kernel)}.{arch}"


def _driver(one: Data, library: Data) -> Context:
    name = tag_of(f"{one['family']}-{one['version']}")
    known = {release["version"] for release in library["releases"]}
    return {
        "package": None, "release": "", **one, "name": name, "page": f"drivers/{name}.html",
        "feed": f"drivers/{name}.xml", "badge": f"drivers/{name}.svg", "shield": f"drivers/{name}.json",
        "served": {(image["kernel"], image["arch"]) for image in one["images"]},
        "why": {(lack["kernel"], lack["arch"]): lack["why"] for lack in one["missing"]},
        "changes": list(_changes(one)),
        "images": [{
            "proof": None, "modules_signed_by": "", "image_signed_by": "", "depends": (), "replaces": None, **image,
            "anchor": _anchor(image["kernel"], image["arch"]), "manifest": manifest(one, [image]),
            "releases": [{"version": release, "page": _page(release)} for release in image["releases"]
                         if release in known],
        } for image in one["images"]],
    }


def manifest(driver: Data, images: Sequence[Data]) -> str:
    """KMM's Modules for these images, each kernel by digest."""
    texts = []
    for one in driver["manifests"]:
        mappings = [one["mapping"].replace(one["kernel"], image["kernel"]).replace(one["image"], image["pull"][0])
                    for image in images]
        texts.append(one["before"] + "".join(mappings) + one["after"])
    return "---\n".join(texts)


def _changes(one: Data) -> Iterator[Context]:
    """What each revision of the ledger brought, as far as rows still tell; the newest first."""
    by_revision: dict[int, list[Data]] = defaultdict(list)
    for image in one["images"]:
        by_revision[image.get("since_revision", 0)].append(image)
    for number in sorted(by_revision, reverse=True):
        images = by_revision[number]
        parts = [f"{image['kernel']} ({image['replaces']['reason']})" if "replaces" in image else image["kernel"]
                 for image in images]
        yield {"revision": number, "when": max(image["published"] for image in images)[:10] or "not known when",
               "updated": max(image["published"] for image in images) or _NEVER,
               "text": f"{len(images)} {'image' if len(images) == 1 else 'images'}: {', '.join(parts)}"}


def _index(library: Data, drivers: Sequence[Context]) -> Context:
    rows = [{
        "version": release["version"], "minor": minor_of(release["version"]), "arch": release["arch"],
        "flavour": flavour, "kernel": kernel, "page": _page(release["version"]),
        "cells": [_cell(one, kernel, release["arch"], "") for one in drivers],
    } for release in library["releases"] for flavour, kernels in sorted(release["kernels"].items())
        for kernel in kernels]
    return {
        "drivers": drivers, "rows": rows, "releases": len({row["version"] for row in rows}),
        "images": sum(len(one["images"]) for one in drivers),
        "minors": sorted({row["minor"] for row in rows}, key=version_key, reverse=True),
        "arches": sorted({row["arch"] for row in rows}), "flavours": [name for name in FLAVOURS if any(
            row["flavour"] == name for row in rows)],
        "mismatches": [{**one, "page": _page(one["version"])} for one in library["releases"] if "mismatch" in one],
    }


def _cell(driver: Context, kernel: str, arch: str, up: str) -> Context:
    place = kernel, arch
    if place in driver["served"]:
        return {"href": f"{up}{driver['page']}#{_anchor(kernel, arch)}",
                "about": f"{driver['family']} {driver['version']} for {kernel}"}
    return {"href": "", "about": driver["why"].get(place) or "not known"}


def _by_release(library: Data) -> dict[str, list[Data]]:
    found: dict[str, list[Data]] = defaultdict(list)
    for one in library["releases"]:
        found[one["version"]].append(one)
    return found


def _release(version: str, places: Sequence[Data], library: Data, drivers: Sequence[Context]) -> Context:
    pages = _by_release(library)
    edges: Mapping[str, Any] = library["upgrades"]["edges"]
    after = {target: risks for arch in edges.values() for target, risks in arch.get(version, {}).items()}
    before = {source: targets[version] for arch in edges.values() for source, targets in arch.items()
              if version in targets}

    def linked(found: Mapping[str, Sequence[str]]) -> list[Context]:
        return [{"version": name, "page": _page(name), "risks": found[name]}
                for name in sorted(found, key=version_key, reverse=True) if name in pages]

    return {"version": version, "after": linked(after), "before": linked(before), "places": [{
        "arch": place["arch"], "mismatch": place.get("mismatch"), "kernels": _kernels(place), "rows": [{
            "name": f"{one['family']} {one['version']}", "page": one["page"],
            "cells": [_cell(one, kernel, place["arch"], "../") for kernel in _kernels(place)],
        } for one in drivers]} for place in places]}


def _kernels(place: Data) -> list[str]:
    return list(dict.fromkeys(kernel for _, kernels in sorted(place["kernels"].items()) for kernel in kernels))


def _feed(title: str, name: str, page: str, drivers: Sequence[Context]) -> Context:
    entries = [{
        "title": f"{one['family']} {one['version']}: {change['text'].partition(':')[0]}", "text": change["text"],
        "id": f"tag:kmod-foundry,2026:{one['name']}/{change['revision']}", "updated": change["updated"],
        "page": one["page"] if page == "index.html" else page,
    } for one in drivers for change in one["changes"]]
    entries.sort(key=lambda entry: (entry["updated"], entry["id"]), reverse=True)
    return {"title": title, "id": f"tag:kmod-foundry,2026:{tag_of(name)}", "page": page,
            "updated": entries[0]["updated"] if entries else _NEVER, "entries": entries[:_MOST_NEWS]}


def _badge(render: Any, one: Context) -> tuple[bytes, bytes]:
    """As a picture, and as what shields.io takes (its "endpoint" badge)."""
    label, count = f"{one['family']} {one['version']}", len(one["images"])
    message = f"{count} {'kernel' if count == 1 else 'kernels'}"
    left, right = (round(len(text) * _LETTER + 2 * _MARGIN) for text in (label, message))
    picture = render("badge.svg", label=label, message=message, left=left, width=left + right,
                     colour="#0f6b33" if count else "#8a1f11")
    return picture, pretty_json({"schemaVersion": 1, "label": label, "message": message,
                                 "color": "green" if count else "red"})
