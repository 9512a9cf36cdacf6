"""What is wrong in manifests that users have, from the manifests alone: each mistake with its place and its mend.

Sources: KMM's CRDs and webhook (internal/webhook/module.go), how it chooses a mapping and fills names in
(internal/module/kernelmapper.go, internal/utils/replaceStrings.go) and what its worker and Day 1 script run; the
Neuron operator's CRD and kmmmodule.go; oc-mirror's ImageSetConfiguration (mirror.openshift.io/v2alpha1).
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import re2

from foundry.base.errors import FoundryError
from foundry.base.names import is_kernel, near, tag_of
from foundry.base.references import parse_reference
from foundry.formats.modules.certificate import der_of
from foundry.kmm.manifests import LONGEST
from foundry.kmm.objects import At, Finding

Rule = Callable[["At"], Iterator["Finding"]]
ANY_KERNEL = ("5.14.0-570.12.1.el9_6.x86_64", "6.12.0-55.9.1.el10_0.x86_64")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_WHOLE = ("KERNEL_FULL_VERSION", "KERNEL_VERSION")
_VARIABLES = (*_WHOLE, "KERNEL_XYZ", "KERNEL_X", "KERNEL_Y", "KERNEL_Z", "MOD_NAME", "MOD_NAMESPACE")
_PRIVATE = re.compile(r"[0-9]+\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?|registry\.redhat\.io|nvcr\.io")
_RELEASE = re.compile(r"[45]\.[0-9]{1,3}(\.[0-9]{1,4})?(-(rc|ec)\.[0-9]+)?")
_KERNEL_PARTS = re.compile(r"[.,-]")
_FEWEST_PARTS = 3  # of a kernel's version, as KMM counts them
_HOST_PATHS = ("/dev", "/sys", "/var", "/opt", "/run")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

@dataclass(frozen=True)
class Wanted:
    """An image that an object names, the kernel that it is for where only one is meant, and what chooses kernels."""

    at: At
    image: str
    kernels: Callable[[str], bool]
    kernel: str = ""


def findings(at: At) -> Iterator[Finding]:
    """The mistakes of an object; nothing of a kind that is not known."""
    versions, look = KINDS[at["kind"].text]
    if at["apiVersion"].text not in versions:
        yield at["apiVersion"].says(
            "api-version", f"{at['kind'].text} is not of {at['apiVersion'].text or 'no apiVersion'}",
            f"`apiVersion: {versions[0]}`")
    yield from look(at)


def is_known(at: At) -> bool:
    """Whether there are rules for objects of this kind; others use some of the names, too."""
    kind = at["kind"].text
    group = at["apiVersion"].text.partition("/")[0]
    return kind in KINDS and (kind not in _OF_OTHERS or group == KINDS[kind][0][0].partition("/")[0])


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
    return _VARIABLE.sub(lambda match: facts.get(match[1] or match[2], match[0]), image)


def varies(image: str) -> bool:
    """Whether each kernel has another name of it."""
    return any(name in _WHOLE for name in _variables(image))


def _variables(text: str) -> list[str]:
    return [match[1] or match[2] for match in _VARIABLE.finditer(text)]


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> Any:
    """As Go's regexp reads it (both are RE2); None where it can't. It takes no longer than the text is long."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options) if pattern else None
    except re2.error:
        return None


def _module(at: At) -> Iterator[Finding]:
    meta, spec = at["metadata"], at["spec"]
    yield from _length(meta["name"], meta["namespace"].text)
    yield from _module_spec(spec)


def _managed(at: At) -> Iterator[Finding]:
    spec = at["spec"]
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
    if "dra" in spec and "devicePlugin" in spec:
        yield spec["dra"].says("dra", "`dra` and `devicePlugin` exclude each other", "leave one of them out")
    yield from _dra(spec["dra"])
    for toleration in spec["tolerations"]:
        yield from _toleration(toleration)
    for plugin in ("dra", "devicePlugin"):
        for volume in spec[plugin]["volumes"]:
            path = volume["hostPath"]["path"]
            clean = posixpath.normpath(path.text)
            if path.text and not any(clean == one or clean.startswith(f"{one}/") for one in _HOST_PATHS):
                yield path.says("host-path", f"{path.text} is no path that KMM mounts",
                                f"take one below {', '.join(_HOST_PATHS)}")
    if loader.value is None:
        return
    yield from _mappings(container)
    yield from _modprobe(container["modprobe"])
    yield from _in_tree(container)
    yield from _signing(container)
    yield from _secret(spec)


def _dra(at: At) -> Iterator[Finding]:
    """Dynamic resource allocation, since KMM 2.7."""
    if at.value is None:
        return
    names = [at["driverName"], *(one["name"] for one in at["deviceClasses"])]
    for name in names if "driverName" in at else names[1:]:
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
        if literal:
            yield from _literal(mapping["literal"])
        if literal and (other := next((one for one in before if chosen_by(one)(literal)), None)) is not None:
            yield mapping["literal"].says("shadowed", f"`{other['regexp'].text or literal}` above fits {literal} first",
                                          "put literal mappings before regular expressions, each kernel once")
        if pattern and any(chosen_by(one)("anything at all") for one in before):
            yield mapping["regexp"].says("shadowed", "a regular expression above fits every kernel first",
                                         "put the one that fits all kernels last")
        before.append(mapping)
    if "containerImage" in container:
        yield from _name(container["containerImage"])


def _name(image: At) -> Iterator[Finding]:
    last, named = image.text.rpartition("/")[2], _variables(image.text)
    unknown = [name for name in named if name not in _VARIABLES]
    plain = _VARIABLE.sub("x", image.text)
    if unknown or "$" in plain:
        wrong = f"KMM knows no variable {unknown[0]!r}{near(unknown[0], _VARIABLES)}" if unknown else (
            "a variable is written ${NAME}, and this is none")
        yield image.says("variable", wrong, f"it knows {', '.join(_VARIABLES)}")
    elif "@" in last and named:
        yield image.says("digest-varies", "a digest is of one image: no kernel can be filled into its name",
                         "name a literal mapping's image by digest, or a tag with ${KERNEL_FULL_VERSION}")
    elif ":" not in last and "@" not in last:
        yield image.says("no-tag", f"{image.text} has neither tag nor digest", "name it by digest: `…@sha256:…`")
    else:
        yield from _reference(image, plain)


def _reference(image: At, name: str) -> Iterator[Finding]:
    try:
        parse_reference(name)
    except FoundryError as error:
        mend = "leave the scheme out" if "://" in name else (
            "in a tag, `+` is written `_`" if "+" in name.rpartition(":")[2] else error.hint)
        yield image.says("image-name", f"{image.text} is no image name", mend)


def _literal(at: At) -> Iterator[Finding]:
    if "*" in at.text:
        yield at.says("literal", "a literal has no wildcards", "take `regexp`, or write the kernel out")
    elif _RELEASE.fullmatch(at.text):
        yield at.says("literal", f"{at.text} is a release, no kernel", "as `uname -r` on the node says it")
    elif re.search(r"\.el[0-9]+(_[0-9]+)?$", at.text):
        yield at.says("literal", f"{at.text} lacks the architecture", "as `uname -r` on the node says it")


def _regexp(mapping: At, image: str) -> Iterator[Finding]:
    at = mapping["regexp"]
    if _compiled(at.text) is None:
        yield at.says("regexp", f"`{at.text}` is no regular expression that Go reads",
                      "`.*` fits anything, `*` alone is a shell's" if at.text.startswith("*")
                      else "Go has neither lookarounds nor references to groups")
        return
    if image and not varies(image) and "$" not in _VARIABLE.sub("", image) and not _one_kernel(at.text):
        yield mapping["containerImage"].says(
            "one-image", "every kernel that the regular expression fits gets this one image",
            "take `literal`, or ${KERNEL_FULL_VERSION} in the tag, unless the image has the modules of all of them",
            warning=True)


def _one_kernel(pattern: str) -> str:
    """The kernel, where a regular expression is one with its dots escaped; else empty."""
    text = pattern.strip("^$").replace("\\", "")
    return text if is_kernel(text) else ""


def flavours(mapping: At, kernels: Iterable[str]) -> Iterator[Finding]:
    """A regular expression that fits a kernel of another flavour in passing: it has no end."""
    at = mapping["regexp"]
    compiled = _compiled(at.text)
    if compiled is None or compiled.fullmatch("anything at all"):
        return
    for kernel in filter(None, (*kernels, _one_kernel(at.text))):
        other = next((f"{kernel}{end}" for end in ("+rt", "+64k", "+debug") if compiled.fullmatch(kernel)
                      and compiled.search(f"{kernel}{end}") and not compiled.fullmatch(f"{kernel}{end}")), "")
        if other or (compiled.search(kernel) and not compiled.fullmatch(kernel)):
            yield at.says("unanchored", f"it also fits {other or kernel}, of which it has only a part",
                          "begin it with ^ and end it with $", warning=True)
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
        if "inTreeModuleToRemove" in place and any("inTreeModulesToRemove" in one for one in (
            (container, *mappings) if place is container else (place, container))
        ):
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
    if folder.endswith("/") or not folder.startswith("/"):
        yield container["modprobe"]["dirName"].says("dir-name", f"{folder!r} is no folder as KMM compares it",
                                                    "begin it with a slash and end it without one")
        return
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
            if varies(file.text) and any(
                chosen_by(one)(kernel) for one in ([place] if place is not container else container["kernelMappings"])
                for kernel in (*(f"{kernel}+rt" for kernel in ANY_KERNEL), one["literal"].text) if "+" in kernel
            ):
                yield file.says(
                    "files-to-sign", "of a kernel with `+` (+rt, +64k) the variable has `_`, and the folder has not",
                    "take a literal mapping for such kernels, with the folder written out",
                    warning=not any("+" in one["literal"].text for one in container["kernelMappings"]))


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
    elif _variables(last) or re.search(r":.*-[0-9]+\.[0-9]+\.[0-9]+", last):
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
    if in_tree and image.text:
        yield image.says("in-tree", "with useInTreeDrivers no image is used", "leave one of the two out", warning=True)
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
    if ":" in image.text.rpartition("/")[2] or "@" in image.text:
        yield image.says("kernel-tag", "the node pulls kernelModuleImage:$(uname -r): no tag or digest may stand in it",
                         "name a repository in which each tag is a kernel")
    if "/" in name.text or name.text.endswith(".ko"):
        yield name.says("module-name", f"modprobe takes names, and {name.text!r} is a file", "leave path and .ko out")
    yield from _removed(spec["inTreeModulesToRemove"])


def _image_set(at: At) -> Iterator[Finding]:
    listed = list(at["mirror"]["additionalImages"])
    for one in listed:
        last = one["name"].text.rpartition("/")[2]
        if not last:
            continue
        if "@" not in last and ":" not in last:
            yield one["name"].says("no-tag", f"{one['name'].text} has neither tag nor digest", "name it by digest")
        elif "$" in last:
            yield one["name"].says("variable", "oc-mirror fills no variable in", "name each kernel's image, by digest")
        else:
            yield from _reference(one["name"], one["name"].text)


def _preflight(at: At) -> Iterator[Finding]:
    kernel = at["spec"]["kernelVersion"]
    if kernel.text and (len(_KERNEL_PARTS.split(kernel.text)) < _FEWEST_PARTS or _RELEASE.fullmatch(kernel.text)):
        yield kernel.says("kernel", f"{kernel.text!r} is no kernel's version", "as `uname -r` on the node says it")


def signing_secrets(at: At) -> Iterator[str]:
    """The names of the secrets with certificates that a Module signs with."""
    spec = module_specs(at)
    if spec is not None:
        container = spec["moduleLoader"]["container"]
        yield from (place["sign"]["certSecret"]["name"].text for place in (container, *container["kernelMappings"])
                    if place["sign"]["certSecret"]["name"].text)


def _secret_object(at: At) -> Iterator[Finding]:
    """A certificate that KMM would sign modules with (`certSecret`), PEM or DER."""
    from foundry.signing.certificate import parse_certificate

    data = at["data"]["cert"] if at["data"]["cert"].text else at["stringData"]["cert"]
    if not data.text:
        yield at.says("certificate", "there is no certificate in the key `cert`", "KMM signs with what is in `cert`")
        return
    content = data.text.encode()
    if data.path[-2:-1] == ("data",):
        try:
            content = base64.b64decode("".join(data.text.split()), validate=True)
        except (ValueError, binascii.Error):
            yield data.says("certificate", "the certificate is not base64",
                            "`oc create secret generic NAME --from-file=cert=FILE` encodes it")
            return
    try:
        warnings = parse_certificate(der_of(content), Path("cert")).warnings
    except (ValueError, FoundryError) as error:
        said = error.sentence if isinstance(error, FoundryError) else "it is no certificate"
        yield data.says("certificate", f"modules can't be signed with this: {said}", "`doit signing:new` makes one")
        return
    for warning in warnings:
        yield data.says("certificate", f"RHEL does not take this certificate for modules: {warning}",
                        "`doit signing:new` makes one that it takes; docs/signing.md says why", warning=True)


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
