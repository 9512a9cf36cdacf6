"""`doit signing:new`: a key and a certificate that modules are signed with, and what to do with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from tasks.commands.arguments import number
from tasks.commands.told import told

_OPTIONS = (
    {"name": "name", "short": "", "long": "name", "type": str, "default": "kernel modules", "metavar": "NAME",
     "help": "the certificate's name, which modinfo and the firmware show"},
    {"name": "out", "short": "", "long": "out", "type": str, "default": "config/signing", "metavar": "DIR",
     "help": "the folder for the files"},
    {"name": "images", "short": "", "long": "images", "type": bool, "default": False,
     "help": "a key for signatures of images instead: it has a public half, and no certificate"},
    {"name": "years", "short": "", "long": "years", "type": number(1, 100), "default": 10, "metavar": "N",
     "help": "how long modules may be signed with it; kernels don't look at it"},
)
_TOLD = """\
made {key}, {certificate} and {der}
the certificate's SHA-256: {fingerprint}

Settings of the profile (config/profiles/NAME.yaml), here and in GitHub Actions:
  signing: {{key: "{key}", certificate: "{certificate}"}}
  signing: {{key: "env:KMOD_SIGNING_KEY", certificate: "{certificate}"}}
Commit the certificate, never the key: in this checkout git ignores *.key.

Keep the key: two backups away from this machine (a lost one means to enrol another on each node), and nobody else
may read it. For GitHub Actions: gh secret set KMOD_SIGNING_KEY < {key}

Have the nodes trust the certificate, before they load what is signed with it:
  a machine's owner:  mokutil --import {der}, then reboot and confirm at the console
  the firmware's db:  enrol {der} in the firmware's set-up, or in the virtual machine's template
  OpenShift:          a MachineConfig brings {der} to the nodes; there it is enrolled by mokutil
docs/signing.md has each of them step by step.
"""


_TOLD_OF_IMAGES = """\
made {key} and {public}
the public key's SHA-256: {fingerprint}

Settings of the profile (config/profiles/NAME.yaml), here and in GitHub Actions:
  image_signing: {{key: "{key}", public_keys: ["{public}"]}}
  image_signing: {{key: "env:KMOD_IMAGE_SIGNING_KEY", public_keys: ["{public}"]}}
Commit the public key, never the private one: in this checkout git ignores *.key. Of an older key, keep the public half
in the list, after this one. For GitHub Actions: gh secret set KMOD_IMAGE_SIGNING_KEY < {key}

Anyone checks an image by: cosign verify --key {public} --insecure-ignore-tlog=true IMAGE@DIGEST
docs/attest.md has what podman, CRI-O and OpenShift need.
"""


class SigningNew(Command):  # type: ignore[misc]  # reason: doit has no types
    """Make a key, with a certificate for modules or a public key for images."""

    name = "signing:new"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 2 where a file is there already."""
        from foundry.base.environment import take_secrets
        from foundry.config.signing import IMAGES, MODULES
        from foundry.signing.certificate import read_certificate
        from foundry.signing.image_key import read_public_keys
        from foundry.signing.new import (
            CERTIFICATE_FILE,
            DER_FILE,
            IMAGE_KEY_FILE,
            KEY_FILE,
            PUBLIC_FILE,
            write_image_pair,
            write_pair,
        )

        folder = Path(os.path.expanduser(params["out"]))
        variable = (IMAGES if params["images"] else MODULES).passphrase
        passphrase = take_secrets([variable])[variable]
        if params["images"]:
            write_image_pair(folder, passphrase)
            [public] = read_public_keys([PUBLIC_FILE], folder)
            print(_TOLD_OF_IMAGES.format(key=folder / IMAGE_KEY_FILE, public=folder / PUBLIC_FILE,
                                         fingerprint=public.fingerprint), end="")
            return 0
        write_pair(folder, params["name"], years=params["years"], passphrase=passphrase)
        print(_TOLD.format(key=folder / KEY_FILE, certificate=folder / CERTIFICATE_FILE, der=folder / DER_FILE,
                           fingerprint=read_certificate(folder / CERTIFICATE_FILE).fingerprint), end="")
        return 0
