"""The password of the sandbox's registry: made anew whenever it starts, for those who may read the sandbox's folder.

Other users of the machine reach the port, too. What they could push there would be compiled with, and run.
"""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Iterable
from pathlib import Path

from foundry.base.errors import OutsideError
from foundry.base.files import write_atomic
from foundry.base.reasons import Reason
from foundry.registry.credentials import Credential, auth_document

AUTH_FILE = "auth.json"  # containers-auth.json(5): for this project and for the user's own tools
HTPASSWD = "htpasswd"
_USER = "sandbox"
# The least that bcrypt has: the registry computes it for each request, and 256 random bits can't be guessed.
_ROUNDS = 4


def new_login(folder: Path, names: Iterable[str]) -> None:
    """Make a password for the registry that has these names (``host[:port]``), in files that only this user can read.

    Raises OutsideError where the C library has no bcrypt.
    """
    password = secrets.token_hex(32)
    write_atomic(folder / HTPASSWD, f"{_USER}:{_bcrypt(password)}\n".encode(), mode=0o600)
    credential = Credential(_USER, password, "the sandbox")
    write_atomic(folder / AUTH_FILE, auth_document(dict.fromkeys(names, credential)), mode=0o600)


def _bcrypt(password: str) -> str:
    """As htpasswd(1) has it, by crypt(3), which Debian's libcrypt1 has; Python's own module is gone since 3.13."""
    try:
        library = ctypes.CDLL("libcrypt.so.1")
        library.crypt.restype = library.crypt_gensalt.restype = ctypes.c_char_p
        salt = library.crypt_gensalt(b"$2b$", ctypes.c_ulong(_ROUNDS), None, 0)
        made = library.crypt(password.encode(), salt)
    except (OSError, AttributeError):
        made = None
    if not made or not made.startswith(b"$2b$"):
        raise OutsideError("the C library can't make a password for the sandbox's registry",
                           reason=Reason.TOOL_MISSING, hint="apt-get install libcrypt1")
    return bytes(made).decode()
