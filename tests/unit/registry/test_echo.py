"""A server that says back what it was sent, in its status, its headers and its words: none of it is shown."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.base.files import append_to
from foundry.base.plain_text import ACTED_ON
from foundry.net import http
from foundry.net.transport import RetryPolicy
from foundry.registry.client import Registry
from foundry.registry.credentials import Credentials
from foundry.registry.tags import list_tags
from foundry.run.failure import noted
from tests.harness.front import send, serving
from tests.harness.secrets import PASSWORD, USER, no_secrets


class Echo(BaseHTTPRequestHandler):
    """Asks for a password, or for a token that it issues; then refuses, and says what it got."""

    protocol_version = "HTTP/1.1"
    token = ""
    status = 403

    def do_GET(self) -> None:
        got = self.headers.get("Authorization", "")
        if self.token and self.path.startswith("/token"):
            send(self, 200, json.dumps({"token": self.token}).encode())
        elif not got:
            realm = f"http://{self.headers['Host']}/token" if self.token else "r"
            send(self, 401, b"", WWW_Authenticate=f'{"Bearer" if self.token else "Basic"} realm="{realm}"')
        else:
            words = base64.b64decode(got.split()[1]).decode() if got.startswith("Basic") else got
            said = f"\x1b]0;{got}\x07 \u202e{words}"
            fault = json.dumps({"errors": [{"code": "DENIED", "message": said}]}).encode()
            self.send_response_only(self.status, f"\x1b[31m {got}")
            for name in ("WWW-Authenticate", "Warning", "Location"):
                self.send_header(name, got)
            self.send_header("Content-Length", str(len(fault)))
            self.end_headers()
            self.wfile.write(fault)

    do_HEAD = do_PUT = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.parametrize("token", ["", "a-token-of-the-canary"])
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 418, 429, 500])
def test_a_registry(token: str, status: int, tmp_path: Path) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"registry.test": {"auth": auth}}}))
    log = tmp_path / "registry.log"
    with serving(type("One", (Echo,), {"token": token, "status": status})) as port:
        one = Registry("registry.test", Credentials({"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}),
                       address=f"127.0.0.1:{port}", note=append_to(log),
                       policy=RetryPolicy(connect=5, read=5, total=5, retries=1, first=0.01))
        for ask in (lambda: one.manifest("r", "t"), lambda: list_tags(one, "r"),
                    lambda: one.blob("r", f"sha256:{'0' * 64}", 100)):
            if status == 404 and ask.__code__.co_names[0] == "list_tags":
                continue
            with pytest.raises(FoundryError) as caught, noted(tmp_path):
                ask()
            error = caught.value
            shown = [error.render(), repr(error), str(error), (tmp_path / "failure.json").read_text(),
                     log.read_text(), str(error.__cause__)]
            no_secrets(*shown)
            assert "of-the-canary" not in "".join(shown)
            assert not any(ACTED_ON.search(text) for text in shown)


def test_a_download_with_a_password_in_its_url(tmp_path: Path) -> None:
    with serving(Echo) as port, pytest.raises(FoundryError) as caught:
        http.get(f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/x", max_bytes=100, log=tmp_path / "log")
    no_secrets(caught.value.render(), (tmp_path / "log").read_text())
    assert not ACTED_ON.search(caught.value.render())
