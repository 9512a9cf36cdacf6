"""What GitHub Actions shows: escaped as its runner reads it, and no word of a compiler is a command."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from foundry.base.errors import ConfigError, Fault, FoundryError, OutsideError
from foundry.base.plain_text import plain
from foundry.base.reasons import Reason
from foundry.fleet.collect import Taken
from foundry.net.traffic import Traffic
from foundry.run.journal import BLOCKED, DONE, FAILED, INTERRUPTED, Entry
from foundry.run.totals import Totals
from tasks.commands import workflow
from tests.harness.runner import commands_in

EVIL = [
    "::error::x", "  \t::set-output name=a::b", "first\n::add-mask::x", "first\r::stop-commands::x", "\u2003::debug::x",
    "##[add-mask]x", "text ##[error]x", "##[##[error]x", "\x0b::group::x", "\x85::warning::x", "a\n\n \n ::error::b",
]


@contextmanager
def guarded() -> Iterator[None]:
    """The streams that pytest captures are guarded, as those of a command are."""
    streams = sys.stdout, sys.stderr
    workflow.guard()
    yield
    sys.stdout, sys.stderr = streams


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """GitHub Actions, and the job's summary."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    (tmp_path / "summary").write_text("of another step\n")
    return tmp_path / "summary"


@pytest.mark.parametrize("text", EVIL)
def test_no_line_is_a_command(text: str) -> None:
    for written in (text, f"    {text}", f"FAILED x: {text}"):
        assert commands_in(written) or written != text
        assert commands_in(workflow.harmless(written)) == []


@given(st.text(st.sampled_from(":#[] a\n\r\t\u2003\x0b%")))
def test_no_text_is_a_command(text: str) -> None:
    assert commands_in(workflow.harmless(text)) == []


@given(st.text(), st.text())
def test_a_command_is_read_as_it_was_meant(title: str, message: str) -> None:
    line = workflow.command("error", title, message)
    assert "\n" not in line and "\r" not in line
    [(name, properties, data)] = commands_in(line)
    assert (name, properties, data.strip()) == ("error", {"title": plain(title)}, plain(message).strip())


def test_escapes_as_documented() -> None:
    assert workflow.command("warning", "a:b,c%", "100% of\na: b, c") == (
        "::warning title=a%3Ab%2Cc%25::100%25 of%0Aa: b, c")


def test_guarded_streams(actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with guarded(), guarded():
        print("::error::from a compiler \x1b]8;;http://x\x1b\\")
        print("ok\n::error::on another line", file=sys.stderr)
        sys.stdout.writelines(["::debug::x\n"])
        assert sys.stdout.encoding, "all else is the stream's own"
        shown = capsys.readouterr()
        print("::error::ours", file=workflow.unguarded(sys.stdout))
    assert commands_in(shown.out + shown.err) == []
    assert "\x1b" not in shown.out
    assert "from a compiler" in shown.out and "on another line" in shown.err
    assert capsys.readouterr().out == "::error::ours\n"


def test_elsewhere_nothing_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                   tmp_path: Path) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    with guarded():
        print("::x:: \x9b31m \u202e")
    workflow.tell(some_entries(), 3, ["careful"])
    workflow.tell_fault(FoundryError("x", reason=Reason.TIMEOUT))
    assert capsys.readouterr().out == "::x:: ?31m ?\n"
    assert not (tmp_path / "summary").exists()


def some_entries() -> list[Entry]:
    bad = FoundryError(
        "cdev.c:1: error: a | b ::error::x\n##[error]y", reason=Reason.COMPILE_FAILED, hint="look", log=Path("l.log"))
    pulled, pushed = Traffic(received=2_500, pulled=1_500_000_000), Traffic(received=900, sent=7_340_000)
    return [
        Entry("module:2.22.2.0-6.1.0-1", DONE, seconds=3.25, traffic=pulled),
        Entry("image:2.22.2.0-6.1.0-1", DONE, seconds=1.0),
        Entry("push:2.22.2.0-6.1.0-1", DONE, seconds=0.5, traffic=pushed),
        Entry("module:2.22.2.0-6.12.0-2", FAILED, seconds=2.0, error=bad, traffic=Traffic(unknown=1)),
        Entry("image:2.22.2.0-6.12.0-2", BLOCKED, note="module:2.22.2.0-6.12.0-2"),
        Entry("module:2.22.2.0-6.13.0-3", INTERRUPTED), Entry("github:2.22.2.0", DONE, seconds=7.0),
        Entry("sandbox:up", DONE),
    ]


def test_what_a_run_tells(actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with guarded():
        workflow.tell(some_entries(), 3, ["careful: 100%", "careful: 100%"],
                      Traffic(received=1_234_567, sent=7_340_999, pulled=1_500_000_000, unknown=1))
    [error, warning] = commands_in(capsys.readouterr().out)
    assert error[:2] == ("error", {"title": "module:2.22.2.0-6.12.0-2"})
    assert error[2].startswith("cdev.c:1: error: a | b ::error::x\n##[error]y\n  hint: look\n  log: l.log")
    assert warning == ("warning", {"title": "kmod-foundry"}, "careful: 100%")
    text = actions.read_text()
    assert text.startswith("of another step\n### kmod-foundry\n")
    assert "1 failed, 1 interrupted, 2 done" in text and "(3 tasks were up to date and skipped)" in text
    assert ("Over the network: 1.2 MB received, 1.5 GB of images pulled, 7.3 MB sent"
            " (and images whose size nobody says: 1)." in text)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `2.22.2.0-6.12.0-2` | failed |  | 2.0 | ≥ 0 B | 0 B | `cdev.c:1: error: a ¦ b ::error::x ##[error]y` |",
        "| `2.22.2.0-6.13.0-3` | interrupted |  | 0.0 | 0 B | 0 B |  |",
        "| `2.22.2.0-6.1.0-1` | done | compiled, built, published | 4.8 | 1.5 GB | 7.3 MB |  |",
        "| `2.22.2.0` | done | released | 7.0 | 0 B | 0 B |  |",
    ]


@given(st.text())
def test_a_summary_is_a_table_whatever_failed(message: str) -> None:
    entries = [Entry("module:x", FAILED, error=FoundryError(message, reason=Reason.TIMEOUT))]
    made = [token.type for token in MarkdownIt("commonmark").enable("table").parse(workflow.summary(entries, 0, []))]
    plain_one = [Entry("module:x", FAILED, error=FoundryError("plain", reason=Reason.TIMEOUT))]
    assert made == [token.type for token in MarkdownIt("commonmark").enable("table").parse(
        workflow.summary(plain_one, 0, []))]


def test_no_more_annotations_than_github_shows(actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = FoundryError("x", reason=Reason.TIMEOUT)
    entries = [Entry(f"module:{number}", FAILED, error=error) for number in range(40)]
    workflow.tell(entries, 0, [])
    found = commands_in(capsys.readouterr().out)
    assert len(found) == 10
    assert found[-1][2] == "and 31 more: see the summary"
    assert len([line for line in actions.read_text().splitlines() if line.startswith("| `")]) == 40


def test_what_ends_a_run_before_its_tasks(actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflow.tell_fault(ConfigError([Fault("build-matrix.json", "$[0]", "::error::is wrong")], hint="mend it"))
    [(name, properties, data)] = commands_in(capsys.readouterr().out)
    assert (name, properties) == ("error", {"title": "kmod-foundry"})
    assert "build-matrix.json: $[0]: ::error::is wrong" in data and "hint: mend it" in data
    assert "build-matrix.json" in actions.read_text()


def test_a_summary_that_can_not_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "summary"))
    workflow.tell(some_entries(), 0, [])
    assert "warning: the job's summary can't be written" in capsys.readouterr().err
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    workflow.tell_fault(OutsideError("x", reason=Reason.TIMEOUT))


def test_a_run_with_nothing_to_do(actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflow.tell([], 5, [])
    assert "nothing to do" in actions.read_text()
    assert capsys.readouterr().out == ""
    assert isinstance(sys.stdout, io.TextIOBase)


def test_what_shards_left_is_told(actions: Path) -> None:
    """Sums are of the shards that said what they took; a name from elsewhere is no markup."""
    took = Totals(63.25, Traffic(received=1000, sent=2000, pulled=3_000_000))
    taken = [Taken(Path("x/shard-1"), rows=["a", "b"], totals=took), Taken(Path("x/|shard-2"), failures=["c"]),
             Taken(Path("x/shard-3"), others=["d"], refused=["no"], totals=Totals(1, Traffic(pulled=10, unknown=2)))]
    workflow.tell_collected(taken, ["gone: no shard left anything here"])
    rows = [line for line in actions.read_text().splitlines() if line.startswith(("| `", "Over", "- "))]
    assert rows == [
        "| `shard-1` | 2 | 0 | 0 | 0 | 63.2 | 1.0 kB | 3.0 MB | 2.0 kB |",
        "| `¦shard-2` | 0 | 1 | 0 | 0 | ? | ? | ? | ? |",
        "| `shard-3` | 0 | 0 | 1 | 1 | 1.0 | 0 B | ≥ 10 B | 0 B |",
        "Over the network, 2 of 3 shards: 1.0 kB received, 3.0 MB of images pulled, 2.0 kB sent"
        " (and images whose size nobody says: 2).",
        "- `gone: no shard left anything here`",
    ]
