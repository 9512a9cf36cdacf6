"""Regular expressions, judged in a process of its own: no expression and no text can hold up this one, or fill it."""

from __future__ import annotations

import sys

from foundry.base.errors import FoundryError
from foundry.base.process import Completed, run
from foundry.base.reasons import Reason

_SECONDS = 5
_MEMORY = 256 << 20  # bytes
_MATCHES = f"ulimit -t {_SECONDS} -v {_MEMORY >> 10} 2>/dev/null; [[ $1 =~ $2 ]]"
_FINDS = """\
import re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]), int(sys.argv[2])))
match = re.search(sys.argv[1], sys.stdin.buffer.read().decode(), re.MULTILINE)
if match is None:
    sys.exit(1)
sys.stdout.buffer.write((match[1] or "").encode())
"""


class EndlessError(FoundryError):
    """An expression took more time or memory than any honest one does."""

    def __init__(self, expression: str) -> None:
        super().__init__(f"the expression {expression[:200]!r} takes too long to judge", reason=Reason.TIMEOUT)


def bash_matches(text: str, expression: str) -> bool:
    """Whether bash says so of ``[[ text =~ expression ]]``: POSIX's extended form, anywhere in the text.

    What bash can't read fits nothing. Raises EndlessError; OutsideError where there is no bash.
    """
    argv = ["bash", "--noprofile", "--norc", "-c", _MATCHES, "bash", text, expression]
    return _judged(argv, expression, b"", (0, 1, 2)).returncode == 0


def first_group(pattern: str, text: str) -> str:
    """What the one group of Python's `pattern` finds in the lines of a text; empty where it finds nothing.

    Raises EndlessError.
    """
    argv = [sys.executable, "-I", "-c", _FINDS, pattern, str(_SECONDS)]
    return _judged(argv, pattern, text.encode(), (0, 1)).stdout


def _judged(argv: list[str], expression: str, stdin: bytes, codes: tuple[int, ...]) -> Completed:
    try:
        done = run(argv, stdin=stdin, timeout=2 * _SECONDS, check=False, env={"LC_ALL": "C.UTF-8"},
                   unset=("BASH_ENV", "SHELLOPTS", "BASHOPTS"))
    except FoundryError as error:
        if error.reason is not Reason.TIMEOUT:
            raise
        raise EndlessError(expression) from error
    if done.returncode not in codes:
        raise EndlessError(expression)
    return done
