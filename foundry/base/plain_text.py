"""Texts as they may be printed, logged and kept: nothing that a terminal or a viewer acts on, and no secret.

Compilers, packages, registries and ledgers say what they like. What of it is shown passes here: in errors
(`foundry.base.errors`), in logs (`foundry.base.command_log`, `foundry.base.files.append_to`), in JSON for people, and
in all that a command prints (`tasks.commands.workflow`).
"""

from __future__ import annotations

import base64
import json
import re
import threading
from contextlib import suppress
from urllib.parse import quote

LONGEST_WORDS = 300  # characters of somebody else's words
# C0 without tab and newline, DEL, C1 (ECMA-48); marks that turn the direction of what follows (Unicode TR 9, "Trojan
# Source"); further ends of lines; halves of surrogate pairs, which no file can hold; tags, which nobody sees.
ACTED_ON = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff"
    "\\U000e0000-\\U000e007f]"
)
_SHORTEST = 4  # characters: what is shorter would be found in any text
_MOST = 1000  # secrets that are kept, the newest: tokens of a long run end, and others come
_secrets: dict[str, None] = {}
_lock = threading.Lock()


def plain(text: str) -> str:
    """The text without secrets, and with a question mark for each character that something would act on."""
    return ACTED_ON.sub("?", hidden(text))


def line(text: str, longest: int = LONGEST_WORDS) -> str:
    """As `plain`, on one line, cut where it is longer."""
    return plain(text).replace("\n", "?").replace("\t", " ")[:longest]


def keep_secret(*values: str) -> None:
    """Have the values shown nowhere from now on, neither as they are nor as a URL or JSON has them."""
    with _lock:
        for value in (value for value in values if value not in _secrets):
            for form in (value, quote(value, safe=""), quote(value), json.dumps(value)[1:-1]):
                if len(form) >= _SHORTEST:
                    _secrets[form] = None
        while len(_secrets) > _MOST:
            del _secrets[next(iter(_secrets))]


def keep_login_secret(user: str, password: str) -> None:
    """As `keep_secret`, of a password, and of what HTTP's basic authentication makes of it (RFC 7617)."""
    if password:
        keep_secret(password, base64.b64encode(f"{user}:{password}".encode()).decode())


def keep_header_secret(header: str) -> None:
    """As `keep_secret`, of what an `Authorization` header holds."""
    kind, _, value = header.partition(" ")
    keep_secret(value)
    if kind.lower() == "basic":
        with suppress(ValueError):
            keep_secret(base64.b64decode(value).decode().partition(":")[2])


def hidden(text: str) -> str:
    """The text with ``***`` for each secret."""
    for secret in sorted(_secrets, key=len, reverse=True) if _secrets else ():
        text = text.replace(secret, "***")
    return text


def longest_secret() -> int:
    """Characters of the longest secret, so many of a stream's end may be the beginning of one; 0 without secrets."""
    return max(map(len, tuple(_secrets)), default=0)


def forget_secrets() -> None:
    """Forget all of them; for tests."""
    _secrets.clear()
