"""Custom toolkits as their registry has them: the ledger beside them, and images with today's key."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foundry.attest.documents import bundle_of, require_signed
from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.files import write_atomic
from foundry.base.names import KEY_LABEL, OCI_ARCH, kernel_arch, kernel_tag
from foundry.base.reasons import Reason
from foundry.base.times import now
from foundry.plan.claims import fault_of
from foundry.plan.toolkit_ledger import ToolkitLedger, ledger_path, parse_toolkit_ledger
from foundry.plan.toolkits import kernels_hash, toolkit_of
from foundry.registry.pool import aws_facts
from foundry.registry.targets import Target, toolkits_at
from foundry.run.context import Foundry
from foundry.toolkit.state import ToolkitState, change_ledger, has_ledger, read_ledger

if TYPE_CHECKING:
    from foundry.formats.images.manifest import Descriptor
    from foundry.registry.client import Fetched
    from foundry.registry.push import Writer
    from foundry.registry.repository import Repository

MEDIA_TYPE = "application/vnd.kmod-foundry.toolkits.v1+json"
_IDENTITY = ("digest", "key", "registry")
TAG = "ledger"  # a kernel's tag begins with a digit
_lock = threading.Lock()


def target_of(foundry: Foundry) -> Target | None:
    """Where toolkits are published, all fields filled; None where the profile names no place."""
    target = toolkits_at(foundry.settings.toolkits.publish)
    return target.filled(aws_facts(target.open_fields)) if target is not None and target.open_fields else target


def require_target(foundry: Foundry) -> Target:
    """As `target_of`; ConfigError where there is none."""
    target = target_of(foundry)
    if target is None:
        file = f"config/profiles/{foundry.config.profile.name}.yaml"
        raise ConfigError([Fault(file, "$.toolkits.publish", "names no registry and repository to push toolkits to")],
                          hint="name them there, or choose another profile")
    return target


def have_ledger(foundry: Foundry) -> None:
    """Ask for the ledger where this checkout has none; "there is none" is kept as an empty one.

    Raises what the registry raises: an answer that can't be had is never "nothing published".
    """
    with _lock:
        target = None if has_ledger(foundry) else target_of(foundry)
        if target is not None:
            ledger = read_remote(foundry, foundry.registries.repository(target))[1]
            write_atomic(foundry.root / ledger_path(foundry.config.build), ledger.to_bytes())


def read_remote(foundry: Foundry, place: Repository) -> tuple[bytes | None, ToolkitLedger]:
    """The ledger as the registry has it: its bytes, None where there is none, and what is true of it."""
    from foundry.registry.document import get_document

    document = get_document(place, TAG, MEDIA_TYPE)
    if document is None:
        return None, ToolkitLedger()
    require_signed(foundry, document, f"{place.name}:{TAG}")
    ledger = parse_toolkit_ledger(document.data, f"{place.name}:{TAG}", foundry.config.validation)
    return document.data, _adopted(foundry, place, ledger)


def _adopted(foundry: Foundry, place: Repository, ledger: ToolkitLedger) -> ToolkitLedger:
    """The rows that are true: a claim until the registry has its image with its key (foundry/ledger/adoption.py)."""
    from foundry.registry.images import has_image

    mine, refused = read_ledger(foundry).rows, {}
    for kernel, row in ledger.rows.items():
        fault = _other_toolkit(foundry, row) or fault_of(row["key"], row["key_inputs"], row["published"])
        if row["registry"] != place.name:
            fault = fault or f"it is in {row['registry']}"
        known = mine.get(kernel, {})
        proven = [known.get(name) for name in _IDENTITY] == [row[name] for name in _IDENTITY]
        if not fault and not proven and not has_image(place, row["digest"], row["key"]):
            fault = f"there is no image {row['digest']} with its key"
        if fault:
            refused[kernel] = fault
    if refused:
        kernel, fault = min(refused.items())
        foundry.journal.warn(f"the ledger of {place.name}: {len(refused)} of {len(ledger.rows)} rows are not believed,"
                             f" such as {kernel}: {fault}")
    return ToolkitLedger({kernel: row for kernel, row in ledger.rows.items() if kernel not in refused})


def _other_toolkit(foundry: Foundry, row: Mapping[str, Any]) -> str:
    """Why a row's key is not that of a toolkit of its kernel; empty when it is."""
    kernel, parts = row["kernel"], row["key_inputs"]
    rt_kernels = {"", row.get("rt_kernel", "")}
    with suppress(FoundryError):  # a kernel that no recipe makes toolkits for any more
        rt_kernels.add(toolkit_of(foundry.config, kernel).rt_kernel)
    if parts.get("kernel") not in {kernels_hash(kernel, rt_kernel) for rt_kernel in rt_kernels}:
        return "its key is that of a toolkit for another kernel"
    if row["arch"] != kernel_arch(kernel) or parts.get("platform") != f"linux/{OCI_ARCH[row['arch']]}":
        return "its key is that of a toolkit for another architecture"
    return "" if row["tag"] == kernel_tag(kernel) else "its tag is not the kernel's"


def store(foundry: Foundry, writer: Writer) -> bool:
    """Merge what the registry has with what is here, in both places; whether anything was written there."""
    from foundry.registry.document import Document, put_document

    content, theirs = read_remote(foundry, writer)
    data = change_ledger(foundry, theirs).to_bytes()
    if content == data:
        return False
    put_document(writer, TAG, Document(data, bundle_of(foundry, data)), MEDIA_TYPE)
    return True


def images_of(fetched: Fetched | None) -> tuple[Descriptor, ...] | None:
    """The images of an index; None where the tag is no index, nothing where there is no tag."""
    from foundry.formats.images.manifest import Index, parse_manifest

    if fetched is None:
        return ()
    document = parse_manifest(fetched.data, fetched.media_type)
    return document.entries if isinstance(document, Index) else None


def image_for(images: tuple[Descriptor, ...], arch: str) -> Descriptor | None:
    """The image of an architecture (``x86_64``)."""
    fits = ("linux", OCI_ARCH[arch])
    return next((one for one in images if one.platform and (one.platform.os, one.platform.architecture) == fits), None)


def adopted(foundry: Foundry, state: ToolkitState) -> ToolkitState:
    """With a row where the registry has the toolkit with today's key and no ledger knows; else the state itself."""
    target = target_of(foundry)
    if target is None or state.key is None:
        return state
    place = foundry.registries.repository(target)
    images = images_of(place.tagged(state.toolkit.tag))
    found = image_for(images or (), state.toolkit.arch)
    if found is None:
        return state
    from foundry.registry.images import labels_of

    labels = labels_of(place, found.digest)
    if labels.get(KEY_LABEL) != state.key.key:
        return state
    row = new_row(state, place, found.digest, labels)
    change_ledger(foundry, ToolkitLedger({state.toolkit.kernel: row}))
    return replace(state, row=row, reason="in the registry")


def new_row(
    state: ToolkitState, place: Repository, digest: str, labels: Mapping[str, str], **more: Any
) -> dict[str, Any]:
    """A toolkit's row as it is published now."""
    from foundry.toolkit.image import COMPILER_LABEL

    if state.key is None:
        raise FoundryError(f"{state.toolkit.kernel}: {state.reason}", reason=Reason.BASE_NOT_LOCKED,
                           hint="run `doit dtk:kernels`")
    compiler = labels.get(COMPILER_LABEL, "")
    return {
        "kernel": state.toolkit.kernel, "arch": state.toolkit.arch, "recipe": state.toolkit.recipe.name,
        "key": state.key.key, "key_inputs": dict(state.key.parts), "digest": digest, "tag": state.toolkit.tag,
        "registry": place.name, "rt_kernel": labels.get("kernel-rt-version", ""),
        **({"compiler": compiler} if compiler else {}),
        "published": now(), **more,
    }
