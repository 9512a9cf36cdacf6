"""What git gets of credentials, and what of them is ever shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from foundry.archive import remote
from foundry.archive.git import created
from foundry.archive.remote import Remote
from foundry.base.errors import OutsideError
from foundry.base.plain_text import hidden

TOKEN = "ghp_" + "x" * 36


def test_a_token_goes_to_its_remote_alone() -> None:
    """As a header for this URL, beside what the caller gave git in the same way; never in an argument."""
    url = "https://github.com/o/r.git"
    words = remote._credentials(url, {"KMOD_ARCHIVE_TOKEN": TOKEN, "GIT_CONFIG_COUNT": "2"})
    assert words["GIT_CONFIG_COUNT"] == "3"
    assert words["GIT_CONFIG_KEY_2"] == f"http.{url}.extraHeader"
    basic = words["GIT_CONFIG_VALUE_2"].removeprefix("Authorization: Basic ")
    assert base64.b64decode(basic).decode() == f"x-access-token:{TOKEN}"
    assert hidden(f"{TOKEN} {basic}") == "*** ***"
    for other in ("http://github.com/o/r.git", "git@github.com:o/r.git", "/srv/r.git"):
        assert remote._credentials(other, {"KMOD_ARCHIVE_TOKEN": TOKEN}) == {}
    assert remote._credentials(url, {}) == {}


def test_nothing_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a URL with a password, and of the token, neither in the sentence nor in the log."""
    monkeypatch.setattr(remote, "_WAITS", ())
    monkeypatch.setenv("KMOD_ARCHIVE_TOKEN", TOKEN)
    log = tmp_path / "log"
    place = Remote(created(tmp_path / "r.git", "main"), "https://me:hunter2@127.0.0.1:9/r.git", log)
    with pytest.raises(OutsideError) as caught:
        place.refs()
    assert caught.value.reason == "archive-remote"
    said = caught.value.render() + log.read_text(encoding="utf-8")
    assert "127.0.0.1:9" in said
    assert "hunter2" not in said and TOKEN not in said
