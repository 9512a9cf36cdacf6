"""Publishing custom toolkits: one tag a kernel, an index over architectures, and the ledger beside them.

An architecture that is published later joins the index; what others have there stays. Layers that the registry has
are not sent again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError
from foundry.base.files import append_to, canonical_json, remove_tree, sha256_bytes
from foundry.base.names import KEY_LABEL, OCI_ARCH
from foundry.base.reasons import Reason
from foundry.formats.images.manifest import OCI_INDEX, OCI_MANIFEST
from foundry.plan.changes import changed_parts, part_words
from foundry.plan.toolkit_ledger import ToolkitLedger
from foundry.plan.toolkits import PART_NAMES, listed, toolkit_of
from foundry.run.context import Foundry
from foundry.toolkit import remote
from foundry.toolkit.build import current
from foundry.toolkit.state import IMAGE, ToolkitState, change_ledger, folder_of, read_ledger

if TYPE_CHECKING:
    from foundry.formats.images.layout import Layout
    from foundry.formats.images.manifest import Descriptor
    from foundry.registry.push import Writer

LOG = "push.log"
_indexes = threading.Lock()  # of one tag, two architectures could otherwise lose each other


def push(foundry: Foundry, kernel: str) -> None:
    """Publish the toolkit of a kernel and write its row.

    Raises ConfigError without a registry, FoundryError ``tag-taken``, ``toolkit-missing`` (it was not built), and
    what `foundry.registry.push.Writer.push` raises.
    """
    from foundry.formats.images.layout import read_layout

    target = remote.require_target(foundry)
    toolkit = toolkit_of(foundry.config, kernel)
    remote.have_ledger(foundry)
    state = current(foundry, toolkit)
    folder = foundry.root / folder_of(foundry, kernel)
    if state.row is not None:
        return
    if not state.built and not (folder / IMAGE).is_dir():
        raise FoundryError(f"the toolkit of {kernel} is not built: {state.reason}", reason=Reason.TOOLKIT_MISSING,
                           hint=f"run `doit dtk:{kernel}`")
    layout = read_layout(folder / IMAGE)
    if state.key is None or layout.config.labels.get(KEY_LABEL) != state.key.key:
        raise FoundryError(f"the toolkit of {kernel} that is here has another key", reason=Reason.TOOLKIT_MISSING,
                           hint=f"run `doit dtk:{kernel}`")
    writer = foundry.registries.writer(target)
    with _indexes:
        more = _pushed(foundry, writer, state, layout)
        row = remote.new_row(state, writer, layout.digest, layout.config.labels, size=layout.size, **more)
        change_ledger(foundry, ToolkitLedger({kernel: row}))
        remote.store(foundry, writer)
    if not foundry.settings.keep_images:
        remove_tree(folder / IMAGE)


def keep_ledger(foundry: Foundry) -> None:
    """Bring the ledger up to date with the registry: rows of toolkits that other machines published are added."""
    writer = foundry.registries.writer(remote.require_target(foundry))
    remote.have_ledger(foundry)
    change_ledger(foundry, remote.read_remote(foundry, writer)[1])
    found = [
        state for state in (current(foundry, toolkit) for toolkit in listed(foundry.config))
        if state.row is None and state.key is not None
    ]
    new = [state.toolkit.kernel for state in found if remote.adopted(foundry, state).row is not None]
    wrote = remote.store(foundry, writer)
    if foundry.verbosity:
        print(f"  {writer.name}: {len(read_ledger(foundry).rows)} toolkits, {len(new)} of them new in the ledger;"
              f" {'written' if wrote else 'as it was'}", flush=True)


def _pushed(foundry: Foundry, writer: Writer, state: ToolkitState, layout: Layout) -> dict[str, Any]:
    """Have the image in the index under its tag; what the row says of the image that was there before."""
    from foundry.registry.push import Pushable

    toolkit = state.toolkit
    log = foundry.root / folder_of(foundry, toolkit.kernel) / LOG
    log.unlink(missing_ok=True)
    note = append_to(log)
    there = writer.tagged(toolkit.tag)
    images = remote.images_of(there)
    if images is None and not foundry.states.force:
        raise _taken(writer, state, there.digest if there is not None else "", "it is no index over architectures")
    old = remote.image_for(images or (), toolkit.arch)
    more = _replaced(foundry, writer, state, old) if old is not None and old.digest != layout.digest else {}
    blobs, size = writer.sent.blobs, writer.sent.bytes
    writer.push(Pushable(layout.data, layout.manifest.media_type, layout.digest, layout.blobs), layout.digest)
    index = _index(layout, toolkit.arch, images or ())
    digest = f"sha256:{sha256_bytes(index)}"
    if there is None or there.digest != digest:
        writer.push(Pushable(index, OCI_INDEX, digest, {}), toolkit.tag)
    text = (f"{writer.name}:{toolkit.tag} is {digest} with {layout.digest} for {toolkit.arch};"
            f" sent {writer.sent.blobs - blobs} blobs, {writer.sent.bytes - size} bytes")
    note(text)
    if foundry.verbosity:
        print(f"  {text}", flush=True)
    return more


def _replaced(foundry: Foundry, writer: Writer, state: ToolkitState, old: Descriptor) -> dict[str, Any]:
    """Why the image of this architecture may be replaced; FoundryError ``tag-taken`` when it may not."""
    from foundry.registry.images import labels_of

    key = labels_of(writer, old.digest).get(KEY_LABEL, "")
    row = read_ledger(foundry).rows.get(state.toolkit.kernel)
    parts = changed_parts(row["key_inputs"], state.key.parts) if row is not None and state.key is not None else ()
    if row is not None and row["digest"] == old.digest and parts:
        reason = f"changed: {part_words(parts, PART_NAMES)}"
    elif foundry.states.force:
        reason = "FORCE_BUILD is set"
    else:
        raise _taken(writer, state, old.digest, f"it has another key ({key[:12] or 'none'}), unknown to the ledger")
    return {"replaces": {"digest": old.digest, "key": key, "reason": reason}}


def _taken(writer: Writer, state: ToolkitState, digest: str, why: str) -> FoundryError:
    return FoundryError(f"{writer.name}:{state.toolkit.tag} is {digest}: {why}", reason=Reason.TAG_TAKEN,
                        hint="does somebody else publish here? FORCE_BUILD=true replaces it")


def _index(layout: Layout, arch: str, images: tuple[Descriptor, ...]) -> bytes:
    """The index with this image in it, beside those of other architectures; the same images give the same bytes."""
    mine = {"mediaType": layout.manifest.media_type or OCI_MANIFEST, "digest": layout.digest, "size": len(layout.data),
            "platform": {"os": "linux", "architecture": OCI_ARCH[arch]}}
    own = remote.image_for(images, arch)
    others = [
        {"mediaType": one.media_type, "digest": one.digest, "size": one.size,
         "platform": {"os": one.platform.os, "architecture": one.platform.architecture,
                      **({"variant": one.platform.variant} if one.platform.variant else {})}}
        for one in images if one.platform is not None and one is not own
    ]
    entries = sorted([mine, *others], key=lambda one: str(one["platform"]))
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
