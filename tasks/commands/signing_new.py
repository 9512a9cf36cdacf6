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


class SigningNew(Command):  # type: ignore[misc]  # reason: doit has no types
    """Make a key and a certificate."""

    name = "signing:new"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 2 where a file is there already."""
        from foundry.base.environment import take_secrets
        from foundry.config.signing import PASSPHRASE
        from foundry.signing.certificate import read_certificate
        from foundry.signing.new import CERTIFICATE_FILE, DER_FILE, KEY_FILE, write_pair

        folder = Path(os.path.expanduser(params["out"]))
        write_pair(folder, params["name"], years=params["years"], passphrase=take_secrets([PASSPHRASE])[PASSPHRASE])
        print(_TOLD.format(key=folder / KEY_FILE, certificate=folder / CERTIFICATE_FILE, der=folder / DER_FILE,
                           fingerprint=read_certificate(folder / CERTIFICATE_FILE).fingerprint), end="")
        return 0
