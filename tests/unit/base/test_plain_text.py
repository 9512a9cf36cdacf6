"""Other people's words where they are shown: nothing that a terminal acts on, no secret; at each sink."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

import pytest

from foundry.base import command_log, plain_text
from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.files import append_to, parse_json, pretty_json, read_json
from foundry.base.plain_text import hidden, keep_header_secret, keep_login_secret, keep_secret, line, plain
from foundry.base.process import run
from foundry.base.reasons import Reason
from foundry.run.failure import noted

# What terminals, log viewers and reviewers fall for: a colour, a title, a link (OSC 8), the same with C1, a cursor
# that goes back, marks of direction (Trojan Source), ends of lines that others see, invisible tags, half a character.
ATTACKS = [
    "\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\click\x1b]8;;\x1b\\", "\x9b31m", "\x9d8;;http://x\x9c",
    "good\rbad", "a\x08b", "\x7f", "\x00", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)),
    "\u200e", "\u200f", "\u061c", "\u2028", "\u2029", "\x85", "\U000e0041", os.fsdecode(b"\xff"),
]
SECRET = 'pa ss"wörd/+'


def is_plain(text: str) -> bool:
    return not plain_text.ACTED_ON.search(text)


@pytest.mark.parametrize("attack", ATTACKS)
def test_at_every_sink(attack: str, tmp_path: Path) -> None:
    text = f"file {attack}.c"
    error = FoundryError(text, reason=Reason.TIMEOUT, hint=text, replay=text)
    error.message += attack
    error.hint += attack
    assert is_plain(error.render() + str(error) + error.message)
    assert is_plain(str(ConfigError([Fault(text, text, text)])))
    append_to(tmp_path / "log")(text)
    assert is_plain((tmp_path / "log").read_text())
    with pytest.raises(FoundryError), noted(tmp_path):
        raise error
    assert is_plain((tmp_path / "failure.json").read_text())
    assert is_plain(line(text)) and "\n" not in line(f"{text}\n")


@pytest.mark.parametrize("attack", [one for one in ATTACKS if one.isprintable() or one.encode(errors="ignore")])
def test_json_for_people_escapes_it(attack: str, tmp_path: Path) -> None:
    """Nothing of the value is lost."""
    data = pretty_json({attack: [attack]})
    assert is_plain(data.decode())
    assert parse_json(data) == {attack: [attack]}


def test_half_a_pair_is_written_nowhere() -> None:
    with pytest.raises(UnicodeEncodeError):
        pretty_json("\udc80")


def test_words_stay_as_they_are() -> None:
    text = "größer → «ok» 日本語 \t🎉\nsecond line"
    assert plain(text) == text


def test_secrets_in_all_their_forms(tmp_path: Path) -> None:
    keep_login_secret("me", SECRET)
    keep_header_secret("Bearer " + "t" * 30)
    keep_header_secret("Basic " + base64.b64encode(b"you:other-one").decode())
    keep_secret("", "abc")  # too short to be told from words
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    said = f"{SECRET} {json.dumps(SECRET)} https://h/?p=pa%20ss%22w%C3%B6rd%2F%2B {pair} {'t' * 30} other-one abc"
    assert hidden(said) == '*** "***" https://h/?p=*** *** *** *** abc'
    error = FoundryError(said, reason=Reason.TIMEOUT, hint=said, replay=said)
    append_to(tmp_path / "log")(said)
    with pytest.raises(FoundryError), noted(tmp_path):
        raise error
    kept = (tmp_path / "log").read_text() + str(read_json(tmp_path / "failure.json"))
    everywhere = error.render() + repr(error) + kept
    assert "rd/+" not in everywhere and pair not in everywhere and "ttt" not in everywhere


def test_secrets_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "_MOST", 3)
    keep_secret("first", "second", "third", "fourth")
    assert hidden("first second third fourth") == "first *** *** ***"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_commands_log_has_no_secret(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a piece of what it prints ends."""
    keep_secret("hunter2-hunter2")
    monkeypatch.setattr(command_log, "_CHUNK", size)
    log = io.BytesIO()
    command_log.copy(io.BufferedReader(io.BytesIO(b"a hunter2-hunter2 b\nhunter2-hunter\nhunter2-hunter2")), log)
    assert log.getvalue() == b"a *** b\nhunter2-hunter\n***"


def test_a_commands_line_and_failure_have_no_secret(tmp_path: Path) -> None:
    keep_secret("hunter2-hunter2")
    with pytest.raises(FoundryError) as caught:
        run(["sh", "-c", "echo hunter2-hunter2 \x1b]0; >&2; exit 3"], log=tmp_path / "log")
    said = caught.value.render() + (tmp_path / "log").read_text()
    assert "hunter2" not in said and is_plain(said) and "***" in said
