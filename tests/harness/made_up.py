"""A made-up library of any size, as the site's data, and strangers' texts in it."""

from __future__ import annotations

import hashlib
from typing import Any

EVIL = '</script><script>alert(1)</script>"\'><img src=x onerror=alert(1)>&lt;{{ 7 * 7 }}{% raw %}'


def digest(*parts: object) -> str:
    return "sha256:" + hashlib.sha256(repr(parts).encode()).hexdigest()


def made_up(drivers: int, releases: int, kernels: int, *, text: str = "Example driver") -> dict[str, Any]:
    """Each release has one of the kernels; a driver lacks every seventh one."""
    names = [f"5.14.0-{400 + number}.1.1.el9_{number % 7}.x86_64" for number in range(kernels)]
    versions = [f"4.{16 + number % 6}.{number // 6 + 1}" for number in range(releases)]
    of = {version: names[number * kernels // releases] for number, version in enumerate(versions)}
    made = []
    for driver in range(drivers):
        place = f"registry.example.com/team/driver-{driver}"
        images = [{
            "kernel": kernel, "arch": "x86_64", "digest": digest(driver, kernel), "tags": [f"2.{driver}.0-{kernel}"],
            "pull": [f"{place}@{digest(driver, kernel)}"], "toolkit": f"quay.io/dtk@{digest(kernel)}",
            "releases": [version for version, name in of.items() if name == kernel],
            "key": digest("key", driver, kernel)[7:], "published": "2026-11-02T10:00:00Z", "size": 1_000_000,
            "patches": ["guard"], "attestations": {"provenance": digest("p", driver, kernel)[7:]},
            "proof": {"outcome": "proven", "checks": ["loads", "unloads"]}, "modules_signed_by": text,
            "image_signed_by": digest("signer")[7:], "since_revision": 1 + number % 3,
        } for number, kernel in enumerate(names) if (number + driver) % 7]
        made.append({
            "family": f"family{driver}", "title": text, "version": f"2.{driver}.0", "modules": ["example"],
            "revision": 3, "updated": "2026-11-02T10:00:00Z", "release": "https://github.com/a/b/releases/tag/x",
            "package": {"file": f"{text}.rpm", "sha256": digest(driver)[7:], "license": text}, "sources": ["a.tar.gz"],
            "patches": {"guard": text}, "images": images,
            "manifests": [{"before": "apiVersion: kmm.sigs.x-k8s.io/v1beta1\nkind: Module\nmetadata:\n  name: example\n"
                           "spec:\n  moduleLoader:\n    container:\n      modprobe:\n        moduleName: example\n"
                           "      kernelMappings:\n", "after": "  selector:\n    a: b\n", "kernel": "KERNEL",
                           "mapping": "      - literal: KERNEL\n        containerImage: IMAGE\n", "image": "IMAGE"}],
            "preflight": {"text": "apiVersion: kmm.sigs.x-k8s.io/v1beta2\nkind: PreflightValidationOCP\nmetadata:\n"
                          "  name: upgrade\nspec:\n  kernelVersion: KERNEL\n  dtkImage: TOOLKIT\n",
                          "kernel": "KERNEL", "toolkit": "TOOLKIT"},
            "missing": [{"kernel": kernel, "arch": "x86_64", "flavour": "default", "why": f"does not compile: {text}",
                         "releases": [version for version, name in of.items() if name == kernel]}
                        for number, kernel in enumerate(names) if not (number + driver) % 7],
        })
    ordered = sorted(versions, key=lambda name: [int(part) for part in name.split(".")])
    edges = {first: {second: [] if number % 5 else ["MadeUp"]
                     for number, second in enumerate(ordered[place + 1:place + 9])}
             for place, first in enumerate(ordered[:-1])}
    return {
        "schema": 1, "drivers": made, "upgrades": {"edges": {"x86_64": edges}, "risks": {
            "MadeUp": {"url": "https://example.com/risk", "message": text}}},
        "releases": [{"version": version, "arch": "x86_64", "kernels": {"default": [of[version]]},
                      **({"mismatch": {"toolkit": text, "nodes": of[version]}} if version == ordered[0] else {})}
                     for version in reversed(ordered)],
    }
