"""The kernel list as a file: read, and changed under a lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from foundry.base.documents import as_document
from foundry.base.errors import FoundryError
from foundry.base.filelock import locked
from foundry.base.files import pretty_json, read_file, write_atomic
from foundry.base.references import parse_reference
from foundry.catalogue.resolve import outside
from foundry.config.catalogue import KernelList
from foundry.plan.catalogue import rank
from foundry.plan.toolkits import Toolkit
from foundry.run.context import Foundry
from foundry.toolkit.state import base_of

if TYPE_CHECKING:
    from foundry.registry.client import Registry


def read_kernels(foundry: Foundry) -> KernelList:
    """The kernel list as it is now; an empty one where there is none. ConfigError when it is none any more."""
    name = foundry.settings.toolkits.kernels
    try:
        data = read_file(foundry.root / name)
    except FileNotFoundError:
        return KernelList()
    return KernelList.from_document(foundry.config.validation.parsed("kernels", data, name))


def change_kernels(foundry: Foundry, how: Callable[[KernelList], KernelList]) -> KernelList:
    """Change the list under its lock; an unchanged one is not written."""
    path = foundry.root / foundry.settings.toolkits.kernels
    with locked(foundry.root / foundry.config.build / ".lock-kernels"):
        found = how(read_kernels(foundry))
        releases = [as_document(entry) for entry in sorted(found.releases, key=rank)]
        data = pretty_json({"schema": 1, "bases": found.bases, "releases": releases})
        if not path.exists() or read_file(path) != data:
            write_atomic(path, data)
    return found


def locked_base(foundry: Foundry, toolkit: Toolkit) -> Mapping[str, str]:
    """The toolkit's base; asked for, and locked, where the list has none. Raises OutsideError."""
    base = base_of(read_kernels(foundry), toolkit)
    return base if base is not None else lock_base(foundry, toolkit)


def lock_base(foundry: Foundry, toolkit: Toolkit) -> Mapping[str, str]:
    """Lock what the base's name means today."""
    from foundry.net.transport import RetryPolicy

    log = foundry.root / foundry.config.build / "dtk" / "bases.log"
    policy = RetryPolicy(total=foundry.settings.network_timeout)
    base = read_base_of(foundry, lambda host: foundry.registries.reader(host, log, policy=policy), toolkit)

    def lock(kernels: KernelList) -> KernelList:
        return replace(kernels, bases={**kernels.bases, toolkit.base_name: base})

    change_kernels(foundry, lock)
    file = foundry.settings.toolkits.kernels
    foundry.journal.warn(f"{toolkit.base_name} is now locked in {file} as {base['digest']}: keep that file")
    return base


def read_base_of(foundry: Foundry, registry: Callable[[str], Registry], toolkit: Toolkit) -> Mapping[str, str]:
    """Digest and build time of a toolkit's base as its registry has it. Raises OutsideError."""
    from foundry.catalogue.base_reader import read_base

    try:
        reference = parse_reference(toolkit.base_name)
        found = read_base(registry(reference.host), reference, [toolkit.arch], with_busybox=False)
    except FoundryError as error:
        log = foundry.root / foundry.config.build / "dtk" / "bases.log"
        raise outside(error, f"the base {toolkit.base_name}: ", log) from error
    return {"digest": found.digest, "created": found.created}
