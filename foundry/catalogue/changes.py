"""What an update of catalogue and locks brings, in words: pure, and the same for the same contents."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from foundry.base.versions import version_key
from foundry.config.catalogue import CatalogueEntry, Place
from foundry.config.load import Config
from foundry.config.locks import Base, Lock
from foundry.plan.catalogue import by_place
from foundry.plan.cells import Cell, make_plan
from foundry.plan.upgrades import Upgrade

_DIGITS = 12  # of a digest
_LONGEST = 120  # characters of a fact that is free text
_SUBJECT = 72  # characters of a title
_FEW = 3  # releases in a title
_RELEASES = 12  # of a cell
_ODD = re.compile(r"[^A-Za-z0-9._+~:/@ ()-]")  # nothing of Markdown or HTML
_NAMES = {"dtk": "toolkit", "rt_kernel": "RT kernel", "rhel": "RHEL", "node_kernel": "kernel of the nodes"}
_FIELDS = ("dtk", "kernel", "rt_kernel", "rhel", "stream", "payload", "node_kernel")


@dataclass(frozen=True)
class Content:
    """Catalogue and locks (by the file's path) at one time; `faulty` are the files that say nothing."""

    entries: Sequence[CatalogueEntry] = ()
    locks: Mapping[str, Lock] = field(default_factory=dict)
    faulty: Sequence[str] = ()
    upgrades: frozenset[Upgrade] = frozenset()


@dataclass(frozen=True)
class News:
    """What differs, in the order of the text; `changed` and `locks` in words."""

    added: tuple[CatalogueEntry, ...]
    gone: tuple[CatalogueEntry, ...]
    changed: tuple[str, ...]
    kernels: tuple[tuple[str, str], ...]  # and architecture
    cells: tuple[Cell, ...]
    mismatches: tuple[CatalogueEntry, ...]
    locks: tuple[tuple[str, str], ...]  # family, what
    faulty: tuple[str, ...] = ()
    upgrades: int = 0  # that are new, gone or have other risks


@dataclass(frozen=True)
class _Block:
    """A list under a heading; `head` are lines that stay when the list is shortened."""

    title: str
    head: tuple[str, ...]
    rows: tuple[str, ...]


def make_news(config: Config, old: Content, new: Content) -> News:
    """What the new contents have that the old ones lack, or have otherwise. Cells are those of the matrix."""
    before, after = by_place(old.entries), by_place(new.entries)
    both = sorted(before.keys() & after.keys(), key=_place_key)
    cells = {(cell.driver, cell.kernel, cell.arch) for cell in _cells(config, old.entries)}
    known = {_mismatch(entry) for entry in old.entries if entry.mismatch}
    return News(
        _sorted(entry for place, entries in after.items() if place not in before for entry in entries),
        _sorted(entry for place, entries in before.items() if place not in after for entry in entries),
        tuple(line for place in both for line in _changes(place, before[place], after[place])),
        tuple(sorted(_kernels(new.entries) - _kernels(old.entries), key=lambda pair: (version_key(pair[0]), pair))),
        tuple(cell for cell in _cells(config, new.entries) if (cell.driver, cell.kernel, cell.arch) not in cells),
        _sorted(entry for entry in new.entries if entry.mismatch and _mismatch(entry) not in known),
        tuple((PurePosixPath(file).stem, line) for file, lock in sorted(new.locks.items())
              for line in _lock_changes(old.locks.get(file, Lock()), lock)),
        tuple(old.faulty), len({one[:3] for one in old.upgrades ^ new.upgrades}),
    )


# -- the texts -----------------------------------------------------------------------


def title(news: News) -> str:
    """The subject of the commit and the title of the pull request."""
    versions = list(dict.fromkeys(entry.version for entry in news.added))
    gone = len({entry.version for entry in news.gone})
    if versions:
        names = f"Update driver toolkits: {', '.join(_plain(version) for version in versions)}"
        if len(versions) <= _FEW and len(names) <= _SUBJECT:
            return names
        return f"Update driver toolkits: {_count(len(versions), 'new release')}"
    if news.changed:
        return f"Update driver toolkits: {_count(len(news.changed), 'changed entry', 'changed entries')}"
    if gone:
        return f"Update driver toolkits: {_count(gone, 'release')} less"
    families = sorted({family for family, _ in news.locks})
    if families:
        names = f"Update locks: {', '.join(_plain(family) for family in families)}"
        return names if len(names) <= _SUBJECT else f"Update {_count(len(families), 'lock')}"
    return "Update the upgrades between releases" if news.upgrades else (
        "Update driver toolkits: the same in another form")


def message(news: News) -> str:
    """The commit's message: the title, and the rest in numbers."""
    drivers = Counter(cell.driver for cell in news.cells)
    lines = [*_numbers(news), *(f"Driver {driver}: {_count(count, 'new cell')}" for driver, count in drivers.items())]
    return "\n".join([title(news), "", *lines])


def section(news: News, room: int) -> str:
    """The pull request's text in Markdown, its lists shortened alike so that it has at most `room` characters.

    What is left when the lists are empty may be longer.
    """
    blocks = _blocks(news)
    longest = max((len(block.rows) for block in blocks), default=0)
    if len(_rendered(news, blocks, longest)) <= room:
        return _rendered(news, blocks, longest)
    fit = bisect_right(range(longest + 1), room, key=lambda most: len(_rendered(news, blocks, most)))
    return _rendered(news, blocks, max(0, fit - 1))


def _rendered(news: News, blocks: Iterable[_Block], most: int) -> str:
    lines = ["What `doit toolkit` found that the default branch does not have yet.", "",
             *(f"- {line}" for line in _numbers(news))]
    for file in news.faulty:
        lines += ["", f"`{_plain(file)}` is faulty in the default branch, so all that is in it counts as new."]
    for block in blocks:
        lines += ["", f"## {block.title}", "", *block.head, *block.rows[:most]]
        if len(block.rows) > most:
            lines += ["", f"... and {len(block.rows) - most} more"]
    return "\n".join(lines) + "\n"


def _numbers(news: News) -> list[str]:
    """The catalogue in numbers; a line each."""
    counts = (
        (len({entry.place for entry in news.added}), "new release", "new releases"),
        (len(news.kernels), "new kernel", "new kernels"), (len(news.cells), "new cell", "new cells"),
        (len(news.changed), "changed entry", "changed entries"),
        (len({entry.place for entry in news.gone}), "release gone", "releases gone"),
        (len(news.mismatches), "new mismatch", "new mismatches"),
        (len(news.locks), "change of locks", "changes of locks"),
        (news.upgrades, "change of the upgrades between releases", "changes of the upgrades between releases"),
    )
    found = [_count(count, one, many) for count, one, many in counts if count]
    return found or ["the same facts in another form"]


def _blocks(news: News) -> list[_Block]:
    drivers = Counter(cell.driver for cell in news.cells)
    table = ("| release | arch | kernel | toolkit |", "|---|---|---|---|")
    blocks = [
        _Block("New releases", table, tuple(map(_row, news.added))),
        _Block("New kernels", (), tuple(f"- `{_plain(kernel)}` ({arch})" for kernel, arch in news.kernels)),
        _Block("New cells", (
            f"The matrix wants {_count(len(news.cells), 'image')} more: "
            + ", ".join(f"{count} of driver {_plain(driver)}" for driver, count in drivers.items()) + ".", "",
        ), tuple(_cell_row(cell) for cell in news.cells)),
        _Block("Changed entries", (), tuple(f"- {line}" for line in news.changed)),
        _Block("Releases gone", table, tuple(map(_row, news.gone))),
        _Block("Mismatches", ("Toolkits for another kernel than the nodes have; not built unless forced.", ""), tuple(
            f"- {_name(entry)}: the toolkit is for `{_plain(entry.kernel or 'an unknown kernel')}`,"
            f" the nodes have `{_plain(entry.node_kernel or 'another kernel')}`" for entry in news.mismatches)),
        _Block("Locks", (), tuple(f"- `{_plain(family)}`: {line}" for family, line in news.locks)),
    ]
    return [block for block in blocks if block.rows]


def _row(entry: CatalogueEntry) -> str:
    kernel = f"`{_plain(entry.kernel)}`" if entry.kernel else "not known yet"
    stream = f" (`{_plain(entry.stream)}`)" if entry.stream else ""
    return f"| {_plain(entry.version)}{stream} | {entry.arch} | {kernel} | `{_short(entry.dtk)}` |"


def _cell_row(cell: Cell) -> str:
    more = f" and {len(cell.releases) - _RELEASES} more" if len(cell.releases) > _RELEASES else ""
    releases = ", ".join(_plain(release) for release in cell.releases[:_RELEASES])
    return f"- `{_plain(cell.driver)}` for `{_plain(cell.kernel)}` ({releases}{more})"


# -- what differs --------------------------------------------------------------------


def _cells(config: Config, entries: Sequence[CatalogueEntry]) -> tuple[Cell, ...]:
    return make_plan(replace(config, catalogue=tuple(entries))).cells


def _kernels(entries: Iterable[CatalogueEntry]) -> set[tuple[str, str]]:
    return {(entry.kernel, entry.arch) for entry in entries if entry.kernel}


def _mismatch(entry: CatalogueEntry) -> tuple[Any, ...]:
    return *entry.place, entry.kernel, entry.node_kernel


def _changes(place: Place, old: Sequence[CatalogueEntry], new: Sequence[CatalogueEntry]) -> list[str]:
    """What is otherwise with a release, as one line; none where nothing is."""
    fields: list[str] = []
    for name in _FIELDS:
        shown = _short if name in ("dtk", "payload") else _plain
        if _values(old, name, str) != _values(new, name, str):
            fields.append(_was(_NAMES.get(name, name), _values(old, name, shown), _values(new, name, shown)))
    if bool(any(one.mismatch for one in old)) != bool(any(one.mismatch for one in new)):
        fields.append("it is a mismatch now" if any(one.mismatch for one in new) else "it is no mismatch now")
    return [f"{' '.join(map(_plain, place))}: {'; '.join(fields)}"] if fields else []


def _values(entries: Sequence[CatalogueEntry], name: str, shown: Callable[[Any], str]) -> list[str]:
    ordered = sorted(entries, key=lambda entry: entry.stream)
    return [shown(getattr(entry, name)) for entry in ordered if getattr(entry, name)]


def _was(name: str, old: Sequence[str], new: Sequence[str]) -> str:
    if not new:
        return f"{name} was {_code(old)}, and is not there any more"
    return f"{name} was {_code(old)}, and is {_code(new)}" if old else f"{name} is {_code(new)}"


def _lock_changes(old: Lock, new: Lock) -> list[str]:
    """What is otherwise in a lock, one line for the base and one for each package."""
    lines = []
    if old.base != new.base:
        was, now = _base_facts(old.base), _base_facts(new.base)
        facts = [_was(name, [was[name]] if was[name] else [], [now[name]] if now[name] else [])
                 for name in was if was[name] != now[name]]
        lines.append("; ".join(facts) or "further facts of the base image")
    drivers = old.packages.keys() | new.packages.keys()
    for driver in sorted(drivers, key=lambda driver: (version_key(driver), driver)):
        before, after = old.packages.get(driver), new.packages.get(driver)
        if before != after:
            shas = [[f"sha256:{one.content_sha256[:_DIGITS]}"] if one else [] for one in (before, after)]
            same = before and after and shas[0] == shas[1]
            lines.append(f"package {_plain(driver)}: " + (
                "further facts" if same else _was("content", shas[0], shas[1])))
    return lines


def _base_facts(base: Base | None) -> dict[str, str]:
    """The facts of a base that the text shows, by their names there; empty where the base has none."""
    busybox = base.busybox if base is not None else None
    return {
        "base image": _plain(base.name) if base is not None else "",
        "base digest": _short(base.digest) if base is not None else "",
        "BusyBox": _plain(busybox.version) if busybox is not None else "",
    }


# -- words ---------------------------------------------------------------------------


def _name(entry: CatalogueEntry) -> str:
    return f"{_plain(entry.version)} {entry.arch}"


def _short(reference: str) -> str:
    """A digest that people can compare: its first digits."""
    return _plain(reference.rpartition("@")[2][: len("sha256:") + _DIGITS])


def _plain(value: object) -> str:
    """A fact without anything that could be markup, on one line."""
    return " ".join(_ODD.sub("?", str(value)).split())[:_LONGEST]


def _code(values: Sequence[str]) -> str:
    return " and ".join(f"`{value}`" for value in values)


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _place_key(place: Place) -> tuple[Any, ...]:
    return version_key(place[0]), place


def _sorted(entries: Iterable[CatalogueEntry]) -> tuple[CatalogueEntry, ...]:
    return tuple(sorted(entries, key=lambda one: (_place_key(one.place), one.stream)))
