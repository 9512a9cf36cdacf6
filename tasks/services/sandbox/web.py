"""A static web server on loopback, with an access log: the sandbox's YUM repository and release graph.

Started as ``python -m tasks.services.sandbox.web``; lives until it is stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

GRAPH_PATH = "/api/upgrades_info/graph"
GRAPH_FILE = "graph.json"


class Handler(SimpleHTTPRequestHandler):
    """Files below the root, and the release graph in the shape of the real one."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, log: Path, directory: str) -> None:
        self.log = log
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]  # reason: what the server hands over

    def do_GET(self) -> None:
        """A file, or the graph of a channel."""
        parts = urlsplit(self.path)
        if parts.path == GRAPH_PATH:
            self._graph(parse_qs(parts.query))
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """One line a request: time, method, path, status."""
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {format % args}\n"
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(line)

    def _graph(self, query: dict[str, list[str]]) -> None:
        """Shape: https://github.com/openshift/cincinnati, ``{version, nodes, edges, conditionalEdges}``."""
        channel = query.get("channel", [""])[0]
        if not channel:
            self._json(400, {"kind": "missing_params", "value": "mandatory client parameters missing: channel"})
            return
        path = Path(str(self.directory)) / GRAPH_FILE
        nodes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        minor = channel.rpartition("-")[2]
        shown = [node for node in nodes if _minor(node["version"]) <= _minor(minor)]
        self._json(200, {"version": 1, "nodes": shown, "edges": [], "conditionalEdges": []})

    def _json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    handler = partial(Handler, log=options.log, directory=str(options.root))
    ThreadingHTTPServer(("127.0.0.1", options.port), handler).serve_forever()


if __name__ == "__main__":
    main()
