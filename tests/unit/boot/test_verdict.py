"""Consoles of guests, as they could be: cut off anywhere, in another order, full of what a driver says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.reasons import Reason
from foundry.boot.verdict import Verdict, Wanted, judge

KERNEL = "5.14.0-570.12.1.el9_6.x86_64"
WANTED = Wanted(KERNEL, ("top",), ("top",), refused=("unsigned.ko",), enforced=True)
STEPS = [
    "kernel " + KERNEL, "enforced Y", "begin refuse unsigned.ko", "code 1",
    "text insmod: ERROR: could not insert module: Key was rejected by service",
    *(line for time in ("first", "again") for line in (
        f"begin load-{time} top", "code 0", "text insmod /opt/top.ko", f"begin live-{time} top", "state live",
        f"begin unload-{time} top", "code 0", f"begin gone-{time} top", "state gone")),
    "tainted 12288", "end",
]


def console(lines: list[str], head: str = "[    1.234567] ") -> str:
    return "".join(f"{head}kmod-foundry: {line}\n" for line in lines)


def verdict(text: str, wanted: Wanted = WANTED, *, in_time: bool = True) -> Verdict:
    return judge(text, wanted, in_time=in_time, seconds=60)


@pytest.mark.parametrize("head", ["[    1.234567] ", "<6>[    1.234567] ", "[    1.234567][    T1] "])
def test_proven(head: str) -> None:
    found = verdict(console(STEPS, head))
    assert not found.fault and found.tainted == 12288
    assert [check.name for check in found.checks] == [
        "kernel", "signatures-enforced", "refuses", "loads", "lives", "unloads", "loads-again", "lives-again",
        "unloads-again"]


@pytest.mark.parametrize("count", range(len(STEPS) - 2))
def test_a_console_that_ends_early_proves_nothing(count: int) -> None:
    for in_time in (True, False):
        found = verdict(console(STEPS[:count]), in_time=in_time)
        assert found.fault and found.reason
        assert (found.reason == Reason.KERNEL_DOES_NOT_BOOT) == (count < 2), found


@pytest.mark.parametrize("count", [count for count, step in enumerate(STEPS) if step.startswith(("code", "state"))])
def test_each_answer_counts(count: int) -> None:
    """Another exit code or state is a fault, but for modprobe -r: what counts there is that the module is gone."""
    step = STEPS[count]
    other = {"code 0": "code 1", "code 1": "code 0", "state live": "state missing", "state gone": "state live"}[step]
    found = verdict(console([*STEPS[:count], other, *STEPS[count + 1:]]))
    assert found.fault and not all(check.ok for check in found.checks)


@pytest.mark.parametrize(("said", "words"), [
    ("top: Unknown symbol ib_register_client (err -2)", "Unknown symbol ib_register_client"),
    ("top: disagrees about version of symbol module_layout", "disagrees about version of symbol module_layout"),
    ("top: version magic '5.14.0-427 SMP' should be '5.14.0-570 SMP'", "should be '5.14.0-570 SMP'"),
    ("Loading of module with unavailable key is rejected", "Loading of module with unavailable key is rejected"),
])
def test_the_kernels_own_sentence(said: str, words: str) -> None:
    where = STEPS.index("begin load-first top")
    lines = console(STEPS[:where + 1]) + f"[    2.000000] {said}\n" + console(
        ["code 1", "text modprobe: ERROR: could not insert 'top': Invalid argument", *STEPS[where + 2:]])
    found = verdict(lines)
    assert found.reason == Reason.DOES_NOT_LOAD and found.fault.startswith("does not load: top: ")
    assert words in found.fault


@pytest.mark.parametrize("broken", [
    "BUG: unable to handle page fault for address: 0000", "kernel BUG at top.c:7!", "Oops: 0000 [#1]",
    "general protection fault, probably for non-canonical address", "Unable to handle kernel paging request",
    "Kernel panic - not syncing: Fatal exception", "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
])
def test_what_breaks_the_kernel(broken: str) -> None:
    for step, reason in (("load-first", Reason.DOES_NOT_LOAD), ("unload-again", Reason.DOES_NOT_UNLOAD)):
        where = STEPS.index(f"begin {step} top")
        text = console(STEPS[:where + 1]) + f"[    2.000000] {broken}\n"
        for rest in ("", console(STEPS[where + 1:])):  # the guest may go on all the same
            found = verdict(text + rest)
            assert found.reason == reason and broken[:40] in found.fault


def test_it_is_the_kernels_fault() -> None:
    panic = "[    0.5] Kernel panic - not syncing: No working init found.\n[    0.6] Kernel Offset: 0x0\n"
    found = verdict(panic)
    assert found.reason == Reason.KERNEL_DOES_NOT_BOOT
    assert "No working init found" in found.fault
    assert verdict("").fault.endswith("the last that it said: nothing")
    assert verdict(console(["kernel 6.1.0"])).reason == Reason.KERNEL_DOES_NOT_BOOT


def test_who_insists_on_nothing_proves_nothing() -> None:
    lines = ["enforced N" if line == "enforced Y" else line for line in STEPS]
    assert verdict(console(lines)).fault == "the kernel does not insist on signatures: sig_enforce: N"
    loaded = ["code 0" if line == "code 1" else line for line in STEPS]
    assert verdict(console(loaded)).fault == "the kernel loads what it must not: unsigned.ko: it was loaded"
    other = [line.replace("Key was rejected by service", "Invalid argument") for line in STEPS]
    assert verdict(console(other)).reason == Reason.SIGNATURES_NOT_ENFORCED, "refused for another reason"


@given(st.lists(st.one_of(
    st.sampled_from(console(STEPS).splitlines()), st.text(max_size=60),
    st.builds("[    1.0] kmod-foundry: {} {}".format, st.sampled_from(
        ["begin", "code", "state", "text", "end", "kernel", "tainted", "begin load-first", "begin x-y-z"]),
        st.text(max_size=10)),
), max_size=60))
def test_any_console(lines: list[str]) -> None:
    """A verdict in any case; proven only where each step has its answer."""
    found = verdict("\n".join(lines))
    assert bool(found.fault) == (found.reason is not None)
    if not found.fault:
        assert all(check.ok for check in found.checks) and len(found.checks) == 9
    assert "\n" not in found.fault and "\x1b" not in found.fault
