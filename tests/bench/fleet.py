"""How wall time falls with machines: 10 drivers x 500 kernels on a simulated fleet, as a table and a picture.

``python -m tests.bench.fleet`` writes ``docs/fleet.svg`` and the table in
``docs/operations.md``. The shards are those that `doit shards` plans; what
they take comes from the model below, of which some numbers were measured and
some are assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.fleet.spread import Work, spread

ROOT = Path(__file__).parents[2]
PICTURE, PAGE = ROOT / "docs" / "fleet.svg", ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- fleet: made by python -m tests.bench.fleet -->", "<!-- /fleet -->"
DRIVERS, KERNELS = 10, 500
MACHINES = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256)
LONGEST_JOB = 6.0  # hours
_LINES = ((600, "10 min"), (3600, "1 h"), (6 * 3600, "6 h"), (24 * 3600, "1 day"), (72 * 3600, "3 days"))

# Seconds. Measured on two cores: the vendor's 2.22.2.0 and 2.25.4.0 compile in 16-19 s, an image is made in 0.9 s;
# planning 5,000 cells takes 0.9 s, and collecting them 13 s.
COMPILE, IMAGE, PLAN = 18.0, 0.9, 1.0
# Assumed: a toolkit of 1.5 GB at 20 MB/s with unpacking; a push over the internet; a machine from its queue to its
# first task; collecting and releasing ten drivers on GitHub.
PULL, PUSH, START, RELEASE = 90.0, 3.0, 75.0, 300.0


@dataclass(frozen=True)
class Night:
    """One number of machines: how many are used, seconds on the clock, machine hours, pulls."""

    allowed: int
    used: int
    wall: float
    longest: float
    hours: float
    pulls: int


def nights() -> list[Night]:
    """All of them."""
    works = [Work(f"d{driver}-k{kernel:03}", f"t{kernel:03}", "x86_64", COMPILE + IMAGE + PUSH)
             for kernel in range(KERNELS) for driver in range(DRIVERS)]
    found = []
    for machines in MACHINES:
        shards = spread(works, jobs=machines, pull=PULL)
        longest = START + max(shard.seconds for shard in shards)
        wall = START + PLAN + longest + START + RELEASE
        hours = sum(START + shard.seconds for shard in shards) / 3600
        pulls = sum(len(shard.toolkits) for shard in shards)
        found.append(Night(machines, len(shards), wall, longest, hours, pulls))
    return found


def table(found: Sequence[Night]) -> str:
    """For the page."""
    lines = ["| machines allowed | used | wall time | times faster | toolkits pulled | machine hours |",
             "|---:|---:|---:|---:|---:|---:|"]
    for one in found:
        late = " *" if one.longest > LONGEST_JOB * 3600 else ""
        lines.append(f"| {one.allowed} | {one.used} | {_time(one.wall)}{late} | {found[0].wall / one.wall:.1f} "
                     f"| {one.pulls} | {one.hours:.0f} |")
    return "\n".join([*lines, "", f"\\* a job would take more than the {LONGEST_JOB:g} hours that GitHub gives it", ""])


def picture(found: Sequence[Night]) -> str:
    """Wall time by machines, both axes logarithmic; the dashed line halves with each doubling."""
    width, height, left, bottom, top, right = 740, 420, 80, 60, 40, 70
    least, most = 300.0, 300_000.0

    def x(machines: float) -> float:
        return left + (width - left - right) * math.log2(machines) / 8

    def y(seconds: float) -> float:
        return top + (height - top - bottom) * math.log(most / seconds) / math.log(most / least)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="24" font-size="15">{DRIVERS} drivers × {KERNELS} kernels: wall time by machines '
        "(simulated)</text>",
    ]
    for seconds, word in _LINES:
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y(seconds):.1f}" y2="{y(seconds):.1f}" '
                     'stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(seconds) + 4:.1f}" text-anchor="end">{word}</text>')
    for power in range(9):
        machines = 2**power
        parts.append(f'<text x="{x(machines):.1f}" y="{height - bottom + 20}" text-anchor="middle">{machines}</text>')
    parts.append(f'<text x="{(left + width - right) / 2:.0f}" y="{height - 14}" text-anchor="middle">machines</text>')
    ideal = " ".join(f"{x(one.allowed):.1f},{y(found[0].wall / one.allowed):.1f}" for one in found)
    parts.append(f'<polyline points="{ideal}" fill="none" stroke="#999" stroke-dasharray="5 4"/>')
    real = " ".join(f"{x(one.allowed):.1f},{y(one.wall):.1f}" for one in found)
    parts.append(f'<polyline points="{real}" fill="none" stroke="#1458a8" stroke-width="2"/>')
    for one in found:
        parts.append(f'<circle cx="{x(one.allowed):.1f}" cy="{y(one.wall):.1f}" r="4" fill="#1458a8"/>')
        parts.append(f'<text x="{x(one.allowed) + 7:.1f}" y="{y(one.wall) - 8:.1f}">{_time(one.wall)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def page(text: str, found: Sequence[Night]) -> str:
    """The page with today's table."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{table(found)}\n{END}{after}"


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


if __name__ == "__main__":
    FOUND = nights()
    PICTURE.write_text(picture(FOUND), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), FOUND), encoding="utf-8")
