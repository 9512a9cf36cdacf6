"""The sandbox's web server: static files, a release graph and a list of tags, on loopback.

Started as ``python -m foundry.sandbox.web``. One line a request goes to
the log: time, method, path, protocol, status, bytes of the body.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

from foundry.base.times import utc

GRAPH_PATH = "/api/upgrades_info/graph"
TAGS_PATH = "/api/v1/repository/openshift-release-dev/ocp-release/tag/"
_TAG_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}
_LARGEST_PAGE = 100
_PRIVATE = "keys"  # the signing key of the RPM repository lives beside it
_CHANNEL = re.compile(r"(?:stable|fast|candidate|eus)-(\d+)\.(\d+)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def graph(releases: Sequence[dict[str, Any]], query: str) -> tuple[HTTPStatus, dict[str, Any]]:
    """The answer of the release graph: a channel holds its minor and the older ones.

    `releases` are ``{version, arch, payload}``; shapes as api.openshift.com has them.
    """
    wanted = parse_qs(query)
    channel = wanted.get("channel", [""])[0]
    arch = wanted.get("arch", ["amd64"])[0]
    if not channel:
        return HTTPStatus.BAD_REQUEST, {
            "kind": "missing_params", "value": "mandatory client parameters missing: channel"}
    match = _CHANNEL.fullmatch(channel)
    bound = tuple(int(part) for part in match.groups()) if match else (0, 0)
    if bound not in {_numbers(release["version"])[:2] for release in releases}:
        return HTTPStatus.BAD_REQUEST, {"kind": "invalid_params", "value": f"invalid client parameters: {channel}"}
    found = sorted(
        (one for one in releases if _numbers(one["version"])[:2] <= bound and one["arch"] == arch),
        key=lambda one: _numbers(one["version"]),
    )
    nodes = [
        {"version": one["version"], "payload": one["payload"],
         "metadata": {"io.openshift.upgrades.graph.release.channels": channel}}
        for one in found
    ]
    edges = [[number, number + 1] for number in range(len(nodes) - 1)]
    names = [str(node["version"]) for node in nodes]
    skipping = [{"from": first, "to": last} for first, last in zip(names, names[2:], strict=False)
                if _numbers(last)[1] - _numbers(first)[1] <= 1]
    risks = [{"url": "https://example.com/risk", "name": "SkipsARelease", "matchingRules": [{"type": "Always"}],
              "message": "This made-up risk is of upgrades that skip a release."}]
    return HTTPStatus.OK, {"version": 1, "nodes": nodes, "edges": edges,
                           "conditionalEdges": [{"edges": skipping, "risks": risks}] if skipping else []}


def tags(releases: Sequence[dict[str, Any]], query: str) -> tuple[HTTPStatus, dict[str, Any]]:
    """The answer of Quay's list of tags, in the shape of its API: page by page, names that begin as asked for."""
    wanted = parse_qs(query)
    begin = wanted.get("filter_tag_name", ["like:"])[0].partition(":")[2]
    size, page = (int(wanted.get(name, ["1"])[0]) for name in ("limit", "page"))
    names = {f"{one['version']}-{_TAG_ARCH[one['arch']]}": one["payload"] for one in releases}
    found = [
        {"name": name, "manifest_digest": names[name].partition("@")[2], "is_manifest_list": False}
        for name in sorted(names, key=_numbers, reverse=True) if name.startswith(begin)
    ]
    size = min(max(size, 1), _LARGEST_PAGE)
    end = page * size
    return HTTPStatus.OK, {"tags": found[end - size:end], "page": page, "has_additional": len(found) > end}


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte that a Range header asks for; None when it can't be had. RFC 9110, 14.2."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        begin, end = max(0, size - int(last)), size - 1
    else:
        begin, end = int(first), min(int(last), size - 1) if last else size - 1
    return (begin, end) if begin <= end else None


_LISTS = {GRAPH_PATH: graph, TAGS_PATH: tags}


def _entity_tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, root: Path, releases: Path, log: IO[str]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.root = root.resolve()
        self.releases = releases
        self.log = log
        self.log_lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "sandbox"
    sys_version = ""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path in _LISTS:
            self._list(parts.path, parts.query)
        else:
            self._file(unquote(parts.path))

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are logged by `_send`; nothing else is."""

    def _list(self, path: str, query: str) -> None:
        try:
            releases = json.loads(self.server.releases.read_bytes())
        except FileNotFoundError:
            releases = []
        status, answer = _LISTS[path](releases, query)
        body = json.dumps(answer).encode()
        headers = {"Content-Type": "application/json", "ETag": _entity_tag(body)}
        if status is HTTPStatus.OK and headers["ETag"] in self.headers.get("If-None-Match", ""):
            self._send(HTTPStatus.NOT_MODIFIED, headers, b"")
        else:
            self._send(status, headers, body)

    def _file(self, path: str) -> None:
        root = self.server.root
        file = Path(os.path.normpath(f"{root}/{path}"))
        try:
            real = file.resolve()
            if not real.is_relative_to(root) or real.is_relative_to(root / _PRIVATE):
                raise FileNotFoundError
            with file.open("rb") as stream:
                content = stream.read()
                changed = os.fstat(stream.fileno()).st_mtime
        except (OSError, ValueError):
            self._send(HTTPStatus.NOT_FOUND, {"Content-Type": "text/plain"}, b"not found\n")
            return
        tag = _entity_tag(content)
        headers = {
            "Content-Type": "application/octet-stream", "ETag": tag, "Accept-Ranges": "bytes",
            "Last-Modified": formatdate(changed, usegmt=True),
        }
        if tag in self.headers.get("If-None-Match", "") or self.headers.get("If-None-Match") == "*":
            self._send(HTTPStatus.NOT_MODIFIED, headers, b"")
            return
        asked = self.headers.get("Range")
        if asked is None or self.headers.get("If-Range", tag) != tag:
            self._send(HTTPStatus.OK, headers, content)
            return
        span = byte_range(asked, len(content))
        if span is None:
            self._send(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{len(content)}"}, b"")
            return
        begin, end = span
        headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
        self._send(HTTPStatus.PARTIAL_CONTENT, headers, content[begin:end + 1])

    def _send(self, status: HTTPStatus, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = 0
        if self.command != "HEAD":
            self.wfile.write(body)
            sent = len(body)
        now = utc(time.time())
        with self.server.log_lock:
            self.server.log.write(f"{now} {self.command} {self.path} {self.request_version} {int(status)} {sent}\n")
            self.server.log.flush()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until ended by a signal."""
    parser = argparse.ArgumentParser(prog="sandbox-web", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the folder to serve")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True, help="the access log")
    parser.add_argument("--releases", type=Path, required=True, help="JSON list of the graph's releases")
    wanted = parser.parse_args(argv)
    with wanted.log.open("a", encoding="utf-8") as log:
        _Server(wanted.port, wanted.root, wanted.releases, log).serve_forever()


if __name__ == "__main__":
    main()
