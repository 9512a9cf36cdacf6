"""`doit sign:image`: published images signed with one's own key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.cmd_base import Command

from foundry.base.errors import FoundryError, UsageError, from_os
from foundry.base.plain_text import line
from foundry.formats.modules.signature import HASHES
from tasks import session
from tasks.commands.arguments import OptionsAnywhere
from tasks.commands.run_lock import run_lock
from tasks.commands.told import told

if TYPE_CHECKING:
    from foundry.base.references import Reference
    from foundry.ledger.sign_image import Signed
    from foundry.run.context import Foundry
    from foundry.signing.keys import Signer

_OPTIONS = (
    {"name": "key", "short": "", "long": "key", "type": str, "default": "", "metavar": "KEY",
     "help": "the private key, as `signing.key` names it: FILE, env:NAME or pkcs11:…; else the profile's"},
    {"name": "certificate", "short": "", "long": "certificate", "type": str, "default": "", "metavar": "FILE",
     "help": "the certificate of that key"},
    {"name": "hash", "short": "", "long": "hash", "type": str, "default": "", "metavar": "HASH",
     "choices": tuple((name, "") for name in HASHES),
     "help": f"one of {', '.join(HASHES)}; else that of the signature that is there, or {HASHES[0]}"},
    {"name": "beside", "short": "", "long": "beside", "type": bool, "default": False,
     "help": "keep the signatures that are there and add one, instead of replacing them"},
    {"name": "to", "short": "", "long": "to", "type": str, "default": "", "metavar": "PLACE",
     "help": "push there: registry/repository:tag; without a tag, that of the image. Else a file is written"},
    {"name": "out", "short": "", "long": "out", "type": str, "default": "", "metavar": "DIR",
     "help": "the folder for files, instead of build/PROFILE/signed"},
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False, "help": "a JSON list"},
)


class SignImage(OptionsAnywhere, Command):  # type: ignore[misc]  # reason: doit has no types
    """Sign the modules of published images."""

    name = "sign:image"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 when an image can't be signed: nothing is written or pushed of it."""
        if bool(params["key"]) != bool(params["certificate"]):
            raise UsageError("--key and --certificate go together", hint="without both, the profile's are taken")
        if params["to"] and params["out"]:
            raise UsageError("--to pushes and --out writes files: name one of them")
        with run_lock():
            return _sign(params, args)


def _sign(params: Any, words: list[str]) -> int:
    from foundry.ledger.sign_image import FOLDER, Wishes, destination, sign_image, sources

    one = session.foundry()
    wishes = Wishes(_signer(one, params["key"], params["certificate"]), params["hash"], params["beside"])
    images = sources(one, words)
    place = destination(params["to"], images) if params["to"] else Path(
        os.path.expanduser(params["out"])) if params["out"] else one.config.build / FOLDER
    shown, codes = [], []
    for image in images:
        try:
            facts = _facts(image, *sign_image(one, image, wishes, place))
        except (FoundryError, OSError) as problem:
            error = problem if isinstance(problem, FoundryError) else from_os(problem)
            facts = {"image": str(image), "ok": False, "fault": error.message, "hint": error.hint}
            codes.append(error.exit_code)
        shown.append(facts)
        if not params["json"]:
            print(_text(facts))
    summary = f"{len(shown)} images: {len(shown) - len(codes)} signed, {len(codes)} bad"
    print(json.dumps(shown, indent=2) if params["json"] else summary)
    return min(codes, default=0)


def _signer(one: Foundry, key: str, certificate: str) -> Signer:
    """Who signs; UsageError where neither options nor the profile say it."""
    from foundry.base.environment import take_secrets
    from foundry.config.signing import MODULES, secret_names
    from foundry.signing.certificate import read_certificate
    from foundry.signing.keys import open_signer

    if not key:
        if not one.settings.signing.key:
            raise UsageError("the profile names no key to sign modules with",
                             hint="name yours: --key and --certificate; `doit signing:new` makes a pair")
        return one.signer()
    try:
        names = secret_names(key, MODULES)
    except ValueError as error:
        raise UsageError(f"--key {error}") from error
    found = {name: text for name, text in take_secrets(names).items() if text}
    paths = {name: os.path.expanduser(text) for name, text in (("key", key), ("certificate", certificate))}
    signer = open_signer(paths["key"], read_certificate(one.root / paths["certificate"]), {**one.secrets, **found},
                         one.root)
    for warning in signer.warnings:
        one.journal.warn(warning)
    return signer


def _facts(image: Reference, made: Signed, place: str) -> dict[str, Any]:
    return {
        "image": str(image), "ok": True, "digest": made.image.digest, "place": place,
        "signer": made.signature.signer, "certificate": made.signature.fingerprint, "hash": made.signature.hash_name,
        "modules": {path: list(others) for path, others in made.modules.items()}, "elsewhere": list(made.elsewhere),
        "unchanged": made.others,
    }


def _text(facts: dict[str, Any]) -> str:
    if not facts["ok"]:
        lines = [facts["fault"], *([f"hint: {facts['hint']}"] if facts["hint"] else [])]
        return "\n     ".join([f"BAD  {facts['image']}", *lines])
    lines = [f"became {facts['digest']}", f"in {facts['place']}",
             f"signed by {facts['signer']!r} with {facts['hash']}, certificate {facts['certificate']}"]
    lines += [line(f"/{path}" + (f", signed also by {', '.join(others)}" if others else ""))
              for path, others in facts["modules"].items()]
    lines += [line(f"not signed, as KMM loads nothing from there: /{path}") for path in facts["elsewhere"]]
    lines.append(f"nothing else is new but the certificate and labels: {facts['unchanged']} other files are the same")
    return "\n     ".join([f"ok   {facts['image']}", *lines])
