"""What a guest's console says of the modules that it loaded (container/boot/init.sh writes it), as checks.

A boot proves that a module loads on its kernel, with its signature where the kernel insists on one, that its symbols
are there and that it goes again. A guest has no hardware: whether the driver drives any, nobody learns here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from foundry.base.plain_text import line as one_line
from foundry.base.reasons import Reason

_LINE = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[[^\]]*\])? (.*)$")  # printk.time, and its caller where it is said
_OURS = re.compile(r"^kmod-foundry: (\w+) ?(.*)$")
# What the kernel says when something in it is broken, and what it says of a module that it does not take.
_BROKEN = re.compile(
    r"^(?:BUG: |kernel BUG at|Oops|Internal error|general protection fault|Unable to handle kernel|divide error|"
    r"invalid opcode|stack guard page|double fault|Kernel panic|watchdog: BUG|INFO: task .* blocked)")
_REFUSED = re.compile(
    r"Unknown symbol|disagrees about version of symbol|no symbol version for|version magic|Loading of .* is rejected"
    r"|Invalid relocation|exports duplicate symbol|Lockdown:|PKCS#7 signature not signed")
_WARNING = re.compile(r"^WARNING: ")
_KEY_REFUSED = ("Key was rejected by service", "Required key not available", "Key has been revoked", "Bad message",
                "Operation not permitted", "Permission denied", "Package not installed")


@dataclass(frozen=True)
class Check:
    """One thing that a boot was to show, and what it showed."""

    name: str
    ok: bool
    detail: str

    def as_data(self) -> dict[str, object]:
        """As it stands in a record."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail}


@dataclass(frozen=True)
class Wanted:
    """What a guest is to show: `load` are the modules in order, `names` what the kernel calls all of them.

    `refused` are modules that it must not load, `accepted` the errors that an init may refuse with (``ENODEV``).
    """

    kernel: str
    load: tuple[str, ...]
    names: tuple[str, ...]
    refused: tuple[str, ...] = ()
    enforced: bool = False
    secure_boot: bool = False
    accepted: tuple[str, ...] = ()
    unloads: bool = True


@dataclass(frozen=True)
class Verdict:
    """The outcome: `fault` is a sentence, and empty where all is well; `reason` that of the fault."""

    checks: tuple[Check, ...]
    fault: str = ""
    reason: Reason | None = None
    warnings: tuple[str, ...] = ()
    tainted: int = 0


@dataclass
class _Step:
    """What a guest tried with one subject: what the program or the module's state said, and the kernel meanwhile."""

    what: str
    subject: str
    code: int | None = None
    state: str = ""
    said: list[str] = field(default_factory=list)
    kernel: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """Why it did not go well: in the kernel's words where it has some, else in those of the program."""
        broken = [text for text in self.kernel if _BROKEN.match(text)]
        refused = [text for text in self.kernel if _REFUSED.search(text)]
        said = [text for text in self.said if "error" in text.lower() or "FATAL" in text] or self.said[-1:]
        return one_line((broken or refused or said or self.kernel[-1:] or ["no reason was given"])[0].strip())

    @property
    def is_broken(self) -> bool:
        """Whether something in the kernel broke meanwhile."""
        return any(_BROKEN.match(text) for text in self.kernel)


@dataclass
class _Console:
    """A console, read."""

    kernel: str = ""
    enforced: str = ""
    lockdown: str = ""
    tainted: int = 0
    ended: bool = False
    steps: list[_Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)  # before the first step


def judge(console: str, wanted: Wanted, *, in_time: bool, seconds: float) -> Verdict:
    """The verdict on a guest that ended by itself (`in_time`) or was ended after these seconds."""
    read = _read(console.splitlines())
    if not read.kernel:
        broken = [text for text in read.first if _BROKEN.match(text)]
        last = next((text for text in [*broken, *reversed(read.first)] if text.strip()), "nothing")
        how = "" if in_time else f" within {seconds:.0f} s"
        return Verdict((), f"the kernel {wanted.kernel} does not boot{how}; the last that it said: {one_line(last)}",
                       Reason.KERNEL_DOES_NOT_BOOT)
    checks = [Check("kernel", read.kernel == wanted.kernel, read.kernel)]
    if wanted.enforced:
        checks.append(Check("signatures-enforced", read.enforced == "Y", f"sig_enforce: {read.enforced or 'none'}"))
    if wanted.secure_boot:
        locked = "[integrity]" in read.lockdown or "[confidentiality]" in read.lockdown
        checks.append(Check("locked-down", locked, read.lockdown or "no lockdown"))
    steps = {(step.what, step.subject): step for step in read.steps}
    refusals: dict[str, str] = {}  # by the kernel's name of a module: the error that its init refused with
    for what, subject in _expected(wanted):
        step = steps.get((what, subject))
        if step is None or (step is read.steps[-1] and not read.ended):
            checks.append(_unfinished(what, subject, read, in_time=in_time, seconds=seconds))
            break
        found = _judged(step, wanted, refusals)
        if found is not None:
            checks.append(found)
    bad = next((one for one in checks if not one.ok), None)
    fault, reason = ("", None) if bad is None else (f"{_SAID[bad.name]}: {bad.detail}", _REASONS[bad.name])
    return Verdict(tuple(checks), fault, reason, tuple(read.warnings), read.tainted)


# A check's name → the words of its failure, and the reason.
_SAID: Mapping[str, str] = {
    "kernel": "another kernel was booted", "signatures-enforced": "the kernel does not insist on signatures",
    "locked-down": "the kernel is not locked down",
    "refuses": "the kernel loads what it must not",
    "loads": "does not load", "lives": "is not live", "unloads": "can't be unloaded",
    "loads-again": "does not load again", "lives-again": "is not live again",
    "unloads-again": "can't be unloaded again",
}
_REASONS: Mapping[str, Reason] = {
    **dict.fromkeys(("kernel", "signatures-enforced", "locked-down"), Reason.KERNEL_DOES_NOT_BOOT),
    "refuses": Reason.SIGNATURES_NOT_ENFORCED,
    **dict.fromkeys(("loads", "lives", "loads-again", "lives-again"), Reason.DOES_NOT_LOAD),
    **dict.fromkeys(("unloads", "unloads-again"), Reason.DOES_NOT_UNLOAD),
}
_AGAIN = {"first": "", "again": "-again"}


def _expected(wanted: Wanted) -> Iterable[tuple[str, str]]:
    """The steps in their order."""
    yield from (("refuse", name) for name in wanted.refused)
    for time in _AGAIN:
        yield from ((f"load-{time}", name) for name in wanted.load)
        yield from ((f"live-{time}", name) for name in wanted.names)
        if not wanted.unloads:
            return
        yield from ((f"unload-{time}", name) for name in reversed(wanted.load))
        yield from ((f"gone-{time}", name) for name in wanted.names)


def _judged(step: _Step, wanted: Wanted, refusals: dict[str, str]) -> Check | None:  # noqa: PLR0911 - one each
    """The check of a finished step; None where it says nothing of its own."""
    what, _, time = step.what.partition("-")
    again = _AGAIN.get(time, "")
    if step.is_broken:
        return Check({"refuse": "refuses", "unload": f"unloads{again}", "gone": f"unloads{again}"}.get(
            what, f"loads{again}"), False, f"{step.subject}: {step.sentence}")
    if what == "refuse":
        return Check("refuses", step.code != 0 and any(text in " ".join(step.said) for text in _KEY_REFUSED),
                     f"{step.subject}: {'it was loaded' if step.code == 0 else step.sentence}")
    if what == "load":
        if step.code != 0 and (why := _accepted(step, wanted)):
            refusals[step.subject.replace("-", "_")] = why
            return Check(f"loads{again}", True, f"{step.subject}: refused with {why}, its symbols were found")
        return Check(f"loads{again}", step.code == 0, f"{step.subject}: {'yes' if step.code == 0 else step.sentence}")
    if what == "live":
        if step.subject in refusals:
            return None
        return Check(f"lives{again}", step.state == "live", f"{step.subject}: {step.state}")
    if what == "unload":
        ok = step.code == 0 or step.subject.replace("-", "_") in refusals
        return None if ok else Check(f"unloads{again}", False, f"{step.subject}: {step.sentence}")
    return Check(f"unloads{again}", step.state == "gone",
                 f"{step.subject}: {'yes' if step.state == 'gone' else step.state}")


def _accepted(step: _Step, wanted: Wanted) -> str:
    """The error that the init refused with, where that is one that the family's drivers may refuse with."""
    import errno

    for name in wanted.accepted:
        text = os.strerror(getattr(errno, name))
        if any(said.endswith(f": {text}") for said in step.said) and not any(
            _REFUSED.search(said) for said in step.kernel
        ):
            return name
    return ""


def _unfinished(what: str, subject: str, read: _Console, *, in_time: bool, seconds: float) -> Check:
    """Of a step that the guest did not come to, or did not get out of."""
    step = read.steps[-1] if read.steps else _Step(what, subject, kernel=read.first)
    kind, _, time = step.what.partition("-")
    name = {"refuse": "refuses", "load": "loads", "live": "lives"}.get(kind, "unloads") + (
        _AGAIN.get(time, "") if kind != "refuse" else "")
    if step.is_broken:
        return Check(name, False, f"{step.subject}: {step.sentence}")
    how = "the machine ended meanwhile" if in_time else f"no end within {seconds:.0f} s"
    return Check(name, False, f"{step.subject}: {how}")


def _read(lines: Sequence[str]) -> _Console:
    read = _Console()
    for text in lines:
        found = _LINE.match(text)
        message = found[1] if found else text
        ours = _OURS.match(message) if found else None
        if ours is None:
            (read.steps[-1].kernel if read.steps and not read.ended else read.first).append(message)
            if found and _WARNING.match(message) and read.kernel and not read.ended:
                read.warnings.append(one_line(message))
        else:
            _take(read, ours[1], ours[2].strip())
    return read


def _take(read: _Console, word: str, rest: str) -> None:
    if word == "begin":
        what, _, subject = rest.partition(" ")
        read.steps.append(_Step(what, subject))
    elif word == "end":
        read.ended = True
    elif word in ("kernel", "enforced", "lockdown"):
        setattr(read, word, rest)
    elif word == "tainted" and rest.isdecimal():
        read.tainted = int(rest)
    elif read.steps:
        step = read.steps[-1]
        if word == "code" and rest.isdecimal():
            step.code = int(rest)
        elif word == "state":
            step.state = rest
        elif word == "text":
            step.said.append(rest)
