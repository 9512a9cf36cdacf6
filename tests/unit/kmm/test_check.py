"""Each mistake that users make in manifests is found, at its line, and what is right is left in peace."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from foundry.base.errors import UsageError
from foundry.base.schema import ValidationCache
from foundry.kmm.check import Told, check
from foundry.kmm.known import Known
from foundry.plan.rows import Replaced, Row
from tests.harness.checkout import ROOT

EL9, EL10, RT = "5.14.0-570.12.1.el9_6.x86_64", "6.12.0-55.9.1.el10_0.x86_64", "5.14.0-570.12.1.el9_6.x86_64+rt"
PLACE = "registry.example.com/team/neuron-driver"
DIGESTS = {kernel: f"sha256:{number}" + "0" * 63 for number, kernel in enumerate((EL9, EL10, RT), 1)}
OLD = "sha256:" + "9" * 64
PROVEN = {"outcome": "proven"}


def row(kernel: str, **changes: Any) -> Row:
    tag = f"2.22.2.0-{kernel}".replace("+", "_")
    one = Row(kernel, "amd64", "a" * 64, {}, DIGESTS[kernel], (tag,), (PLACE,), ("4.20.5",), "a/b@sha256:" + "1" * 64,
              "c" * 64, proof=PROVEN)
    return replace(one, **changes)


LIBRARY = Known({PLACE: (row(EL9), row(EL10), row(RT))}, frozenset(), {"4.20.5": [EL9], "4.21.1": [EL10]},
                proofs=True)
CONTAINER: dict[str, Any] = {
    "modprobe": {"moduleName": "neuron", "dirName": "/opt"},
    "kernelMappings": [
        {"literal": EL10, "containerImage": f"{PLACE}@{DIGESTS[EL10]}"},
        {"literal": EL9, "containerImage": f"{PLACE}@{DIGESTS[EL9]}"},
        {"regexp": "^.+$", "containerImage": f"{PLACE}:2.22.2.0-${{KERNEL_FULL_VERSION}}"},
    ],
}
POD = {"container": {"image": "a.b/c:1"}}
PRIVATE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/x"


def module(container: Mapping[str, Any] = {}, spec: Mapping[str, Any] = {}, **metadata: str) -> dict[str, Any]:
    return {
        "apiVersion": "kmm.sigs.x-k8s.io/v1beta1", "kind": "Module", "metadata": {"name": "neuron", **metadata},
        "spec": {"moduleLoader": {"container": {**CONTAINER, **container}}, "selector": {"a": "b"}, **spec}}


def modprobe(**fields: Any) -> dict[str, Any]:
    return module({"modprobe": {**CONTAINER["modprobe"], **fields}})


def mappings(*said: Mapping[str, Any]) -> dict[str, Any]:
    return module({"kernelMappings": list(said)})


def device_config(**fields: Any) -> dict[str, Any]:
    spec = {"driversImage": f"{PLACE}:2.22.2.0", "driverVersion": "2.22.2.0", "nodeMetricsImage": "a.b/c:1"}
    return {"apiVersion": "k8s.aws/v1beta1", "kind": "DeviceConfig", "metadata": {"name": "neuron"},
            "spec": {**spec, **fields}}


def boot(**fields: Any) -> dict[str, Any]:
    spec = {"kernelModuleImage": "registry.example.com/boot/neuron", "kernelModuleName": "neuron",
            "machineConfigName": "a", "machineConfigPoolName": "worker"}
    return {"apiVersion": "kmm.sigs.x-k8s.io/v1beta1", "kind": "BootModuleConfig", "metadata": {"name": "n"},
            "spec": {**spec, **fields}}


def image_set(*names: str, version: str = "v2alpha1") -> dict[str, Any]:
    return {"apiVersion": f"mirror.openshift.io/{version}", "kind": "ImageSetConfiguration",
            "mirror": {"additionalImages": [{"name": name} for name in names]}}


def managed(spec: Mapping[str, Any] = {}, **fields: Any) -> dict[str, Any]:
    inside = {**module()["spec"], **spec}
    return {"apiVersion": "hub.kmm.sigs.x-k8s.io/v1beta1", "kind": "ManagedClusterModule", "metadata": {"name": "n"},
            "spec": {"moduleSpec": inside, "spokeNamespace": "drivers", "selector": {"a": "b"}, **fields}}


def preflight(kernel: str) -> dict[str, Any]:
    return {"apiVersion": "kmm.sigs.x-k8s.io/v1beta2", "kind": "PreflightValidationOCP", "metadata": {"name": "n"},
            "spec": {"kernelVersion": kernel}}


def secret(cert: bytes | str) -> dict[str, Any]:
    data = cert if isinstance(cert, str) else base64.b64encode(cert).decode()
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "signing"}, "data": {"cert": data}}


def certificate(*, authority: bool) -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "site")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=9))
    made = made.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    made = made.add_extension(x509.KeyUsage(
        digital_signature=not authority, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=authority, crl_sign=False, encipher_only=False, decipher_only=False),
        critical=True)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def signs(path: str, **mapping: str) -> dict[str, Any]:
    named = {"literal": EL9, "containerImage": f"{PLACE}@{DIGESTS[EL9]}", **mapping}
    return mappings({name: value for name, value in named.items() if value} | {
        "sign": {"filesToSign": [path], "keySecret": {"name": "key"}, "certSecret": {"name": "cert"}}})


VALIDATION = ValidationCache(ROOT, ROOT / "nowhere", writes=False)


def checked(document: Any, known: Known = LIBRARY, **more: Any) -> list[Told]:
    content = document if isinstance(document, bytes) else yaml.safe_dump_all(
        document if isinstance(document, list) else [document]).encode()
    return list(check({"file.yaml": content}, known, VALIDATION, **more).found)


def rules(document: Any, known: Known = LIBRARY, **more: Any) -> set[str]:
    return {told.rule for told in checked(document, known, **more)}


GOOD: dict[str, Any] = {
    "module": module(), "hub": managed(), "operator": device_config(), "boot": boot(), "preflight": preflight(EL9),
    "mirror": image_set(f"{PLACE}@{DIGESTS[EL9]}"), "toleration": module(spec={"tolerations": [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, {"key": "a.b/c", "value": "d"}]}),
    "order": modprobe(modulesLoadingOrder=["neuron", "other"]),
    "raw": module({"modprobe": {"dirName": "/opt", "rawArgs": {"load": ["a"], "unload": ["b"]}}}),
    "in tree": module({"inTreeModulesToRemove": ["neuron"]}),
    "one kernel as an expression": mappings({"regexp": "^" + EL9.replace(".", r"\.") + "$",
                                             "containerImage": f"{PLACE}@{DIGESTS[EL9]}"}),
    "others' kinds": [module(), {"apiVersion": "amd.com/v1", "kind": "DeviceConfig", "spec": {}}],
    "signed by hand": signs(f"/opt/lib/modules/{RT}/neuron.ko", literal=RT, containerImage=f"{PLACE}@{DIGESTS[RT]}"),
    "a variable": signs("/opt/lib/modules/$KERNEL_FULL_VERSION/neuron.ko"),
    "a certificate": secret(certificate(authority=True)),
    "device config with in-tree": device_config(useInTreeDrivers=True, driverVersion="", driversImage=""),
    "pulled each time": module({"imagePullPolicy": "Always", "kernelMappings": [
        {"literal": EL9, "containerImage": f"{PLACE}:2.22.2.0-{EL9}"}]}),
    "Go's own": mappings({"regexp": r"^\Q5.14.0-\E(?<rest>[[:digit:].]+)\.el9_6\.x86_64\z",
                          "containerImage": "a.b/c:$KERNEL_VERSION"}),
    "a certificate in PEM": secret(ssl.DER_cert_to_PEM_cert(certificate(authority=True)).encode()),
    "a certificate as it is": {**secret(b""), "data": {}, "stringData": {
        "cert": ssl.DER_cert_to_PEM_cert(certificate(authority=True))}},
    "another Secret": [module(), {**secret(b"nothing at all"), "metadata": {"name": "other"}}],
    "Kubernetes' own": module(spec={"devicePlugin": {**POD, "container": {"image": "a.b/c:1", "env": [
        {"name": "a", "valueFrom": {}}], "volumeMounts": [{"name": "x", "mountPath": "/dev"}]}}}),
    "secret": module({"containerImage": f"{PRIVATE}:1"}, {"imageRepoSecret": {"name": "pull"}}),
    "a mirror": mappings({"literal": EL9, "containerImage":
                          f"mirror.example.com/here/team/neuron-driver@{DIGESTS[EL9]}"}),
    "json": json.dumps(module()).encode(),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_right(name: str) -> None:
    assert checked(GOOD[name]) == []


BAD: dict[str, tuple[str, Any]] = {
    "api version": ("api-version", {**module(), "apiVersion": "kmm.sigs.k8s.io/v1beta1"}),
    "41 characters": ("name-length", module(name="n" * 30, namespace="m" * 12)),
    "41 characters, hub": ("name-length", managed(spokeNamespace="m" * 41)),
    "no selector": ("required", module(spec={"selector": None})),
    "no namespace": ("required", managed(spokeNamespace="")),
    "no mapping": ("no-mapping", mappings()),
    "literal and regexp": ("literal-or-regexp", mappings(
        {"literal": EL9, "regexp": "^.+$", "containerImage": "a.b/c:$KERNEL_VERSION"})),
    "neither": ("literal-or-regexp", mappings({"containerImage": "a.b/c:1"})),
    "no image": ("no-image", mappings({"literal": EL9})),
    "no tag": ("no-tag", mappings({"literal": EL9, "containerImage": "registry.example.com:5000/c"})),
    "no tag, container": ("no-tag", module({"containerImage": "a.b/c"})),
    "kernel in a digest": ("digest-varies", mappings({"regexp": "^.*$", "containerImage": "a.b/c@${KERNEL_VERSION}"})),
    "regexp": ("regexp", mappings({"regexp": "(", "containerImage": "a.b/c:$KERNEL_VERSION"})),
    "lookahead": ("regexp", mappings({"regexp": "^.*(?!rt)$", "containerImage": "a.b/c:$KERNEL_VERSION"})),
    "one image": ("one-image", mappings({"regexp": r"^5\.14.*$", "containerImage": f"{PLACE}@{DIGESTS[EL9]}"})),
    "one image, container": ("one-image", module({"containerImage": "a.b/c:1", "kernelMappings": [{"regexp": ".+"}]})),
    "another flavour": ("unanchored", mappings({"regexp": r"5\.14\..*\.x86_64",
                                                "containerImage": "a.b/c:$KERNEL_VERSION"})),
    "no begin": ("unanchored", mappings({"regexp": r"14\.0-.*$", "containerImage": "a.b/c:$KERNEL_VERSION"})),
    "shadowed": ("shadowed", mappings({"regexp": "^.+$", "containerImage": "a.b/c:$KERNEL_VERSION"},
                                      {"literal": EL9, "containerImage": "a.b/c:1"})),
    "twice the same": ("shadowed", mappings({"literal": EL9, "containerImage": "a.b/c:1"},
                                            {"literal": EL9, "containerImage": "a.b/c:2"})),
    "one in the order": ("loading-order", modprobe(modulesLoadingOrder=["neuron"])),
    "another first": ("loading-order", modprobe(modulesLoadingOrder=["other", "neuron"])),
    "twice in the order": ("loading-order", modprobe(modulesLoadingOrder=["neuron", "a", "a"])),
    "no module": ("module-name", modprobe(moduleName="")),
    "a file": ("module-name", modprobe(moduleName="neuron.ko")),
    "raw and name": ("module-name", modprobe(rawArgs={"load": ["a"], "unload": ["b"]})),
    "mistyped": ("unknown-field", modprobe(moduleLoadingOrder=["neuron", "a"])),
    "dra": ("dra", module(spec={"dra": {**POD, "driverName": "a.b"}, "devicePlugin": POD})),
    "dra without a driver": ("required", module(spec={"dra": POD})),
    "dra, driver": ("dra", module(spec={"dra": {**POD, "driverName": "No_Domain"}})),
    "dra, class": ("dra", module(spec={"dra": {**POD, "driverName": "a.b", "deviceClasses": [{}]}})),
    "dra, class twice": ("dra", module(spec={"dra": {**POD, "driverName": "a.b", "deviceClasses": [
        {"name": "c"}, {"name": "c"}]}})),
    "host path": ("host-path", module(spec={"devicePlugin": {**POD, "volumes": [{"hostPath": {"path": "/etc/x"}}]}})),
    "toleration, key": ("toleration", module(spec={"tolerations": [{"key": "-", "operator": "Exists"}]})),
    "toleration, no key": ("toleration", module(spec={"tolerations": [{"effect": "NoSchedule"}]})),
    "toleration, operator": ("toleration", module(spec={"tolerations": [{"key": "a", "operator": "In"}]})),
    "toleration, value": ("toleration", module(spec={"tolerations": [
        {"key": "a", "operator": "Exists", "value": "b"}]})),
    "toleration, label": ("toleration", module(spec={"tolerations": [{"key": "a", "value": "no label"}]})),
    "toleration, effect": ("toleration", module(spec={"tolerations": [{"key": "a", "effect": "Never"}]})),
    "toleration, seconds": ("toleration", module(spec={"tolerations": [{"key": "a", "tolerationSeconds": 5}]})),
    "in-tree file": ("in-tree", module({"inTreeModulesToRemove": ["neuron.ko"]})),
    "in-tree, both": ("in-tree", module({"inTreeModulesToRemove": ["a"], "inTreeModuleToRemove": "a"})),
    "in-tree, none here": ("in-tree", module({"inTreeModulesToRemove": ["neuron"], "kernelMappings": [
        {"literal": EL9, "containerImage": "a.b/c:1", "inTreeModulesToRemove": []}]})),
    "rt in filesToSign": ("files-to-sign", signs("/opt/lib/modules/${KERNEL_FULL_VERSION}/neuron.ko", literal=RT,
                                            containerImage=f"{PLACE}@{DIGESTS[RT]}")),
    "rt by regexp": ("files-to-sign", signs("/opt/lib/modules/$KERNEL_VERSION/neuron.ko", literal="", regexp="^.+$",
                                            containerImage="a.b/c:$KERNEL_VERSION")),
    "not below dirName": ("files-to-sign", signs("/lib/modules/a/neuron.ko")),
    "nothing to sign": ("files-to-sign", module({"sign": {"keySecret": {}, "certSecret": {}}})),
    "certificate": ("certificate", secret(certificate(authority=False))),
    "no certificate": ("certificate", secret(b"nothing")),
    "not base64": ("certificate", secret("!!")),
    "ecr without a secret": ("no-secret", module({"kernelMappings": [
        {"literal": EL9, "containerImage": f"{PRIVATE}:1"}]})),
    "ecr, operator": ("no-secret", device_config(driversImage=f"{PRIVATE}:2.22.2.0")),
    "digest in driversImage": ("digest", device_config(driversImage=f"{PLACE}@{OLD}")),
    "kernel in driversImage": ("kernel-twice", device_config(driversImage=f"{PLACE}:2.22.2.0-{EL9}")),
    "variable in driversImage": ("kernel-twice", device_config(driversImage=f"{PLACE}:1-$KERNEL_VERSION")),
    "no tag in driversImage": ("no-tag", device_config(driversImage=PLACE)),
    "empty driverVersion": ("no-version", device_config(driverVersion="")),
    "other driverVersion": ("other-version", device_config(driverVersion="2.21.0.0")),
    "no metrics": ("required", device_config(nodeMetricsImage="")),
    "half a scheduler": ("required", device_config(devicePluginImage="a.b/c:1")),
    "dra and plugin": ("dra", device_config(draDriverImage="a.b/c:1", devicePluginImage="a.b/c:1")),
    "boot with a tag": ("kernel-tag", boot(kernelModuleImage=f"{PLACE}:2.22.2.0")),
    "boot, nothing": ("required", boot(machineConfigName="")),
    "boot, file": ("module-name", boot(kernelModuleName="/opt/neuron.ko")),
    "boot, in-tree": ("in-tree", boot(inTreeModulesToRemove=["a/b"])),
    "oc-mirror 1": ("api-version", image_set(f"{PLACE}@{DIGESTS[EL9]}", version="v1alpha2")),
    "mirror, variable": ("variable", image_set(f"{PLACE}:2.22.2.0-$KERNEL_VERSION")),
    "mirror, no tag": ("no-tag", image_set(PLACE)),
    "mirror, no name": ("required", image_set("")),
    "mirror, tag": ("tag", image_set(f"{PLACE}:2.22.2.0-{EL9}")),
    "preflight": ("kernel", preflight("4.20")),
    "not published": ("unpublished", image_set(f"{PLACE}@{OLD}")),
    "other kernel": ("other-kernel", mappings({"literal": EL9, "containerImage": f"{PLACE}@{DIGESTS[EL10]}"})),
    "a path that leads out": ("host-path", module(spec={"devicePlugin": {**POD, "volumes": [
        {"hostPath": {"path": "/dev/../etc"}}]}})),
    "in-tree, list in a mapping": ("in-tree", module({"inTreeModuleToRemove": "b", "kernelMappings": [
        {"literal": EL9, "containerImage": "a.b/c:1", "inTreeModulesToRemove": ["a"]}]})),
    "a number for a kernel": ("type", mappings({"literal": 5.14, "containerImage": "a.b/c:1"})),
    "a number for a version": ("type", device_config(driversImage="a.b/c:2.22", driverVersion=2.22)),
    "true as a label": ("type", module(spec={"selector": {"x": True}})),
    "a label without a value": ("type", module(spec={"selector": {"x": None}})),
    "matchLabels": ("type", module(spec={"selector": {"matchLabels": {"a": "b"}}})),
    "a text for a list": ("type", module({"inTreeModulesToRemove": "neuron"})),
    "a text for parameters": ("type", modprobe(parameters="a=1 b=2")),
    "a text for a secret": ("type", module(spec={"imageRepoSecret": "pull"})),
    "a list for a spec": ("type", {**module(), "spec": []}),
    "mistyped, top": ("unknown-field", {**module(), "foo": 1}),
    "mistyped, build": ("unknown-field", module({"build": {"dockerfileConfigMap": {}, "dockerfile": "FROM x"}})),
    "mistyped, plugin": ("unknown-field", module(spec={"devicePlugin": {**POD, "volums": []}})),
    "mistyped, boot": ("unknown-field", boot(firmwarePath="/x")),
    "mistyped, operator": ("unknown-field", device_config(driverImage="a.b/c:1")),
    "preflight of an older form": ("unknown-field", {**preflight(EL9), "spec": {
        "kernelVersion": EL9, "releaseImage": "a.b/c:1"}}),
    "build without a file": ("required", module({"build": {}})),
    "sign without a certificate": ("required", module({"sign": {"keySecret": {}, "filesToSign": ["/opt/a"]}})),
    "pull policy": ("value", module({"imagePullPolicy": "ifnotpresent"})),
    "name": ("name", module(name="My_Module")),
    "a + in a tag": ("image-name", mappings({"literal": RT, "containerImage": f"a.b/c:1-{RT}"})),
    "a scheme": ("image-name", mappings({"literal": EL9, "containerImage": "docker://a.b/c:1"})),
    "capitals": ("image-name", mappings({"literal": EL9, "containerImage": "quay.io/A/b:1"})),
    "a short digest": ("image-name", mappings({"literal": EL9, "containerImage": "a.b/c@sha256:abc"})),
    "an open brace": ("variable", mappings({"regexp": "^.+$", "containerImage": "a.b/c:${KERNEL_FULL_VERSION"})),
    "parentheses": ("variable", mappings({"literal": EL9, "containerImage": "a.b/c:$(KERNEL_FULL_VERSION)"})),
    "no such variable": ("variable", mappings({"literal": EL9, "containerImage": "a.b/c:${DRIVER_VERSION}"})),
    "too little of a kernel": ("one-image", mappings({"regexp": "^.+$", "containerImage": "a.b/c:${KERNEL_XYZ}"})),
    "a shell's pattern": ("regexp", mappings({"regexp": "*.x86_64", "containerImage": "a.b/c:$KERNEL_VERSION"})),
    "too much repeated": ("regexp", mappings({"regexp": "^.{1,1001}$", "containerImage": "a.b/c:$KERNEL_VERSION"})),
    "a wildcard": ("literal", mappings({"literal": "5.14.0-*.x86_64", "containerImage": "a.b/c:1"})),
    "a release as a kernel": ("literal", mappings({"literal": "4.16.30", "containerImage": "a.b/c:1"})),
    "no architecture": ("literal", mappings({"literal": "5.14.0-427.13.1.el9_4", "containerImage": "a.b/c:1"})),
    "behind all": ("shadowed", mappings({"regexp": "^.+$", "containerImage": "a.b/c:$KERNEL_VERSION"},
                                        {"regexp": "^6.+$", "containerImage": "a.b/d:$KERNEL_VERSION"})),
    "one kernel without an end": ("unanchored", mappings({"regexp": r"^5\.14\.0-427\.1\.el9_4\.x86_64",
                                                          "containerImage": "a.b/c:1"})),
    "folder with a slash": ("dir-name", module({"modprobe": {"moduleName": "a", "dirName": "/opt/"}, "sign": {
        "keySecret": {}, "certSecret": {}, "filesToSign": ["/opt/lib/a.ko"]}})),
    "in-tree drivers and an image": ("in-tree", device_config(useInTreeDrivers=True)),
    "a version that nobody published": ("unpublished", device_config(
        driversImage=f"{PLACE}:2.99", driverVersion="2.99")),
    "preflight for a release": ("kernel", preflight("4.20.5")),
    "key twice": ("twice", yaml.safe_dump(module()).encode() + b"kind: Module\n"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong(name: str) -> None:
    rule, document = BAD[name]
    assert rules(document) == {rule}


def test_where_it_is() -> None:
    text = b"---\n# a remark\n" + yaml.safe_dump(modprobe(moduleLoadingOrder=["neuron", "a"])).encode()
    [told] = checked(text)
    line = text.decode().splitlines()[told.line - 1]
    assert line.strip() == "moduleLoadingOrder:"
    assert (told.file, told.object) == ("file.yaml", "Module neuron")
    assert told.field == "spec.moduleLoader.container.modprobe.moduleLoadingOrder"
    assert "modulesLoadingOrder" in told.message


def test_lists_of_clusters() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [module(), modprobe(moduleName="neuron.ko")]}
    [told] = checked(listed)
    assert told.rule == "module-name" and told.field == "spec.moduleLoader.container.modprobe.moduleName"


def test_a_tag_that_was_replaced() -> None:
    known = replace(LIBRARY, rows={PLACE: (row(EL9, replaces=Replaced(OLD, "", "changed: patches")),)})
    [old] = checked(image_set(f"{PLACE}@{OLD}"), known)
    assert old.rule == "replaced" and "changed: patches" in old.message and DIGESTS[EL9] in old.mend
    [tag] = checked(image_set(f"{PLACE}:2.22.2.0-{EL9}"), known)
    assert tag.rule == "tag" and "replaced since (changed: patches)" in tag.message


def test_images_without_proof() -> None:
    named = image_set(f"{PLACE}@{DIGESTS[EL9]}")
    unproven = replace(LIBRARY, rows={PLACE: (row(EL9, proof={"outcome": "unproven"}),)})
    assert rules(named, unproven) == {"unproven"}
    assert rules(named, replace(unproven, proofs=False)) == set()
    assert rules(named, replace(LIBRARY, refused=frozenset({DIGESTS[EL9]}))) == {"refused"}


def test_kernels_that_nothing_serves() -> None:
    alone = mappings({"literal": EL9, "containerImage": f"{PLACE}@{DIGESTS[EL9]}"})
    assert rules(alone, kernels=[EL9]) == set()
    assert rules(alone, kernels=[EL10]) == {"not-covered"}
    assert rules(alone, releases=["4.21.1"]) == {"not-covered"}
    assert rules(module(), releases=["4.21.1", "4.20.5"]) == set()
    assert rules(module(), kernels=["6.13.1-1.x86_64"]) == {"unpublished"}
    assert rules(device_config(), kernels=["6.13.1-1.x86_64"]) == {"unpublished"}
    assert rules(device_config(), kernels=[RT]) == set()
    assert rules(boot(), kernels=[RT]) == {"not-covered"}
    with pytest.raises(UsageError, match=r"4\.99\.1"):
        checked(alone, releases=["4.99.1"])


def test_the_cluster_says_which_kernels_it_has() -> None:
    def node(kernel: str, **labels: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x", "labels": labels},
                "status": {"nodeInfo": {"kernelVersion": kernel}}}

    alone = mappings({"literal": EL9, "containerImage": f"{PLACE}@{DIGESTS[EL9]}"})
    assert rules([alone, node(EL9, a="b"), node(EL10, a="c")]) == set()  # the selector leaves the second out
    assert rules([alone, node(EL10, a="b")]) == {"not-covered"}
    cluster = {"apiVersion": "config.openshift.io/v1", "kind": "ClusterVersion", "metadata": {"name": "version"},
               "spec": {"desiredUpdate": {"version": "4.21.1"}},
               "status": {"history": [{"state": "Completed", "version": "4.20.5"}]}}
    [told] = checked([alone, cluster])
    assert told.rule == "not-covered" and EL10 in told.message


def test_a_profile_with_a_pull_secret() -> None:
    known = replace(LIBRARY, secret=True)
    assert rules(module(), known) == rules(device_config(), known) == {"no-secret"}
    assert rules(module(spec={"imageRepoSecret": {"name": "pull"}}), known) == set()


@pytest.mark.parametrize("content, said", [
    (b"a: [", "is not YAML"), (b"a: &a [*a]", "refers to itself"), (b"[" * 200 + b"]" * 200, "nested"),
    (b"\xff\xfe\x00", "is not YAML"), (b"a: &a [1,1,1,1,1,1,1,1]\n" + b"".join(
        b"%c: &%c [%s]\n" % (97 + n, 97 + n, b",".join([b"*%c" % (96 + n)] * 9)) for n in range(1, 9)), "too many"),
], ids=["open", "itself", "deep", "bytes", "unfolds"])
def test_what_can_not_be_read(content: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        checked(content)


@pytest.mark.parametrize("content", [b"", b"- 1\n- 2\n", b"kind: Pod\n", b"just text", b"kind: List\nitems: [1, null]"])
def test_nothing_to_check(content: bytes) -> None:
    with pytest.raises(UsageError, match="nothing to check"):
        checked(content)


def test_only_certificates_that_a_module_signs_with() -> None:
    named = signs(f"/opt/lib/modules/{EL9}/neuron.ko")
    bad = {**secret(b"nothing"), "metadata": {"name": "cert"}}
    assert rules([named, bad, {**bad, "metadata": {"name": "other"}}]) == {"certificate"}
    assert len(checked([named, bad, {**bad, "metadata": {"name": "other"}}])) == 1
    assert rules([named, {**bad, "data": {"tls.crt": "eA=="}}]) == {"certificate"}


def test_levels() -> None:
    levels = {told.rule: told.level for told in [
        *checked(BAD["another flavour"][1]), *checked(BAD["mirror, tag"][1]), *checked(BAD["regexp"][1]),
        *checked(BAD["rt in filesToSign"][1])]}
    assert levels == {"unanchored": "warning", "tag": "warning", "regexp": "error", "files-to-sign": "error"}
    assert [told.level for told in checked(BAD["rt by regexp"][1])] == ["warning"]


def test_no_expression_takes_for_ever() -> None:
    started = time.monotonic()
    rules(mappings({"regexp": "^(([0-9.a-z_-])+)+Y$", "containerImage": "a.b/c:$KERNEL_VERSION"},
                   {"literal": "5.14.0-" + "a" * 80, "containerImage": "a.b/c:1"}), kernels=["5.14.0-" + "1" * 80])
    assert time.monotonic() - started < 10


def test_what_was_not_looked_at_is_said() -> None:
    content = yaml.safe_dump_all([module(), {"kind": "Pod", "apiVersion": "v1"}, {"apiVersion": "amd.com/v1alpha1",
                                                                                  "kind": "DeviceConfig"}]).encode()
    done = check({"x": content}, LIBRARY, VALIDATION)
    assert (done.objects, done.others) == (1, ["DeviceConfig (amd.com/v1alpha1)", "Pod (v1)"])
    with pytest.raises(UsageError, match=r"DeviceConfig \(amd.com/v1alpha1\)"):
        checked({"apiVersion": "amd.com/v1alpha1", "kind": "DeviceConfig"})


def test_a_cluster_of_a_release_that_nobody_knows() -> None:
    cluster = {"apiVersion": "config.openshift.io/v1", "kind": "ClusterVersion", "metadata": {"name": "version"},
               "status": {"desired": {"version": "4.99.1"}}}
    [told] = checked([module(), cluster])
    assert (told.rule, told.level) == ("unknown-release", "warning")


@pytest.mark.parametrize("value", [None, 1, "x", [], [1], {"a": 1}, True])
def test_values_of_any_kind_break_nothing(value: Any) -> None:
    """Wherever a field has another kind of value than its CRD says."""
    def each(inside: Any) -> Any:
        yield value
        for name, below in inside.items() if isinstance(inside, dict) else ():
            for other in each(below):
                yield {**inside, name: other}

    for good in (module(), managed(), device_config(), boot(), preflight(EL9), image_set("a.b/c:1"), secret("eA==")):
        for other in each(good.get("spec", {})):
            checked([good, {**good, "spec": other}], kernels=[EL9])
