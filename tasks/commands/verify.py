"""`doit verify`: published images, fetched by digest and looked at again; or what is in this checkout."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, FoundryError, UsageError
from tasks import session
from tasks.commands.arguments import number
from tasks.commands.run_lock import run_lock
from tasks.commands.told import told

if TYPE_CHECKING:
    from foundry.signing.image_key import PublicKey

_OPTIONS = (
    {"name": "sample", "short": "", "long": "sample", "type": number(1, 1_000_000), "default": 0,
     "help": "so many images, chosen at random, instead of all"},
    {"name": "tags", "short": "", "long": "tags", "type": bool, "default": False,
     "help": "look at the tags alone: a small request each, no toolkit is pulled"},
    {"name": "local", "short": "", "long": "local", "type": bool, "default": False,
     "help": "look at this checkout's records, outputs, sources, ledgers and release files; no network"},
    {"name": "offline", "short": "", "long": "offline", "type": str, "default": "", "metavar": "DIR",
     "help": "look at a kit, an OCI layout with what lies beside its images, or a release's files; no network"},
    {"name": "key", "short": "", "long": "key", "type": list, "default": [], "metavar": "FILE",
     "help": "with --offline: the public key, in place of the profile's; may be given several times"},
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False, "help": "a JSON list"},
)


class Verify(Command):  # type: ignore[misc]  # reason: doit has no types
    """Prove published images again."""

    name = "verify"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 when an image is not what its ledger says, or a file not what its record says."""
        if params["local"] and (args or params["sample"] or params["tags"]):
            raise UsageError("--local looks at all of this checkout: it takes no driver and no other choice")
        if params["key"] and not params["offline"]:
            raise UsageError("--key goes with --offline: else the profile's `image_signing.public_keys` count")
        if params["offline"]:
            if args or params["sample"] or params["tags"] or params["local"]:
                raise UsageError("--offline looks at one folder: it takes no driver and no other choice")
            return show(_offline(params["offline"], params["key"]), "files", as_json=bool(params["json"]))
        with run_lock():
            found = _here() if params["local"] else _published(
                args, int(params["sample"]), tags_only=bool(params["tags"]))
            return show(found, "files" if params["local"] else "images", as_json=bool(params["json"]))


def show(found: Iterable[tuple[dict[str, str], Sequence[str]]], what: str, *, as_json: bool) -> int:
    """Say what was found as it is found, each thing by its names with its faults; as JSON at the end."""
    shown, bad = [], 0
    for names, faults in found:
        bad += bool(faults)
        shown.append({**names, "ok": not faults, "faults": list(faults)})
        if not as_json:
            print(f"{'BAD' if faults else 'ok':<5}{'  '.join(names.values())}")
            for fault in faults:
                print(f"     {fault}")
    print(json.dumps(shown, indent=2) if as_json else f"{len(shown)} {what}: {len(shown) - bad} ok, {bad} bad")
    return EXIT_TASK_FAILED if bad else 0


def _here() -> Iterator[tuple[dict[str, str], Sequence[str]]]:
    from foundry.preflight.local import verify_here

    for one in verify_here(session.foundry()):
        yield {"file": one.file}, one.faults


def _offline(place: str, files: Sequence[str]) -> Iterator[tuple[dict[str, str], Sequence[str]]]:
    from foundry.ledger.offline import verify_folder
    from foundry.release.kit_load import unpacked

    one, keys = session.foundry(), public_keys(files)
    with unpacked(one, Path(place)) if Path(place).is_file() else nullcontext(Path(place)) as folder:
        for verdict in verify_folder(folder, keys, one.config.validation):
            yield {"image": verdict.image}, verdict.faults


def public_keys(files: Sequence[str], otherwise: str = "") -> Sequence[PublicKey]:
    """Those that the command line names, or the profile's; UsageError where there are none."""
    from foundry.signing.image_key import read_public_keys

    try:
        keys = read_public_keys(files, Path.cwd()) if files else session.foundry().public_keys()
    except FoundryError as error:
        raise UsageError(error.message, hint="--key names the public key of those who made it") from error
    if not keys:
        raise UsageError("no public key says what is to be believed",
                         hint=f"name it: --key=image.pub{otherwise and ', '}{otherwise}")
    return keys


def _published(
    drivers: list[str], sample: int, *, tags_only: bool
) -> Iterator[tuple[dict[str, str], Sequence[str]]]:
    from foundry.ledger import ledgers
    from foundry.ledger.verify import published, verify

    one = session.foundry()
    wanted = list(published(one, ledgers.ledgers_of(one, drivers).values(), named=bool(drivers)))
    if sample:
        wanted = random.sample(wanted, min(sample, len(wanted)))
    for image, verdict in zip(wanted, verify(one, wanted, tags_only=tags_only), strict=True):
        yield {"tag": image.row.tags[0], "image": verdict.image}, verdict.faults
    one.sweep()
