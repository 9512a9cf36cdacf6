"""GitHub on loopback: releases with assets, git, pull requests. PyGithub as shipped drives it.

``with github_fake() as one: github.Github(base_url=one.url, auth=..., retry=...)``

Every request and every answer is held to GitHub's own OpenAPI description; whatever differs is in `violations`: assert
that it is empty. `tests.harness.github_openapi` lists where GitHub is known to differ from its description.

**Hosts.** `url` is ``http://127.1:PORT``, which is 127.0.0.1 in a form that no library rewrites. PyGithub follows an
address in an answer only to the host and port of its base_url, or to a host that ends with it: on github.com those
are ``uploads.github.com`` and ``*.githubusercontent.com``. Hosts on loopback have no names that resolve everywhere,
but ``127.2.127.1`` and ``127.3.127.1`` end with ``.127.1``. So uploads go to `uploads`, bytes come from `elsewhere`
(which refuses credentials), each at an origin of its own as at GitHub, and PyGithub takes Authorization away on the
way to the latter. This needs all of 127.0.0.0/8 on loopback, as Linux has it. There is no ``/api/v3``. Where a proxy
is set, ``NO_PROXY=127.1,127.0.0.0/8`` keeps it out.

**State.** `releases`, `pulls`, `git` (a real bare repository with one commit on main) can be looked at and changed;
`seed_release`, `seed_asset`, `tamper`, `seed_pull`, `merge` do so. `token`, `crlf`, `hidden`, `read_only`,
`remaining`, `spoil` are switches. `requests`, `count`, `writes`, `headers`, `elsewhere_requests` say what was asked.

**Disturbances.** `faults` has (method, part of the path, fault), each used once; `after` and `always` are there for
later ones and for all. `tests.harness.github_exchange` has the faults.

What GitHub does not document was chosen so: a draft may have a published release's tag, and is refused when it is
published; `created_at` is the time of creation, not the commit's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.harness import github_git, github_pulls, github_releases
from tests.harness.front import send, serving
from tests.harness.github_exchange import Exchange
from tests.harness.github_openapi import description
from tests.harness.github_repository import Repository
from tests.harness.github_routes import ROUTES
from tests.harness.github_state import Asset, GitHub

__all__ = ["GitHub", "github_fake"]
_OPERATIONS = (github_releases, github_git, github_pulls)  # their import puts them in ROUTES


@contextmanager
def github_fake(repo: str = "acme/images") -> Iterator[GitHub]:
    """GitHub with one repository, which has one commit on main."""
    described = description(tuple(sorted(ROUTES)))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="github-")))
        one = GitHub(Repository(folder / "repository.git"), repo)
        stack.callback(one.git.close)
        one.git.seed("main", {"README.md": b"# Images\n"}, "Begin")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            uploads = False

            def _take(self) -> None:
                exchange = Exchange(one, described, self, uploads=self.uploads)
                with one.lock:
                    one.requests.append((self.command, self.path))
                    one.headers.append(dict(self.headers))
                    fault = one.next_fault(self.command, self.path)
                if fault is not None:
                    fault(exchange)
                else:
                    exchange.finish()

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _take

            def log_message(self, *_: object) -> None:
                return

        class Uploads(Handler):
            uploads = True

        class Elsewhere(Handler):
            def do_GET(self) -> None:
                _give(one, self)

        one.url = f"http://127.1:{stack.enter_context(serving(Handler))}"
        one.uploads = f"http://127.2.127.1:{stack.enter_context(serving(Uploads, '127.2.127.1'))}"
        one.elsewhere = f"http://127.3.127.1:{stack.enter_context(serving(Elsewhere, '127.3.127.1'))}"
        yield one


def _give(one: GitHub, handler: BaseHTTPRequestHandler) -> None:
    """Bytes of assets: a browser's address leads to the signed one, which allows one kind of credentials only."""
    path = urlsplit(handler.path).path
    parts = [unquote(part) for part in path.split("/")[1:]]
    with one.lock:
        one.elsewhere_requests.append((handler.path, dict(handler.headers)))
        held = [(release, asset) for release in one.releases for asset in release.assets if asset.state == "uploaded"]
        if parts[0] == "stored" and handler.path.endswith("?sig=canary-signature"):
            if handler.headers.get("Authorization"):
                send(handler, 400, b"<Error><Code>InvalidAuthenticationInfo</Code></Error>")
                return
            _bytes(handler, next((asset for _, asset in held if str(asset.id) == parts[1]), None))
            return
        wanted = path.partition(f"/{one.repo}/releases/download/")[2]
        for release, asset in held:
            if not release.draft and unquote(wanted) == f"{release.tag_name}/{asset.name}":
                send(handler, 302, b"", Location=github_releases.stored(one, asset))
                return
    send(handler, 404, b"Not Found")


def _bytes(handler: BaseHTTPRequestHandler, asset: Asset | None) -> None:
    if asset is None:
        send(handler, 404, b"Not Found")
        return
    asset.downloads += 1
    send(handler, 200, asset.content, Content_Type=asset.content_type)
