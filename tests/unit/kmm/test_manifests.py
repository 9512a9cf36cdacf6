"""Manifests for clusters: by digest, newest first, and within the rules of KMM's webhook and of Kubernetes' names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from foundry.base.schema import ValidationCache
from foundry.kmm.check import check
from foundry.kmm.files import bundle_files
from foundry.kmm.known import Known
from foundry.kmm.manifests import (
    Driver,
    Image,
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
from foundry.kmm.objects import At
from foundry.kmm.rules import findings
from tests.harness.checkout import ROOT

REPOSITORY = "registry.example.com/neuron-driver"
IMAGES = tuple(
    Image(kernel, f"{REPOSITORY}@sha256:{number}" + "0" * 63, "a/dtk@sha256:" + "1" * 64)
    for number, kernel in enumerate(("5.14.0-570.el9.x86_64", "5.14.0-427.el9.x86_64+rt"), 1))
NEURON = Driver("neuron", "2.22.2.0", ("neuron",), IMAGES, devices=("1d0f:7164", "1d0f:7264", "abcd:0001"))
HABANA = Driver("habanalabs", "1.2.3", ("habanalabs", "habanalabs_cn", "habanalabs_en", "other"), IMAGES,
                loading_order=("habanalabs_cn", "habanalabs_en", "habanalabs"), firmware=True)
OPERATOR = yaml.safe_load((ROOT / "config/drivers/neuron.yaml").read_bytes())["kmm"]["operator"]
RT_LEFT_OUT = f"{IMAGES[1].kernel} can be no tag: a BootModuleConfig has no image for it"
ALL = Wishes("kmm-drivers", {"z": "b", "a": "b"}, ({"key": "x", "operator": "Exists"},), ("neuron",), "pull",
             ordered=True, operator=OPERATOR)


def mappings(manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = manifest["spec"]["moduleLoader"]["container"]["kernelMappings"]
    return found


def test_a_module_takes_each_kernel_by_digest() -> None:
    [module] = modules(NEURON, Wishes())
    assert module["metadata"] == {"name": "neuron"}
    *literal, last = mappings(module)
    assert literal == [{"literal": one.kernel, "containerImage": one.image} for one in IMAGES]
    assert last == {"regexp": "^.+$", "containerImage": f"{REPOSITORY}:2.22.2.0-${{KERNEL_FULL_VERSION}}"}
    [module] = modules(NEURON, Wishes(fallback=False))
    assert mappings(module) == literal
    assert module["spec"]["selector"] == {"feature.node.kubernetes.io/neuron": "true"}
    [module] = modules(replace(NEURON, devices=()), Wishes())
    assert module["spec"]["selector"] == {"node-role.kubernetes.io/worker": ""}


def test_a_module_has_what_family_and_profile_say() -> None:
    [module] = modules(NEURON, ALL)
    spec, container = module["spec"], module["spec"]["moduleLoader"]["container"]
    assert module["metadata"]["namespace"] == "kmm-drivers"
    assert (spec["selector"], spec["imageRepoSecret"], spec["tolerations"]) == (
        {"a": "b", "z": "b"}, {"name": "pull"}, [{"key": "x", "operator": "Exists"}])
    assert (container["version"], container["inTreeModulesToRemove"]) == ("2.22.2.0", ["neuron"])


def test_modules_that_load_others() -> None:
    first, second = modules(HABANA, Wishes())
    modprobe = first["spec"]["moduleLoader"]["container"]["modprobe"]
    assert modprobe == {"moduleName": "habanalabs", "dirName": "/opt", "firmwarePath": "/opt/lib/firmware",
                        "modulesLoadingOrder": ["habanalabs", "habanalabs_en", "habanalabs_cn"]}
    assert second["metadata"]["name"] == "other"
    assert "modulesLoadingOrder" not in second["spec"]["moduleLoader"]["container"]["modprobe"]


@pytest.mark.parametrize("text, name", [
    ("habanalabs_cn", "habanalabs-cn"), ("A.B", "a-b"), ("-x-", "x"), ("___", "driver"), ("a" * 60, "a" * 41),
    ("a" * 40 + "_b", "a" * 40),
])
def test_names(text: str, name: str) -> None:
    assert name_of(text) == name


@pytest.mark.parametrize("driver", [NEURON, HABANA, replace(NEURON, modules=("a" * 60,))], ids=["one", "order", "long"])
@pytest.mark.parametrize("wishes", [Wishes(), ALL, Wishes("n" * 40)], ids=["none", "all", "long"])
def test_the_webhook_takes_them(driver: Driver, wishes: Wishes) -> None:
    for manifest in (*modules(driver, wishes), *managed_cluster_modules(driver, wishes, "spoke")):
        assert list(findings(At(manifest))) == []
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", manifest["metadata"]["name"])


def test_what_another_module_needs_has_no_module_of_its_own() -> None:
    """KMM's worker could never unload it while the other one lives."""
    driver = replace(HABANA, modules=(*HABANA.modules, "base-one"), loads=("habanalabs", "other"))
    assert driver.loaded == ("habanalabs", "other")
    assert replace(driver, loading_order=(), loads=("base_one",)).loaded == ("base-one",)


def test_in_tree_modules_of_our_own_names_are_removed_once() -> None:
    """A second Module would remove ours, which the first one has loaded."""
    wishes = Wishes(remove=("habanalabs_en", "other", "foreign"))
    first, second = (one["spec"]["moduleLoader"]["container"]["inTreeModulesToRemove"]
                     for one in modules(HABANA, wishes))
    assert (first, second) == (["habanalabs_en", "foreign"], ["other", "foreign"])


def test_what_the_clusters_kmm_does_not_know_is_left_out_and_said() -> None:
    wishes = replace(ALL, remove=("neuron", "b"), boot_repository="r.example.com/boot/2.22.2.0")
    fields = {version: next(modules(NEURON, replace(wishes, kmm=version)))["spec"]
              for version in ("", "2.10", "2.5", "2.4", "2.3", "2.2", "2.1")}
    assert [version for version, spec in fields.items() if "tolerations" not in spec] == ["2.2", "2.1"]
    containers = {version: spec["moduleLoader"]["container"] for version, spec in fields.items()}
    assert [version for version, one in containers.items() if "inTreeModulesToRemove" not in one] == ["2.1"]
    assert containers["2.1"]["inTreeModuleToRemove"] == "neuron"
    assert all(list(findings(At({"apiVersion": "kmm.sigs.x-k8s.io/v1beta1", "kind": "Module", "spec": spec}))) == []
               for spec in fields.values())
    assert [list(left_out(NEURON, replace(wishes, kmm=version))) != [RT_LEFT_OUT] for version in fields] == [
        False, False, False, True, True, True, True]
    assert list(left_out(NEURON, replace(wishes, kmm="2.1"))) == [
        "KMM 2.1 has no `tolerations`: its pods do not run on nodes with such taints",
        "KMM 2.1 removes one in-tree module: neuron, not b", "KMM 2.1 has no BootModuleConfig", RT_LEFT_OUT]
    kinds = [preflight(IMAGES[0], replace(wishes, kmm=version)) for version in ("", "2.5", "2.4", "2.1")]
    assert [(one["kind"], one["apiVersion"][-7:]) for one in kinds] == [
        ("PreflightValidationOCP", "v1beta2"), ("PreflightValidationOCP", "v1beta2"),
        ("PreflightValidation", "v1beta2"), ("PreflightValidation", "v1beta1")]
    assert "boot/boot-module-config.yaml" not in bundle_files(NEURON, replace(wishes, kmm="2.4"), [REPOSITORY], "")
    readme = bundle_files(NEURON, replace(wishes, kmm="2.1"), [REPOSITORY], "")["README.md"].decode()
    assert "removes one in-tree module" in readme and RT_LEFT_OUT in readme


def test_loading_while_the_node_boots() -> None:
    wishes = Wishes("here", remove=("habanalabs",), boot_repository="r.example.com/boot/1.2.3")
    first, second = boot_configs(HABANA, wishes)
    assert first["spec"] == {
        "kernelModuleImage": "r.example.com/boot/1.2.3", "kernelModuleName": "habanalabs",
        "machineConfigName": "99-habanalabs", "machineConfigPoolName": "worker",
        "firmwareFilesPath": "/opt/lib/firmware", "inTreeModulesToRemove": ["habanalabs"]}
    assert second["spec"]["kernelModuleName"] == "other" and "inTreeModulesToRemove" not in second["spec"]


def test_names_that_kubernetes_refuses_are_said() -> None:
    driver = replace(NEURON, modules=("Some_Module",), images=IMAGES[:1])
    assert list(left_out(driver, Wishes())) == [
        "the Module of Some_Module is called some-module: Kubernetes takes no other name"]
    assert list(left_out(replace(NEURON, images=IMAGES[:1]), ALL)) == []


def test_the_rule_has_the_devices_that_modules_bind() -> None:
    [rule] = feature_rule(NEURON)["spec"]["rules"]
    found = [{name: one["value"] for name, one in entry["matchFeatures"][0]["matchExpressions"].items()}
             for entry in rule["matchAny"]]
    assert found == [{"vendor": ["1d0f"], "device": ["7164", "7264"]}, {"vendor": ["abcd"], "device": ["0001"]}]
    assert rule["labels"] == {"feature.node.kubernetes.io/neuron": "true"}


def test_the_rule_lies_where_nfd_looks() -> None:
    ours, upstream = feature_rule(NEURON), feature_rule(NEURON, openshift=False)
    assert (ours["apiVersion"], ours["metadata"]["namespace"]) == ("nfd.openshift.io/v1alpha1", "openshift-nfd")
    assert upstream["apiVersion"] == "nfd.k8s-sigs.io/v1alpha1" and "namespace" not in upstream["metadata"]
    assert ours["spec"] == upstream["spec"]


def test_the_vendors_operator_gets_what_it_takes() -> None:
    made = operator_resource(NEURON, Wishes(secret="pull"), OPERATOR["resource"])
    assert f"{made['spec']['driversImage']}-{IMAGES[0].kernel}" == f"{REPOSITORY}:2.22.2.0-{IMAGES[0].kernel}"
    text = bundle_files(NEURON, Wishes(operator=OPERATOR), [REPOSITORY], "")["operator/resource.yaml"].decode()
    assert text.startswith("# For the AWS Neuron operator") and "by digest" in text
    assert yaml.safe_load(text)["spec"]["driverVersion"] == "2.22.2.0"
    assert "operator/resource.yaml" not in bundle_files(NEURON, Wishes(), [REPOSITORY], "")


def test_the_rest() -> None:
    [hub] = managed_cluster_modules(NEURON, Wishes(), "spoke")
    [module] = modules(NEURON, Wishes())
    assert hub["spec"]["moduleSpec"] == module["spec"] and hub["spec"]["spokeNamespace"] == "spoke"
    assert preflight(IMAGES[1], Wishes())["spec"] == {"kernelVersion": IMAGES[1].kernel, "pushBuiltImage": False,
                                            "dtkImage": IMAGES[1].toolkit}
    assert image_set(["a@b"])["mirror"] == {"additionalImages": [{"name": "a@b"}]}
    synced = [Image("k", name, "", signed=name[0] == "i") for name in
              ("h:1/a/b@sha256:1", "h:1/a/b@sha256:2", "i/c@sha256:3")]
    assert image_sync(synced) == {"h:1": {"images": {"a/b": ["sha256:1", "sha256:2"]}},
                                  "i": {"images": {"c": ["sha256:3", "sha256-3.sig"]}}}
    text = bundle_files(replace(NEURON, images=(replace(IMAGES[0], releases=("4.20.5", "4.20.6")),)), Wishes(),
                        [REPOSITORY], "")[f"preflight/{IMAGES[0].kernel}.yaml"]
    assert text.startswith(b"# of 4.20.5, 4.20.6\n")
    [digests, tags] = mirror_sets("x", [REPOSITORY], "mirror.example.com/d")
    assert digests["spec"]["imageDigestMirrors"] == tags["spec"]["imageTagMirrors"] == [
        {"source": REPOSITORY, "mirrors": ["mirror.example.com/d/neuron-driver"]}]


def documents() -> list[dict[str, Any]]:
    booting = replace(ALL, boot_repository="r.example.com/boot/2.22.2.0")
    files = {**bundle_files(NEURON, booting, [REPOSITORY], ""), **bundle_files(HABANA, Wishes(), [REPOSITORY], "m/n")}
    return [document for name, data in files.items() if name.endswith(".yaml")
            for document in yaml.safe_load_all(data)]


@pytest.mark.parametrize("driver, wishes", [(NEURON, ALL), (NEURON, Wishes()), (HABANA, ALL)])
def test_nothing_is_wrong_with_them(driver: Driver, wishes: Wishes) -> None:
    files = {name: data for name, data in bundle_files(driver, wishes, [REPOSITORY], "m.example.com/n").items()
             if name.endswith(".yaml")}
    checked = check(files, Known(), ValidationCache(ROOT, ROOT / "nowhere", writes=False))
    assert checked.found == [] and checked.objects >= 5


def test_images_in_two_registries() -> None:
    other = "other.example.com/path/neuron-driver"
    driver = replace(NEURON, images=(IMAGES[0], replace(IMAGES[1], image=f"{other}@sha256:" + "5" * 64)))
    files = bundle_files(driver, Wishes(), [REPOSITORY, other], "m.example.com/n")
    [module] = yaml.safe_load_all(files["base/module.yaml"])
    assert [one["containerImage"] for one in mappings(module)[:2]] == [one.image for one in driver.images]
    overlay = yaml.safe_load(files["overlays/example/kustomization.yaml"])
    assert {one["name"]: one["newName"] for one in overlay["images"]} == {
        REPOSITORY: "m.example.com/n/neuron-driver", other: "m.example.com/n/path/neuron-driver"}
    for document in yaml.safe_load_all(files["mirror/mirror-sets.yaml"]):
        [sources] = document["spec"].values()
        assert [one["source"] for one in sources] == [REPOSITORY, other]


def test_the_same_files_each_time() -> None:
    again = json.loads(json.dumps(asdict(ALL), sort_keys=True))  # as what is kept of configuration has it
    assert bundle_files(NEURON, ALL, [REPOSITORY], "") == bundle_files(NEURON, Wishes(**again), [REPOSITORY], "")
    assert "nodes/node-feature-rule.yaml" not in bundle_files(HABANA, ALL, [REPOSITORY], "")


# Fields of the custom resources that bundles use, as KMM (kubernetes-sigs de3f8c9, downstream 0419e2f), NFD and
# OpenShift define them; with KMOD_CRDS=FOLDER of their CRDs, each manifest is checked against those.
FIELDS = {
    "Module": "moduleLoader.container.modprobe.moduleName moduleLoader.container.modprobe.dirName"
              " moduleLoader.container.modprobe.firmwarePath moduleLoader.container.modprobe.modulesLoadingOrder"
              " moduleLoader.container.version moduleLoader.container.inTreeModulesToRemove"
              " moduleLoader.container.kernelMappings.literal moduleLoader.container.kernelMappings.regexp"
              " moduleLoader.container.kernelMappings.containerImage imageRepoSecret.name tolerations.key"
              " tolerations.operator selector",
    "BootModuleConfig": "kernelModuleImage kernelModuleName machineConfigName machineConfigPoolName firmwareFilesPath"
                        " inTreeModulesToRemove",
    "DeviceConfig": "driversImage driverVersion nodeMetricsImage imageRepoSecret.name selector",
    "PreflightValidationOCP": "kernelVersion pushBuiltImage dtkImage",
    "NodeFeatureRule": "rules.name rules.labels rules.matchAny",
    "ImageDigestMirrorSet": "imageDigestMirrors.source imageDigestMirrors.mirrors",
    "ImageTagMirrorSet": "imageTagMirrors.source imageTagMirrors.mirrors",
}


def used(value: Any, below: str = "") -> Iterator[str]:
    if isinstance(value, dict) and not below.endswith(("selector", "labels")):
        for name, inside in value.items():
            yield from used(inside, f"{below}.{name}".lstrip("."))
    elif isinstance(value, list) and value and isinstance(value[0], dict) and not below.endswith("matchAny"):
        for inside in value:
            yield from used(inside, below)
    else:
        yield below


def test_only_fields_that_there_are() -> None:
    for document in documents():
        if document.get("kind") in FIELDS:
            assert {*used(document["spec"])} <= {*FIELDS[document["kind"]].split()}, document["kind"]
    folder = os.environ.get("KMOD_CRDS", "")
    crds = [crd for path in Path(folder).rglob("*.yaml") for crd in yaml.safe_load_all(path.read_bytes())
            if crd and crd.get("kind") == "CustomResourceDefinition"] if folder else []
    for crd in crds:
        for version in crd["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            for document in documents():
                if document.get("kind") == crd["spec"]["names"]["kind"] and document["apiVersion"] == (
                    f"{crd['spec']['group']}/{version['name']}"
                ):
                    jsonschema.Draft202012Validator(schema).validate(document)


def strict(schema: Any) -> Any:
    """As the API server is: no field that is not defined."""
    if isinstance(schema, dict):
        if "properties" in schema and "additionalProperties" not in schema and not schema.get(
            "x-kubernetes-preserve-unknown-fields"
        ) and "metadata" not in schema["properties"]:
            schema["additionalProperties"] = False
        for one in schema.values():
            strict(one)
    elif isinstance(schema, list):
        for one in schema:
            strict(one)
    return schema


def test_manifests_are_written_without_what_only_checks_need() -> None:
    """It is on the way of "nothing to do"."""
    program = ("import sys; import foundry.release.bundle; "
               "sys.exit(bool({'re2', 'jinja2', 'foundry.kmm.rules'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
