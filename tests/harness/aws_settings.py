"""Settings of AWS of a test's own, and a look at whether its secrets show."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from tests.harness.aws import ACCOUNT, TOKEN

PRIVATE, PUBLIC = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com", "public.ecr.aws"
KEY_ID = "AKIACANARYCANARY1234"  # pragma: allowlist secret
SECRET, SESSION_TOKEN = "canary-secret-key", "canary-session-token"
CANARIES = (KEY_ID, SECRET, SESSION_TOKEN, TOKEN)
KEYS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SESSION_TOKEN}
NOBODY = "http://127.0.0.1:1"  # nothing listens there


class Environment:
    """This process's settings of AWS: a home and variables of the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.patch, self.home = monkeypatch, home
        for name in list(os.environ):
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        self.set(HOME=str(home), AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1", **KEYS)

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self.patch.setenv(name, value)

    def without_keys(self) -> None:
        for name in KEYS:
            self.patch.delenv(name, raising=False)

    def file(self, name: str, text: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def no_secrets(*texts: object) -> None:
    for text in texts:
        shown = f"{text}{text!r}"
        if isinstance(text, BaseException):
            shown += "".join(traceback.format_exception(text))
        assert not any(canary in shown for canary in CANARIES)


def refused(reason: str, caught: pytest.ExceptionInfo[FoundryError]) -> FoundryError:
    assert caught.value.reason == reason
    assert caught.value.hint
    no_secrets(caught.value, caught.value.render(), vars(caught.value))
    return caught.value
