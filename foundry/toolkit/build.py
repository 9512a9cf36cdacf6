"""Stage dtk: a custom toolkit, built, gated, and kept as a folder until it is published. Never pushes.

What the ledger has with today's key is adopted, and needs no build; nor does what the registry has with it, where a
ledger was lost or another machine published it meanwhile.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import remove_stale, remove_tree, scratch, write_atomic
from foundry.base.names import KEY_LABEL
from foundry.base.reasons import Reason
from foundry.base.records import input_facts, output_facts, write_record
from foundry.base.references import parse_reference
from foundry.plan.toolkits import Toolkit, ToolkitKey, toolkit_of
from foundry.run.context import Foundry
from foundry.run.failure import noted
from foundry.toolkit import remote
from foundry.toolkit.gate import gate
from foundry.toolkit.kernel_list import locked_base, read_kernels
from foundry.toolkit.state import IMAGE, LOG, RECORD, STAGE, ToolkitState, folder_of, read_ledger, state_of

if TYPE_CHECKING:
    from foundry.formats.images.layout import Layout
    from foundry.toolkit.image import Built, Order

_toolchains = threading.Lock()  # the tools of a base are made once, not once a thread
_BASE_GONE = "`doit dtk:kernels --update-base` locks what its name means today"


def build(foundry: Foundry, kernel: str) -> None:
    """Have the toolkit of a kernel: adopted where it is published, else built and gated.

    Raises UsageError, ConfigError (no recipe), OutsideError (``arch-not-here``, ``secret-missing``, ``base-gone``,
    and what the recipe's script names), FoundryError (``toolkit-build-failed``, ``toolkit-unusable``, ``gate-…``).
    """
    toolkit = toolkit_of(foundry.config, kernel)
    locked_base(foundry, toolkit)
    remote.have_ledger(foundry)
    state = current(foundry, toolkit)
    key = state.key
    if key is None:
        raise FoundryError(f"the toolkit of {kernel} can't be built: {state.reason}", reason=Reason.BASE_NOT_LOCKED,
                           hint="run `doit dtk:kernels`")
    if state.built:
        return
    if state.row is None and not foundry.states.force:
        state = remote.adopted(foundry, state)
    folder = foundry.root / folder_of(foundry, kernel)
    if state.row is not None:
        _adopt(folder, toolkit, state.row)
        return
    with noted(folder, stage=STAGE, key=key.key):
        _build(foundry, toolkit, key, folder)


def current(foundry: Foundry, toolkit: Toolkit) -> ToolkitState:
    """The toolkit's state by what the files say now."""
    return state_of(foundry, toolkit, read_kernels(foundry), read_ledger(foundry))


def _adopt(folder: Path, toolkit: Toolkit, row: Mapping[str, Any]) -> None:
    """Record a published toolkit: a record that names no local file."""
    write_record(folder / RECORD, STAGE, {
        "kernel": toolkit.kernel, "arch": toolkit.arch, "recipe": row["recipe"], "key": row["key"],
        "key_inputs": row["key_inputs"], "digest": row["digest"], "inputs": {}, "outputs": {}, "adopted": True,
    })


def _build(foundry: Foundry, toolkit: Toolkit, key: ToolkitKey, folder: Path) -> None:
    _require_platform(toolkit)
    log = folder / LOG
    for name in (RECORD, LOG):
        (folder / name).unlink(missing_ok=True)
    remove_tree(folder / IMAGE)
    remove_stale(folder)
    base = locked_base(foundry, toolkit)
    named = str(parse_reference(toolkit.base_name).at(base["digest"]))
    reference = foundry.containers.platforms.image_of(named, toolkit.arch)
    with scratch(folder, "build") as work, _secrets(foundry, toolkit) as secrets, \
            _base_here(foundry, reference, toolkit.arch, log):
        order = _order(foundry, toolkit, key, base, reference, secrets)
        layout, built, report = _made(foundry, toolkit, order, work, log)
        os.replace(layout.folder, folder / IMAGE)
    rt_kernel = built.labels.get("kernel-rt-version", "")
    if toolkit.rt_kernel and not rt_kernel:
        foundry.journal.warn(f"the toolkit of {toolkit.kernel} has no real-time kernel: the package repositories have"
                             f" no {toolkit.rt_kernel}")
    write_record(folder / RECORD, STAGE, {
        "kernel": toolkit.kernel, "arch": toolkit.arch, "recipe": toolkit.recipe.name, "key": key.key,
        "key_inputs": dict(key.parts), "inputs": input_facts(foundry.root, toolkit.files),
        "outputs": output_facts(folder, [f"{IMAGE}/{name}" for name in layout.files]),
        "digest": layout.digest, "size": layout.size, "base": {"name": toolkit.base_name, "digest": base["digest"]},
        "compiler": built.compiler, "kernel_compiler": built.kernel_compiler,
        "rt_kernel": rt_kernel, "labels": dict(layout.config.labels), "gate": report,
        "layers": [{"digest": layer.digest, "size": layer.size} for layer in layout.manifest.layers],
        "tools": {"podman": foundry.containers.engine.version()},
    })


def _order(
    foundry: Foundry, toolkit: Toolkit, key: ToolkitKey, base: Mapping[str, str], reference: str,
    secrets: Mapping[str, Path],
) -> Order:
    from foundry.toolkit.image import Order

    return Order(
        toolkit.kernel, toolkit.rt_kernel, foundry.root / toolkit.recipe.data["containerfile"], reference,
        toolkit.base_name, base["digest"], int(datetime.fromisoformat(base["created"]).timestamp()),
        toolkit.arguments, {**toolkit.labels, KEY_LABEL: key.key}, secrets,
    )


def _made(
    foundry: Foundry, toolkit: Toolkit, order: Order, work: Path, log: Path
) -> tuple[Layout, Built, dict[str, Any]]:
    """The gated image as an OCI layout in `work`."""
    from foundry.formats.images.layout import annotate
    from foundry.toolkit.image import build_toolchain, build_toolkit
    from foundry.toolkit.store import ToolkitStore, drop_older, toolchain_tag

    engine = foundry.containers.engine
    tools = toolchain_tag(toolkit.recipe.name, order.base_name, order.base_digest)
    with engine.alone_with(toolkit.kernel), engine.temporary_image(f"kernel {toolkit.kernel}") as kernel, \
            engine.temporary_image(toolkit.kernel) as tag:
        store = ToolkitStore(engine, work, {"toolchain": tools, "toolkit-kernel": kernel, "toolkit": tag})
        with _toolchains:
            build_toolchain(store, order, "toolchain", log)
            drop_older(engine, toolkit.recipe.name, order.base_name, tools)
        built = build_toolkit(store, order, "toolkit", log)
        report = gate(foundry, toolkit, built.image, work, log)
        engine.call("save", "--quiet", "--format=oci-dir", f"--output={work / IMAGE}", tag, log=log)
    layout = annotate(work / IMAGE, {
        "org.opencontainers.image.base.name": order.base_name,
        "org.opencontainers.image.base.digest": order.base_digest,
    })
    wrong = [name for name, value in built.labels.items() if layout.config.labels.get(name) != value]
    if wrong:
        raise FoundryError(f"the toolkit of {toolkit.kernel} has wrong labels: {', '.join(wrong)}",
                           reason=Reason.LABEL_WRONG, log=log)
    return layout, built, report


def _require_platform(toolkit: Toolkit) -> None:
    """Package scripts of another architecture can't run here."""
    machine = platform.machine()
    if toolkit.arch != machine:
        raise OutsideError(
            f"the toolkit of {toolkit.kernel} is built on an {toolkit.arch} machine, and this one is {machine}",
            reason=Reason.ARCH_NOT_HERE, hint="`doit dtk:matrix --json` names a runner for each toolkit",
        )


@contextmanager
def _secrets(foundry: Foundry, toolkit: Toolkit) -> Iterator[dict[str, Path]]:
    """The recipe's secrets as files that this user alone can read, gone after the block.

    podman is given their names. OutsideError ``secret-missing`` for the first that the environment lacks.
    """
    values: dict[str, str] = {}
    for name, variable in toolkit.recipe.secrets.items():
        values[name] = foundry.secrets.get(variable, "")
        if not values[name]:
            raise OutsideError(
                f"{variable} is not set, and kernel {toolkit.kernel} needs it ({toolkit.recipe.data['title']})",
                reason=Reason.SECRET_MISSING,
                hint=f"set {' and '.join(toolkit.recipe.secrets.values())}, or take them out of {toolkit.recipe.file}",
            )
    if not values:
        yield {}
        return
    with foundry.containers.engine.private_folder() as private:
        files = {name: private / name for name in values}
        for name, file in files.items():
            write_atomic(file, values[name].encode(), mode=0o600)
        yield files


@contextmanager
def _base_here(foundry: Foundry, reference: str, arch: str, log: Path) -> Iterator[None]:
    """Have the base in podman's store. FoundryError ``base-gone`` where its registry has that digest no more."""
    entered = False
    try:
        with foundry.containers.images.used(reference, arch, log):
            entered = True
            yield
    except FoundryError as error:
        if entered or error.reason != Reason.IMAGE_MISSING:
            raise
        raise FoundryError(f"the base {reference} is no longer in its registry", reason=Reason.BASE_GONE,
                           hint=_BASE_GONE, log=log) from error
