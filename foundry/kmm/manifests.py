"""The Kubernetes manifests that make a cluster use a driver's images, each as a value; no file, no network.

Formats: KMM's Module (kmm.sigs.x-k8s.io/v1beta1), ManagedClusterModule (hub.kmm.sigs.x-k8s.io/v1beta1) and
PreflightValidationOCP (v1beta2); NFD's NodeFeatureRule (nfd.openshift.io/v1alpha1 on OpenShift, in the namespace of its
operator; nfd.k8s-sigs.io/v1alpha1 elsewhere, the cluster's own); OpenShift's ImageDigestMirrorSet and ImageTagMirrorSet
(config.openshift.io/v1); oc-mirror's ImageSetConfiguration (mirror.openshift.io/v2alpha1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from foundry.base.names import tag_of
from foundry.base.templates import fill_known
from foundry.base.versions import version_key
from foundry.formats.images.simple_signing import signature_tag
from foundry.formats.modules.symvers import module_name

Manifest = dict[str, Any]
LONGEST = 41  # characters of a Module's name and namespace (KMM, internal/webhook/module.go)
# The first downstream release of KMM with a field or kind.
SINCE = {
    "inTreeModulesToRemove": "2.2", "tolerations": "2.3", "BootModuleConfig": "2.5", "PreflightValidationOCP": "2.5"}
MODULES, FIRMWARE = "/opt", "/opt/lib/firmware"
_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]+")
_NFD = "openshift-nfd"  # where OpenShift's documentation has its operator installed
_FEATURE = "feature.node.kubernetes.io/"


@dataclass(frozen=True)
class Image:
    """A published image: its kernel, where it is (``host/repository@sha256:…``), the toolkit that compiled it.

    `releases` have the kernel. `signed`: a signature in cosign's classic form lies beside it.
    """

    kernel: str
    image: str
    toolkit: str
    releases: tuple[str, ...] = ()
    signed: bool = False

    @property
    def repository(self) -> str:
        """``host/repository``."""
        return self.image.partition("@")[0]


@dataclass(frozen=True)
class Driver:
    """A driver's images, the newest kernel first, and how its modules are loaded.

    `loading_order` begins with the module that is loaded first. `devices` are PCI devices (``1d0f:7164``). `loads` are
    the modules that no other one needs; empty where that is not known.
    """

    family: str
    version: str
    modules: tuple[str, ...]
    images: tuple[Image, ...]
    loading_order: tuple[str, ...] = ()
    firmware: bool = False
    devices: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()

    @property
    def loaded(self) -> tuple[str, ...]:
        """The modules that have a Module of their own: the last of the order, and others that none of them needs.

        KMM's worker unloads by name, and what is still needed can't be: such a Module would never come to its end.
        """
        return (*self.loading_order[-1:], *(
            name for name in self.modules
            if name not in self.loading_order and (not self.loads or module_name(name) in self.loads)))

    def removed(self, name: str, in_tree: Sequence[str]) -> list[str]:
        """The in-tree modules to remove before that one is loaded; one that has a name of ours once, by its own Module.

        Another Module would remove ours.
        """
        loaded, ours = self.loaded, {module_name(one): one for one in self.modules}

        def owner(one: str) -> str:
            mine = ours[module_name(one)]
            return mine if mine in loaded else loaded[0]

        return [one for one in in_tree if module_name(one) not in ours or owner(one) == name]


@dataclass(frozen=True)
class Wishes:
    """What manifests say besides the images, from the family file and the profile (`kmm` in both).

    `selector` chooses the nodes; without one, those that have a device (`feature_rule`), or all workers.
    `fallback`: kernels that are not listed take the tag that they would have. `ordered`: a new version is loaded node
    by node, when its label says so. `operator`: of a vendor's operator, which makes the Module by itself, a `resource`
    with fields in braces, and a `remark` on it. `kmm` is the cluster's release of KMM (``2.4``); empty: the newest.
    `boot_repository` has the images under their kernels' names alone.
    """

    namespace: str = ""
    selector: Mapping[str, str] | None = None
    tolerations: Sequence[Mapping[str, Any]] = ()
    remove: Sequence[str] = ()
    secret: str = ""
    fallback: bool = True
    ordered: bool = False
    operator: Mapping[str, Any] | None = None
    kmm: str = ""
    boot_repository: str = ""

    def knows(self, field: str) -> bool:
        """Whether the cluster's KMM has a field or kind."""
        return not self.kmm or version_key(self.kmm) >= version_key(SINCE[field])


def name_of(text: str, longest: int = LONGEST) -> str:
    """The text as a name that Kubernetes takes (RFC 1123, a label), cut off where it is too long."""
    return _NOT_IN_NAMES.sub("-", text.lower()).strip("-")[:longest].rstrip("-") or "driver"


def device_label(driver: Driver) -> str:
    """The node's label that `feature_rule` gives."""
    return f"{_FEATURE}{name_of(driver.family)}"


def selector(driver: Driver, wishes: Wishes) -> dict[str, str]:
    """Which nodes the modules are loaded on."""
    if wishes.selector is not None:
        return dict(sorted(wishes.selector.items()))
    return {device_label(driver): "true"} if driver.devices else {"node-role.kubernetes.io/worker": ""}


def modules(driver: Driver, wishes: Wishes) -> Iterator[Manifest]:
    """KMM's Modules of a driver, one for each module that nothing else loads."""
    for name in driver.loaded:
        yield {
            "apiVersion": "kmm.sigs.x-k8s.io/v1beta1", "kind": "Module",
            "metadata": {"name": name_of(name, LONGEST - len(wishes.namespace)), **_within(wishes)},
            "spec": spec(driver, wishes, name),
        }


def spec(driver: Driver, wishes: Wishes, name: str) -> Manifest:
    """The `spec` of the Module that loads a module, which hubs have, too."""
    ordered = driver.loading_order if driver.loading_order[-1:] == (name,) else ()
    modprobe: Manifest = {"moduleName": name, "dirName": MODULES}
    if driver.firmware:
        modprobe["firmwarePath"] = FIRMWARE
    if len(ordered) > 1:
        modprobe["modulesLoadingOrder"] = [*reversed(ordered)]
    container: Manifest = {
        "modprobe": modprobe,
        **({"version": driver.version} if wishes.ordered else {}),
        **_removed(driver.removed(name, wishes.remove), wishes),
        "kernelMappings": [*_mappings(driver, wishes)],
    }
    return {
        "moduleLoader": {"container": container},
        **({"imageRepoSecret": {"name": wishes.secret}} if wishes.secret else {}),
        **({"tolerations": [_in_order(one) for one in wishes.tolerations]}
           if wishes.tolerations and wishes.knows("tolerations") else {}),
        "selector": selector(driver, wishes),
    }


def _removed(names: Sequence[str], wishes: Wishes) -> Manifest:
    if names and not wishes.knows("inTreeModulesToRemove"):
        return {"inTreeModuleToRemove": names[0]}
    return {"inTreeModulesToRemove": [*names]} if names else {}


def left_out(driver: Driver, wishes: Wishes) -> Iterator[str]:
    """What the manifests can't say, a sentence each: KMM of that release has no field for it, or a name can't be."""
    if wishes.tolerations and not wishes.knows("tolerations"):
        yield f"KMM {wishes.kmm} has no `tolerations`: its pods do not run on nodes with such taints"
    if len(wishes.remove) > 1 and not wishes.knows("inTreeModulesToRemove"):
        yield f"KMM {wishes.kmm} removes one in-tree module: {wishes.remove[0]}, not {', '.join(wishes.remove[1:])}"
    if wishes.boot_repository:
        if not wishes.knows("BootModuleConfig"):
            yield f"KMM {wishes.kmm} has no BootModuleConfig"
        for image in driver.images:
            if tag_of(image.kernel) != image.kernel:
                yield f"{image.kernel} can be no tag: a BootModuleConfig has no image for it"
    for name in driver.loaded:
        if (called := name_of(name, LONGEST - len(wishes.namespace))) != name:
            yield f"the Module of {name} is called {called}: Kubernetes takes no other name"


def boot_configs(driver: Driver, wishes: Wishes) -> Iterator[Manifest]:
    """Has nodes load the modules while they boot, before their network: they pull the image of their kernel's name."""
    for name in driver.loaded:
        yield {
            "apiVersion": "kmm.sigs.x-k8s.io/v1beta1", "kind": "BootModuleConfig",
            "metadata": {"name": name_of(name, 63), **_within(wishes)},
            "spec": {
                "kernelModuleImage": wishes.boot_repository, "kernelModuleName": name,
                "machineConfigName": f"99-{name_of(name, 60)}", "machineConfigPoolName": "worker",
                **({"firmwareFilesPath": FIRMWARE} if driver.firmware else {}),
                **_removed(driver.removed(name, wishes.remove), wishes),
            },
        }


def _mappings(driver: Driver, wishes: Wishes) -> Iterator[Manifest]:
    """By digest, since a node keeps what it has of a tag; the first that fits counts."""
    for image in driver.images:
        yield {"literal": image.kernel, "containerImage": image.image}
    if wishes.fallback and driver.images:
        yield {"regexp": "^.+$",
               "containerImage": f"{driver.images[0].repository}:{tag_of(driver.version)}-${{KERNEL_FULL_VERSION}}"}


def managed_cluster_modules(driver: Driver, wishes: Wishes, spoke_namespace: str) -> Iterator[Manifest]:
    """The same for a hub: KMM makes the Modules on the clusters that the selector chooses."""
    for name in driver.loaded:
        yield {
            "apiVersion": "hub.kmm.sigs.x-k8s.io/v1beta1", "kind": "ManagedClusterModule",
            "metadata": {"name": name_of(name, LONGEST - len(spoke_namespace))},
            "spec": {"moduleSpec": spec(driver, wishes, name), "spokeNamespace": spoke_namespace,
                     "selector": {device_label(driver).removeprefix(_FEATURE): "true"}},
        }


def preflight(image: Image, wishes: Wishes) -> Manifest:
    """Asks KMM whether all Modules of a cluster have an image for the kernel that an upgrade brings."""
    openshift = wishes.knows("PreflightValidationOCP")
    version = "v1beta2" if wishes.knows("inTreeModulesToRemove") else "v1beta1"
    return {
        "apiVersion": f"kmm.sigs.x-k8s.io/{version}",
        "kind": "PreflightValidationOCP" if openshift else "PreflightValidation",
        "metadata": {"name": name_of(f"kernel-{image.kernel}", 253)},
        "spec": {"kernelVersion": image.kernel, "pushBuiltImage": False,
                 **({"dtkImage": image.toolkit} if openshift else {})},
    }


def feature_rule(driver: Driver, *, openshift: bool = True) -> Manifest:
    """Labels nodes that have a device which the modules bind: of the modules' own aliases, not of a list."""
    group, place = ("nfd.openshift.io", {"namespace": _NFD}) if openshift else ("nfd.k8s-sigs.io", {})
    vendors: dict[str, list[str]] = {}
    for device in driver.devices:
        vendor, _, model = device.partition(":")
        vendors.setdefault(vendor, []).append(model)
    return {
        "apiVersion": f"{group}/v1alpha1", "kind": "NodeFeatureRule",
        "metadata": {"name": name_of(f"{driver.family}-device", 63), **place},
        "spec": {"rules": [{
            "name": f"{driver.family} device", "labels": {device_label(driver): "true"},
            "matchAny": [{"matchFeatures": [{"feature": "pci.device", "matchExpressions": {
                "vendor": {"op": "In", "value": [vendor]}, "device": {"op": "In", "value": models},
            }}]} for vendor, models in sorted(vendors.items())],
        }]},
    }


def operator_resource(driver: Driver, wishes: Wishes, resource: Mapping[str, Any]) -> Manifest:
    """The resource of a vendor's operator, filled: ``{repository}``, ``{driver}``; with selector and pull secret."""
    facts = {"repository": driver.images[0].repository, "driver": tag_of(driver.version)}
    return {
        "apiVersion": resource["apiVersion"], "kind": resource["kind"],
        "metadata": {"name": name_of(driver.family), **_within(wishes)},
        "spec": {
            **_in_order(resource["spec"], facts),
            **({"imageRepoSecret": {"name": wishes.secret}} if wishes.secret else {}),
            "selector": selector(driver, wishes),
        },
    }


def image_set(images: Sequence[str]) -> Manifest:
    """oc-mirror's list of what to mirror; images by digest, their signatures come along."""
    return {"apiVersion": "mirror.openshift.io/v2alpha1", "kind": "ImageSetConfiguration",
            "mirror": {"additionalImages": [{"name": image} for image in images]}}


def image_sync(images: Sequence[Image]) -> Manifest:
    """What ``skopeo sync --src yaml`` takes (skopeo-sync(1)): by registry, each repository's digests and signatures."""
    found: Manifest = {}
    for one in images:
        host, _, rest = one.image.partition("/")
        repository, _, digest = rest.partition("@")
        found.setdefault(host, {"images": {}})["images"].setdefault(repository, []).extend(
            [digest, *([signature_tag(digest)] if one.signed else [])])
    return found


def mirror_sets(name: str, repositories: Sequence[str], mirror: str) -> Iterator[Manifest]:
    """Where nodes find the images in a mirror (``host/path``): those by digest, and those by tag."""
    for kind, field in (("ImageDigestMirrorSet", "imageDigestMirrors"), ("ImageTagMirrorSet", "imageTagMirrors")):
        yield {
            "apiVersion": "config.openshift.io/v1", "kind": kind, "metadata": {"name": name_of(name, 63)},
            "spec": {field: [{"source": one, "mirrors": [f"{mirror}/{one.partition('/')[2]}"]}
                             for one in repositories]},
        }


def _in_order(value: Any, facts: Mapping[str, str] = MappingProxyType({})) -> Any:
    """What a family file says, keys sorted: one that was kept as JSON has lost their order; with fields filled in."""
    if isinstance(value, Mapping):
        return {name: _in_order(value[name], facts) for name in sorted(value)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_in_order(one, facts) for one in value]
    return fill_known(value, facts) if isinstance(value, str) else value


def _within(wishes: Wishes) -> dict[str, str]:
    return {"namespace": wishes.namespace} if wishes.namespace else {}
