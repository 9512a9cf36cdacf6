"""What is wrong in manifests that users have, from the manifests alone: each mistake with its place and its mend.

Sources: KMM's CRDs and webhook (internal/webhook/module.go), how it chooses a mapping and fills names in
(internal/module/kernelmapper.go, internal/utils/replaceStrings.go) and what its worker and Day 1 script run; the
Neuron operator's CRD and kmmmodule.go; oc-mirror's ImageSetConfiguration (mirror.openshift.io/v2alpha1).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.names import is_kernel, near, tag_of
from foundry.base.yaml_lines import Path as Place
from foundry.kmm.manifests import LONGEST

Rule = Callable[["At"], Iterator["Finding"]]
ANY_KERNEL = ("5.14.0-570.12.1.el9_6.x86_64", "6.12.0-55.9.1.el10_0.x86_64")
_VARIABLE = re.compile(r"\$(?:\{)?(KERNEL_FULL_VERSION|KERNEL_VERSION|KERNEL_XYZ|KERNEL_[XYZ])\b\}?")
_WHOLE_KERNEL = re.compile(r"\$(?:\{)?KERNEL_(?:FULL_)?VERSION\b\}?")
_NOT_IN_GO = re.compile(r"\(\?(?:=|!|<=|<!|>|#|\()|\\[1-9]|(?<!\\)[*+?}]\+")  # RE2 has no lookaround, no references
_PRIVATE = re.compile(r"[0-9]+\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?|registry\.redhat\.io|nvcr\.io")
_KERNEL_PARTS = re.compile(r"[.,-]")
_FEWEST_PARTS = 3  # of a kernel's version, as KMM counts them
_HOST_PATHS = ("/dev", "/sys", "/var", "/opt", "/run")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# The fields of KMM's Module, where users mistype them (config/crd/bases/kmm.sigs.x-k8s.io_modules.yaml).
_FIELDS = {
    "spec": "devicePlugin dra imageRepoSecret moduleLoader selector tolerations imageRebuildTriggerGeneration",
    "moduleLoader": "container serviceAccountName",
    "container": "build containerImage imagePullPolicy inTreeModuleToRemove inTreeModulesToRemove kernelMappings"
                 " modprobe registryTLS sign version",
    "modprobe": "args dirName firmwarePath moduleName modulesLoadingOrder parameters rawArgs",
    "mapping": "build containerImage inTreeModuleToRemove inTreeModulesToRemove literal regexp registryTLS sign",
}


@dataclass(frozen=True)
class Finding:
    """A mistake: the rule's name, where it is in the object, what is wrong, and how it is mended."""

    rule: str
    path: Place
    message: str
    mend: str


@dataclass(frozen=True)
class At:
    """A value of an object, and where it is."""

    value: Any
    path: Place = ()

    def __getitem__(self, name: str | int) -> At:
        """What it has of that name; of what it has not, the value is None."""
        value = self.value
        if isinstance(name, int):
            found = value[name] if isinstance(value, list) and name < len(value) else None
        else:
            found = value.get(name) if isinstance(value, dict) else None
        return At(found, (*self.path, name))

    def __contains__(self, name: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(name) is not None

    def __iter__(self) -> Iterator[At]:
        for place, _ in enumerate(self.value if isinstance(self.value, list) else ()):
            yield self[place]

    @property
    def text(self) -> str:
        """The value where it is a text; else empty."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def texts(self) -> list[str]:
        """The texts in the list that it is."""
        return [one.text for one in self if one.text]

    def says(self, rule: str, message: str, mend: str) -> Finding:
        """A finding at this place."""
        return Finding(rule, self.path, message, mend)


@dataclass(frozen=True)
class Wanted:
    """An image that an object names, the kernel that it is for where only one is meant, and what chooses kernels."""

    at: At
    image: str
    kernels: Callable[[str], bool]
    kernel: str = ""


def findings(at: At) -> Iterator[Finding]:
    """The mistakes of an object; nothing of a kind that is not known."""
    if not is_known(at):
        return
    versions, look = KINDS[at["kind"].text]
    if at["apiVersion"].text not in versions:
        yield at["apiVersion"].says(
            "api-version", f"{at['kind'].text} is not of {at['apiVersion'].text or 'no apiVersion'}",
            f"`apiVersion: {versions[0]}`")
    yield from look(at)


def is_known(at: At) -> bool:
    """Whether there are rules for objects of this kind; others use some of the names, too."""
    kind = at["kind"].text
    return kind in KINDS and (kind not in _OF_OTHERS or at["apiVersion"].text in KINDS[kind][0])


def module_specs(at: At) -> At | None:
    """The ModuleSpec that a Module or ManagedClusterModule has; None in other kinds."""
    return {"Module": at["spec"], "ManagedClusterModule": at["spec"]["moduleSpec"]}.get(at["kind"].text)


def images(at: At) -> Iterator[Wanted]:
    """The images that an object has nodes pull, variables in them unfilled."""
    spec, kind = module_specs(at), at["kind"].text
    if spec is not None:
        container = spec["moduleLoader"]["container"]
        for mapping in container["kernelMappings"]:
            named = mapping["containerImage"] if "containerImage" in mapping else container["containerImage"]
            if named.text:
                yield Wanted(named, named.text, chosen_by(mapping), mapping["literal"].text)
    elif kind == "DeviceConfig" and at["spec"]["driversImage"].text:
        named = at["spec"]["driversImage"]
        yield Wanted(named, f"{named.text}-$KERNEL_VERSION", lambda _: True)
    elif kind == "BootModuleConfig" and at["spec"]["kernelModuleImage"].text:
        named = at["spec"]["kernelModuleImage"]
        yield Wanted(named, f"{named.text}:$KERNEL_VERSION", lambda kernel: tag_of(kernel) == kernel)
    elif kind == "ImageSetConfiguration":
        for one in at["mirror"]["additionalImages"]:
            if one["name"].text:
                yield Wanted(one["name"], one["name"].text, lambda _: False)


def chosen_by(mapping: At) -> Callable[[str], bool]:
    """Whether a mapping fits a kernel; a regular expression that can't be read fits none."""
    literal, pattern = mapping["literal"].text, _compiled(mapping["regexp"].text)
    return lambda kernel: kernel == literal or (pattern is not None and pattern.search(kernel) is not None)


def filled(image: str, kernel: str) -> str:
    """The image's name as KMM fills it in for a kernel."""
    tag = tag_of(kernel)
    parts = dict(zip(("KERNEL_X", "KERNEL_Y", "KERNEL_Z"), _KERNEL_PARTS.split(tag), strict=False))
    facts = {"KERNEL_FULL_VERSION": tag, "KERNEL_VERSION": tag, "KERNEL_XYZ": ".".join(parts.values()), **parts}
    return _VARIABLE.sub(lambda match: facts.get(match[1], match[0]), image)


def varies(image: str) -> bool:
    """Whether its name depends on the kernel."""
    return _VARIABLE.search(image) is not None


def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except (re.error, OverflowError, RecursionError):
        return None


def _module(at: At) -> Iterator[Finding]:
    meta, spec = at["metadata"], at["spec"]
    yield from _length(meta["name"], meta["namespace"].text)
    yield from _module_spec(spec)


def _managed(at: At) -> Iterator[Finding]:
    spec = at["spec"]
    if not spec["spokeNamespace"].text:
        yield spec["spokeNamespace"].says("required", "spokeNamespace is missing", "name the clusters' namespace")
    yield from _length(at["metadata"]["name"], spec["spokeNamespace"].text)
    yield from _module_spec(spec["moduleSpec"])


def _length(name: At, namespace: str) -> Iterator[Finding]:
    longest = len(name.text) + len(namespace)
    if longest > LONGEST:
        yield name.says("name-length", f"name and namespace have {longest} characters, and KMM takes {LONGEST}",
                        "shorten one of them")


def _module_spec(spec: At) -> Iterator[Finding]:
    loader = spec["moduleLoader"]
    container = loader["container"]
    for place, kind in ((spec, "spec"), (loader, "moduleLoader"), (container, "container"),
                        (container["modprobe"], "modprobe"),
                        *((mapping, "mapping") for mapping in container["kernelMappings"])):
        yield from _fields(place, _FIELDS[kind].split())
    if not isinstance(spec["selector"].value, dict):
        yield spec["selector"].says("required", "there is no selector", "name the nodes by a label of theirs")
    if "dra" in spec and "devicePlugin" in spec:
        yield spec["dra"].says("dra", "`dra` and `devicePlugin` exclude each other", "leave one of them out")
    yield from _dra(spec["dra"])
    for toleration in spec["tolerations"]:
        yield from _toleration(toleration)
    for plugin in ("dra", "devicePlugin"):
        for volume in spec[plugin]["volumes"]:
            path = volume["hostPath"]["path"]
            if path.text and not any(path.text == one or path.text.startswith(f"{one}/") for one in _HOST_PATHS):
                yield path.says("host-path", f"{path.text} is no path that KMM mounts",
                                f"take one below {', '.join(_HOST_PATHS)}")
    if loader.value is None:
        return
    yield from _mappings(container)
    yield from _modprobe(container["modprobe"])
    yield from _in_tree(container)
    yield from _signing(container)
    yield from _secret(spec)


def _fields(at: At, known: Iterable[str]) -> Iterator[Finding]:
    for name in at.value if isinstance(at.value, dict) else ():
        if name not in known:
            yield at[name].says("unknown-field", f"there is no field {name!r}{near(name, known)}",
                                "the cluster leaves such a field out without a word")


def _dra(at: At) -> Iterator[Finding]:
    """Dynamic resource allocation, since KMM 2.7."""
    if at.value is None:
        return
    names = [at["driverName"], *(one["name"] for one in at["deviceClasses"])]
    for name in names:
        if not _SUBDOMAIN.fullmatch(name.text):
            wrong = f"{name.text!r} is no name of a domain" if name.text else f"{name.path[-1]} is missing"
            yield name.says("dra", wrong, "KMM's webhook refuses the Module; as in `gpu.example.com`")
    for place, name in enumerate(names[1:], 1):
        if name.text and name.text in [one.text for one in names[1:place]]:
            yield name.says("dra", f"the device class {name.text} is there twice", "leave one out")


def _toleration(at: At) -> Iterator[Finding]:
    key, operator, value, effect = at["key"].text, at["operator"].text, at["value"].text, at["effect"].text
    wrong = (
        f"{key!r} is no key" if key and not _KEY.fullmatch(key)
        else "without a key, the operator must be Exists" if not key and operator != "Exists"
        else "tolerationSeconds goes with the effect NoExecute alone" if (
            "tolerationSeconds" in at and effect != "NoExecute")
        else f"{operator!r} is neither Equal nor Exists" if operator not in ("", "Equal", "Exists")
        else "Exists takes no value" if operator == "Exists" and value
        else f"{value!r} is no value of a label" if operator != "Exists" and not _LABEL.fullmatch(value)
        else f"{effect!r} is none of {', '.join(_EFFECTS)}" if effect and effect not in _EFFECTS else "")
    if wrong:
        yield at.says("toleration", wrong, "KMM's webhook refuses the Module; write what the node's taint says")


def _mappings(container: At) -> Iterator[Finding]:
    mappings = list(container["kernelMappings"])
    if not mappings:
        yield container["kernelMappings"].says("no-mapping", "no kernel has an image", "add a mapping for each kernel")
    before: list[At] = []
    for mapping in mappings:
        literal, pattern = mapping["literal"].text, mapping["regexp"].text
        if bool(literal) == bool(pattern):
            yield mapping.says("literal-or-regexp", "a mapping has one of `literal` and `regexp`"
                               + (", and this one has both" if literal else ""), "leave one of them in")
        named = mapping["containerImage"] if "containerImage" in mapping else container["containerImage"]
        if not named.text:
            yield mapping.says("no-image", "the mapping has no containerImage, and the container has none",
                               "name the image, by digest")
        elif named.path[:len(mapping.path)] == mapping.path:
            yield from _name(named)
        if pattern:
            yield from _regexp(mapping, named.text)
        if literal and (other := next((one for one in before if chosen_by(one)(literal)), None)) is not None:
            yield mapping["literal"].says("shadowed", f"`{other['regexp'].text or literal}` above fits {literal} first",
                                          "put literal mappings before regular expressions, each kernel once")
        before.append(mapping)
    if "containerImage" in container:
        yield from _name(container["containerImage"])


def _name(image: At) -> Iterator[Finding]:
    last = image.text.rpartition("/")[2]
    if ":" not in last and "@" not in last:
        yield image.says("no-tag", f"{image.text} has neither tag nor digest", "name it by digest: `…@sha256:…`")
    elif "@" in last and varies(last):
        yield image.says("digest-varies", "a digest is of one image: no kernel can be filled into its name",
                         "name a literal mapping's image by digest, or a tag with ${KERNEL_FULL_VERSION}")


def _regexp(mapping: At, image: str) -> Iterator[Finding]:
    at = mapping["regexp"]
    compiled = _compiled(at.text)
    if compiled is None or _NOT_IN_GO.search(at.text):
        yield at.says("regexp", f"`{at.text}` is no regular expression that Go reads",
                      "Go has neither lookarounds nor references to groups")
        return
    if image and not varies(image) and not is_kernel(at.text.strip("^$").replace("\\", "")):
        yield mapping["containerImage"].says(
            "one-image", "every kernel that the regular expression fits gets this one image",
            "an image has the modules of one kernel: take `literal`, or ${KERNEL_FULL_VERSION} in the tag")


def flavours(mapping: At, kernels: Iterable[str]) -> Iterator[Finding]:
    """A regular expression that fits a kernel of another flavour in passing: it has no end."""
    at = mapping["regexp"]
    compiled = _compiled(at.text)
    if compiled is None or compiled.fullmatch("anything at all"):
        return
    for kernel in kernels:
        other = next((f"{kernel}{end}" for end in ("+rt", "+64k", "+debug") if compiled.fullmatch(kernel)
                      and compiled.search(f"{kernel}{end}") and not compiled.fullmatch(f"{kernel}{end}")), "")
        if other or (compiled.search(kernel) and not compiled.fullmatch(kernel)):
            yield at.says("unanchored", f"it also fits {other or kernel}, of which it has only a part",
                          "begin it with ^ and end it with $")
            return


def _modprobe(at: At) -> Iterator[Finding]:
    name, order, raw = at["moduleName"], at["modulesLoadingOrder"], at["rawArgs"]
    if not name.text and not (raw["load"].texts and raw["unload"].texts):
        yield at.says("module-name", "there is no moduleName", "name the module, or `load` and `unload` of rawArgs")
    if name.text and (raw["load"].texts or raw["unload"].texts):
        yield raw.says("module-name", "rawArgs can't stand beside moduleName", "leave one of them out")
    if name.text and ("/" in name.text or name.text.endswith(".ko")):
        yield name.says("module-name", f"modprobe takes names, and {name.text!r} is a file", "leave path and .ko out")
    if "modulesLoadingOrder" in at:
        names = order.texts
        wrong = (
            "it names fewer than two modules" if len(names) < 2  # noqa: PLR2004 - as it says
            else f"its first is not moduleName, {name.text!r}" if names[0] != name.text
            else "it names a module twice" if len({*names}) < len(names) else "")
        if wrong:
            yield order.says("loading-order", f"modulesLoadingOrder: {wrong}",
                             "moduleName first, then what it needs, in the order in which they are unloaded")


def _in_tree(container: At) -> Iterator[Finding]:
    mappings = list(container["kernelMappings"])
    for place in (container, *mappings):
        if "inTreeModuleToRemove" in place and any("inTreeModulesToRemove" in one for one in (place, container)):
            yield place["inTreeModuleToRemove"].says(
                "in-tree", "inTreeModuleToRemove can't stand beside inTreeModulesToRemove", "take the list alone")
        one_by_one = [*place["inTreeModulesToRemove"], *([place["inTreeModuleToRemove"]] if (
            "inTreeModuleToRemove" in place) else ())]
        yield from _removed(one_by_one)
    for mapping in mappings:
        if mapping["inTreeModulesToRemove"].value == [] and container["inTreeModulesToRemove"].texts:
            yield mapping["inTreeModulesToRemove"].says(
                "in-tree", "the empty list takes the place of the container's: nothing is removed for this kernel",
                "leave it out")


def _removed(names: Iterable[At]) -> Iterator[Finding]:
    for name in names:
        if "/" in name.text or name.text.endswith((".ko", ".ko.xz")) or not name.text:
            yield name.says("in-tree", f"modprobe takes names of modules, and {name.text!r} is none",
                            "leave path and .ko out")


def _signing(container: At) -> Iterator[Finding]:
    folder = container["modprobe"]["dirName"].text or "/opt"
    for place in (container, *container["kernelMappings"]):
        if "sign" not in place:
            continue
        files = place["sign"]["filesToSign"]
        if not files.texts:
            yield place["sign"].says("files-to-sign", "filesToSign is missing", "name the modules below dirName")
        for file in files:
            if not file.text.startswith(f"{folder}/"):
                yield file.says("files-to-sign", f"{file.text} is not below dirName, {folder}",
                                f"begin it with {folder}/")
            if _WHOLE_KERNEL.search(file.text) and any(
                chosen_by(one)(kernel) for one in ([place] if place is not container else container["kernelMappings"])
                for kernel in (*(f"{kernel}+rt" for kernel in ANY_KERNEL), one["literal"].text) if "+" in kernel
            ):
                yield file.says(
                    "files-to-sign", "of a kernel with `+` (+rt, +64k) the variable has `_`, and the folder has not",
                    "take a literal mapping for such kernels, with the folder written out")


def _secret(spec: At) -> Iterator[Finding]:
    if "imageRepoSecret" in spec:
        return
    for one in images(At({"kind": "Module", "spec": spec.value})):
        if _PRIVATE.fullmatch(one.image.partition("/")[0]):
            yield At(None, (*spec.path, *one.at.path[1:])).says(
                "no-secret", f"{one.image.partition('/')[0]} wants a login, and there is no imageRepoSecret",
                "`imageRepoSecret: {name: …}`, a secret of the Module's namespace")
            return


def _device_config(at: At) -> Iterator[Finding]:
    spec = at["spec"]
    image, version = spec["driversImage"], spec["driverVersion"]
    last = image.text.rpartition("/")[2]
    in_tree = spec["useInTreeDrivers"].value is True
    whole = False  # whether driversImage is as it must be
    if "@" in last:
        yield image.says("digest", "the operator puts -$KERNEL_VERSION behind driversImage: it can't take a digest",
                         "name the tag without its kernel: `…:2.22.2.0`; a Module of your own takes digests")
    elif varies(last) or re.search(r":.*-[0-9]+\.[0-9]+\.[0-9]+", last):
        yield image.says("kernel-twice", "the operator puts -$KERNEL_VERSION behind driversImage, which has a kernel",
                         "end the tag with the driver's version")
    elif image.text and ":" not in last:
        yield image.says("no-tag", f"{image.text} has no tag, and gets the kernel as part of its name",
                         "end it with `:` and the driver's version")
    else:
        whole = bool(image.text)
    if not version.text and not in_tree:
        yield version.says("no-version", "driverVersion is empty: the operator can't tell an upgrade, and its own build"
                           " asks for a package without a version", "name the version of the driver")
    elif whole and not in_tree and last.rpartition(":")[2] != tag_of(version.text):
        yield version.says("other-version", f"driverVersion is {version.text}, and the image is"
                           f" {last.rpartition(':')[2]}", "name the same version in both")
    if not spec["nodeMetricsImage"].text:
        yield spec["nodeMetricsImage"].says("required", "nodeMetricsImage is missing", "the operator's CRD asks for it")
    parts = [name for name in ("devicePluginImage", "customSchedulerImage", "schedulerExtensionImage")
             if spec[name].text]
    if parts and "draDriverImage" in spec:
        yield spec["draDriverImage"].says("dra", f"draDriverImage and {parts[0]} exclude each other", "leave one out")
    elif 0 < len(parts) < 3:  # noqa: PLR2004 - of the three names above
        yield spec[parts[0]].says("required", "device plugin, scheduler and its extension go together",
                                  "name all three images")
    if "imageRepoSecret" not in spec and _PRIVATE.fullmatch(image.text.partition("/")[0]):
        yield image.says("no-secret", f"{image.text.partition('/')[0]} wants a login, and there is no imageRepoSecret",
                         "`imageRepoSecret: {name: …}`")


def _boot(at: At) -> Iterator[Finding]:
    spec = at["spec"]
    image, name = spec["kernelModuleImage"], spec["kernelModuleName"]
    for field in ("kernelModuleImage", "kernelModuleName", "machineConfigName", "machineConfigPoolName"):
        if not spec[field].text:
            yield spec[field].says("required", f"{field} is missing", "the CRD asks for it")
    if ":" in image.text.rpartition("/")[2] or "@" in image.text:
        yield image.says("kernel-tag", "the node pulls kernelModuleImage:$(uname -r): it has neither tag nor digest",
                         "name a repository in which each tag is a kernel")
    if "/" in name.text or name.text.endswith(".ko"):
        yield name.says("module-name", f"modprobe takes names, and {name.text!r} is a file", "leave path and .ko out")
    yield from _removed(spec["inTreeModulesToRemove"])


def _image_set(at: At) -> Iterator[Finding]:
    listed = list(at["mirror"]["additionalImages"])
    for one in listed:
        last = one["name"].text.rpartition("/")[2]
        if not last:
            yield one.says("required", "an image has no name", "`name: host/repository@sha256:…`")
        elif "@" not in last and ":" not in last:
            yield one["name"].says("no-tag", f"{one['name'].text} has neither tag nor digest", "name it by digest")
        elif varies(last):
            yield one["name"].says("variable", "oc-mirror fills no variable in", "name each kernel's image, by digest")


def _preflight(at: At) -> Iterator[Finding]:
    kernel = at["spec"]["kernelVersion"]
    if len(_KERNEL_PARTS.split(kernel.text)) < _FEWEST_PARTS:
        yield kernel.says("kernel", f"{kernel.text!r} is no kernel's version", "as `uname -r` on the node says it")


def _secret_object(at: At) -> Iterator[Finding]:
    """A certificate that KMM would sign modules with (`certSecret`)."""
    from foundry.signing.certificate import parse_certificate

    data = at["data"]["cert"]
    if not data.text:
        return
    try:
        content = base64.b64decode("".join(data.text.split()), validate=True)
    except (ValueError, binascii.Error):
        yield data.says("certificate", "the certificate is not base64",
                        "`oc create secret generic NAME --from-file=cert=FILE` encodes it")
        return
    try:
        warnings: tuple[str, ...] = parse_certificate(content, Path("cert")).warnings
    except FoundryError as error:
        warnings = (f"{error.sentence} (it has to be DER)",)
    for warning in warnings:
        yield data.says("certificate", f"RHEL does not take this certificate for modules: {warning}",
                        "`doit signing:new` makes one that it takes; docs/signing.md says why")


_OF_OTHERS = ("DeviceConfig", "Secret")
_KMM = "kmm.sigs.x-k8s.io"
KINDS: Mapping[str, tuple[tuple[str, ...], Rule]] = {
    "Module": ((f"{_KMM}/v1beta1",), _module),
    "ManagedClusterModule": ((f"hub.{_KMM}/v1beta1",), _managed),
    "BootModuleConfig": ((f"{_KMM}/v1beta1",), _boot),
    "PreflightValidation": ((f"{_KMM}/v1beta2", f"{_KMM}/v1beta1"), _preflight),
    "PreflightValidationOCP": ((f"{_KMM}/v1beta2", f"{_KMM}/v1beta1"), _preflight),
    "DeviceConfig": (("k8s.aws/v1beta1",), _device_config),
    "ImageSetConfiguration": (("mirror.openshift.io/v2alpha1",), _image_set),
    "Secret": (("v1",), _secret_object),
}
