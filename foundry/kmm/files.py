"""The files of a bundle: a Kustomize base of what a cluster needs, an overlay to copy, and what else may be of use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foundry.base.names import tag_of
from foundry.base.yaml_text import yaml_documents
from foundry.kmm.manifests import (
    Driver,
    Image,
    Manifest,
    Wishes,
    boot_configs,
    feature_rule,
    image_set,
    image_sync,
    left_out,
    managed_cluster_modules,
    mirror_sets,
    modules,
    name_of,
    operator_resource,
    preflight,
)

BOOT_FILE = "boot/boot-module-config.yaml"
_MAPPINGS = "spec/moduleLoader/container/kernelMappings"
_EXAMPLE_MIRROR, _EXAMPLE_NAMESPACE = "mirror.example.com/drivers", "kmm-drivers"


def bundle_files(driver: Driver, wishes: Wishes, repositories: Sequence[str], mirror: str) -> dict[str, bytes]:
    """The bundle's files by name; `repositories` have the images, `mirror` is empty where none is known."""
    namespace, nodes = wishes.namespace or _EXAMPLE_NAMESPACE, dict[str, bytes]()
    for place, openshift in (("nodes", True), ("nodes-upstream", False)) if driver.devices else ():
        # apart: a rule lies in NFD's namespace, or in none, and an overlay would move it
        nodes |= {f"{place}/kustomization.yaml": _yaml(_kustomization(resources=["node-feature-rule.yaml"])),
                  f"{place}/node-feature-rule.yaml": _yaml(feature_rule(driver, openshift=openshift))}
    return {
        "kustomization.yaml": _yaml(_kustomization(resources=["base", *(["nodes"] if nodes else [])])),
        "base/module.yaml": yaml_documents(modules(driver, wishes)),
        "base/kustomization.yaml": _yaml(_kustomization(resources=["module.yaml"], configurations=["images.yaml"])),
        **nodes,
        # where images are named in a Module; kustomize reads no such file from above
        **{f"{place}/images.yaml": _yaml({"images": [{"path": f"{_MAPPINGS}/containerImage", "kind": "Module"}]})
           for place in ("base", "overlays/example")},
        "overlays/example/kustomization.yaml": _yaml(_kustomization(
            resources=["../../base"], namespace=namespace, configurations=["images.yaml"],
            images=[{"name": one, "newName": _mirrored(one, mirror)} for one in repositories],
            patches=[{"target": {"kind": "Module"}, "patch": _patch(driver, wishes, mirror)}])),
        "hub/managed-cluster-module.yaml": yaml_documents(managed_cluster_modules(driver, wishes, namespace)),
        **({BOOT_FILE: yaml_documents(boot_configs(driver, wishes))}
           if wishes.boot_repository and wishes.knows("BootModuleConfig") else {}),
        **{f"preflight/{tag_of(image.kernel)}.yaml": _preflight(image, wishes) for image in driver.images},
        "mirror/image-set-configuration.yaml": _yaml(image_set([image.image for image in driver.images])),
        "mirror/skopeo-sync.yaml": _yaml(image_sync(driver.images)),
        "mirror/mirror-sets.yaml": yaml_documents(
            mirror_sets(f"{driver.family}-driver", [*repositories, *filter(None, [wishes.boot_repository])],
                        mirror or _EXAMPLE_MIRROR)),
        **({"operator/resource.yaml": _of_operator(driver, wishes, wishes.operator)} if wishes.operator else {}),
        "README.md": _readme(driver, wishes, rule=bool(driver.devices)).encode(),
    }


def _preflight(image: Image, wishes: Wishes) -> bytes:
    releases = f"# of {', '.join(image.releases)}\n" if image.releases else ""
    return releases.encode() + _yaml(preflight(image, wishes))


def _patch(driver: Driver, wishes: Wishes, mirror: str) -> str:
    """Other nodes; and the mirror in what Kustomize takes for no image, because of the variable."""
    [first, *_] = modules(driver, wishes)
    mappings = first["spec"]["moduleLoader"]["container"]["kernelMappings"]
    steps: list[Manifest] = [
        {"op": "replace", "path": "/spec/selector", "value": {"node-role.kubernetes.io/worker": ""}}]
    if "regexp" in mappings[-1]:
        steps.append({"op": "replace", "path": f"/{_MAPPINGS}/{len(mappings) - 1}/containerImage",
                      "value": _mirrored(mappings[-1]["containerImage"], mirror)})
    return yaml_documents([steps]).decode()


def _mirrored(image: str, mirror: str) -> str:
    return f"{mirror or _EXAMPLE_MIRROR}/{image.partition('/')[2]}"


def _of_operator(driver: Driver, wishes: Wishes, operator: Mapping[str, Any]) -> bytes:
    """The resource, below what is to be known of it."""
    remark = "".join(f"# {line}".rstrip() + "\n" for line in str(operator.get("remark", "")).splitlines())
    return remark.encode() + _yaml(operator_resource(driver, wishes, operator["resource"]))


def _kustomization(**fields: object) -> Manifest:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **fields}


def _yaml(document: Manifest) -> bytes:
    return yaml_documents([document])


def _readme(driver: Driver, wishes: Wishes, *, rule: bool) -> str:
    notes = [*left_out(driver, wishes)]
    told = "".join(f"- {one}.\n" for one in notes)
    boot = wishes.boot_repository and wishes.knows("BootModuleConfig")
    names = ", ".join(f"`{name_of(name)}`" for name in driver.loaded)
    return f"""# {driver.family} {driver.version} for clusters

`kubectl apply -k .` (or `oc apply -k .`) makes KMM load the modules ({names}): each kernel that has an
image takes it by digest{_TO_COME if wishes.fallback else ""}.{_RULE if rule else ""}

- `overlays/example`: copy it, for another namespace, a mirror, other nodes.
- `hub/`: the same as ManagedClusterModule, for the hub of several clusters.
- `preflight/`: before an upgrade, asks KMM whether everything has an image for the kernel that comes.
{_BOOT if boot else ""}{_OPERATOR if wishes.operator else ""}- `mirror/`: lists of the images for oc-mirror and for
  `skopeo sync --src yaml`, and where nodes find them then.
{_TOLD if told else ""}{told}"""


_TO_COME = "; a kernel to come takes the tag that its image will have"
_TOLD = "\nWhat to know of these:\n\n"
_BOOT = "- `boot/`: has nodes load the modules while they boot (KMM's Day 1), in place of `base`; name your own pool.\n"
_OPERATOR = "- `operator/`: for the vendor's operator, in place of `base`; it says what that can't do.\n"
_RULE = """
NFD (node feature discovery) labels the nodes that have a device which the modules bind: `nodes/node-feature-rule.yaml`,
made of the modules' own aliases (`nodes-upstream/` on other clusters than OpenShift)."""
