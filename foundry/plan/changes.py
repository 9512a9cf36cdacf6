"""What changed of a key's inputs: the parts, their names for people, old and new values.

A key holds hashes. Where the values are known that they are of, a change says what differs in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from foundry.base.plain_text import line

# What people call the parts of a cell's key.
PART_NAMES = {
    "package": "the driver package", "patches": "the patches that apply", "build_script": "the build script",
    "toolkit": "the toolkit", "kernel": "the kernel", "make": "the make settings", "strip": "the strip setting",
    "modules": "the list of modules", "containerfile": "the Containerfile", "licenses": "the licences",
    "base": "the base image", "labels": "the labels", "platform": "the platform", "firmware": "the firmware",
    "certificate": "the signing certificate", "module": "the modules", "boot": "how they are booted",
}
# What a hash is of, for people: a file's text, or by name a text or lines.
Value = str | Mapping[str, str | Sequence[str]]
_Known = Callable[[str], Value | None]

_MOST_LINES = 60  # of one change: a page, not a book
_SHA256, _SHORT = 64, 12  # hex digits


@dataclass(frozen=True)
class Change:
    """One part of a key that is not what it was: as the keys have it (empty: not there), and what differs in it.

    `lines` are of a diff, or such as ``vendor: A → B``; none where the values are not known.
    """

    part: str
    before: str
    after: str
    lines: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call the part."""
        return PART_NAMES.get(self.part, self.part)

    def render(self) -> Iterator[str]:
        """A line with old and new, then what differs."""
        yield f"{self.name}: {_short(self.before)} → {_short(self.after)}"
        yield from (f"  {text}" for text in self.lines)


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Which parts of a key differ, sorted: ``("build_script", "toolkit")``."""
    return tuple(name for name in sorted(now.keys() | before.keys()) if before.get(name) != now.get(name))


def part_words(parts: Iterable[str], names: Mapping[str, str] = PART_NAMES) -> str:
    """Parts of a key as words: ``the build script, the toolkit``."""
    return ", ".join(names.get(name, name) for name in parts)


class Changes:
    """Names changes; two values are compared once, whatever number of cells have them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Change] = {}

    def between(
        self, before: Mapping[str, str], now: Mapping[str, str], was: _Known, value: _Known
    ) -> tuple[Change, ...]:
        """What differs between the parts of two keys; `was` and `value` say of a part what its hash is of."""
        found = []
        for part in changed_parts(before, now):
            pair = part, before.get(part, ""), now.get(part, "")
            if pair not in self._known:
                self._known[pair] = Change(*pair, _differing(was(part), value(part)))
            found.append(self._known[pair])
        return tuple(found)


def _differing(was: Value | None, now: Value | None) -> tuple[str, ...]:
    if was is None or now is None:
        return ()
    if isinstance(was, str) and isinstance(now, str):
        found = list(_diff(was.splitlines(), now.splitlines()))
    elif isinstance(was, str) or isinstance(now, str):
        return ()
    else:
        found = [text for name in sorted({*was, *now}) for text in _entry(name, was.get(name), now.get(name))]
    more = len(found) - _MOST_LINES
    shown = [line(text) for text in found[:_MOST_LINES]]
    return (*shown, *([f"… and {more} more lines"] if more > 0 else ()))


def _entry(name: str, was: str | Sequence[str] | None, now: str | Sequence[str] | None) -> Iterator[str]:
    """What became of one text or list of lines."""
    if was == now:
        return
    if was is None or now is None or isinstance(was, str) or isinstance(now, str):
        yield f"{name}: {_said(was)} → {_said(now)}"
    else:
        yield f"{name}:"
        yield from (f"  {text}" for text in _diff(was, now) if not text.startswith("@@"))


def _diff(was: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    """The lines of a diff, with a line around each change."""
    from difflib import unified_diff

    return (text for number, text in enumerate(unified_diff(was, now, n=1, lineterm="")) if number > 1)


def _said(value: str | Sequence[str] | None) -> str:
    return "none" if value is None else (_short(value) or "empty") if isinstance(value, str) else "here"


def _short(text: str) -> str:
    """A hash by its first digits; anything else as it is."""
    kind, colon, digits = text.rpartition(":")
    is_hash = len(digits) == _SHA256 and not digits.strip("0123456789abcdef") and kind in ("", "sha256")
    return f"{kind}{colon}{digits[:_SHORT]}" if is_hash else text or "none"
