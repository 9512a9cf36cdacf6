"""What the matrix wants and the catalogue can't give, in words: a line for each minor, not for each release."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from foundry.base.errors import Fault
from foundry.base.versions import minor_of, version_key
from foundry.plan.cells import Gap, Plan

_DO = "run `doit toolkit`"


def gap_faults(plan: Plan, gaps: Iterable[Gap] | None = None) -> list[Fault]:
    """The gaps, of the plan or these, as faults; drivers and releases that lack the same are one.

    An empty catalogue is one fault, whatever is wanted.
    """
    groups: dict[tuple[object, ...], list[Gap]] = {}
    for gap in sorted(plan.gaps if gaps is None else gaps, key=lambda gap: version_key(gap.release)):
        minor = minor_of(gap.release)
        whole = gap.release if gap.flavour or gap.release == minor else ""
        groups.setdefault((minor, gap.arch, gap.known, gap.flavour, whole), []).append(gap)
    if groups and plan.empty:
        return [Fault(plan.catalogue, "", "has no release yet")]
    return [_fault(plan.catalogue, found) for found in groups.values()]


def _fault(catalogue: str, gaps: Sequence[Gap]) -> Fault:
    first = min(gaps, key=lambda gap: gap.place)
    file, path, _ = first.place
    arch = f" for {first.arch}" if first.arch else ""
    minor = minor_of(first.release)
    if first.flavour:
        return Fault(file, path, f"no toolkit of release {first.release}{arch} has a kernel of flavour {first.flavour}:"
                                 " leave it out of `flavours`, or narrow the entry with `arch`")
    names = list(dict.fromkeys(gap.release for gap in gaps))
    many = f"{len(names)} releases" if names[1:] else "1 release"
    if first.known:
        return Fault(catalogue, "", f"{minor}: {many}{arch} without a kernel ({spans(names)}): {_DO}")
    if first.release == minor or not names[1:]:
        return Fault(file, path, f"{catalogue} has no release {first.release}{arch}: {_DO}")
    return Fault(file, path, f"{minor}: {catalogue} lacks {many}{arch} ({spans(names)}): {_DO}")


def spans(releases: Iterable[str]) -> str:
    """Releases of a minor in the order of versions, those that follow each other as ``4.20.0-4.20.22``."""
    ordered = sorted(set(releases), key=version_key)
    runs: list[list[str]] = []
    for release in ordered:
        if runs and _follows(runs[-1][-1], release):
            runs[-1].append(release)
        else:
            runs.append([release])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _follows(before: str, release: str) -> bool:
    minor, _, last = before.rpartition(".")
    return last.isdecimal() and "-" not in before and release == f"{minor}.{int(last) + 1}"
