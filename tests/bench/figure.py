"""A figure: what was measured, what it may be at most, and the line that says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value; `detail` is what it was made of, to look into a miss."""

    name: str
    value: str
    limit: str
    ok: bool
    detail: str = ""

    def line(self) -> str:
        """Name, value, limit, ``ok`` or ``MISS``."""
        verdict = "ok" if self.ok else "MISS"
        return f"{self.name:<42}{self.value:>10}{self.limit:>10}  {verdict:<6}{self.detail}".rstrip()


def at_most(name: str, value: float, limit: float, unit: str = "x", detail: str = "") -> Figure:
    """A figure that is met when the value does not exceed the limit."""
    return Figure(name, f"{value:.2f} {unit}", f"{limit:g} {unit}", value <= limit, detail)


def yes(name: str, ok: bool, detail: str = "") -> Figure:
    """A figure that is a yes or a no."""
    return Figure(name, "yes" if ok else "no", "yes", ok, detail)
