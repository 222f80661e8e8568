"""A small server that speaks the part of the Hugging Face hub's protocol that a download uses, and has faults.

`/datasets/<repo>/resolve/<revision>/<path>` answers with a redirect to the file store and the hub's headers:
commit, size and SHA-256 of the linked file. The file store serves byte ranges.
"""

import hashlib
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class HubServer:
    """The hub of one dataset repository; use as a context manager.

    Attributes:
        repo: the repository, "owner/dataset".
        files: content by path.
        commit: the commit that every revision resolves to.
        served: the content that the file store sends if it differs from that in `files`.
        cuts: after how many bytes to break the connection, one entry for each following request of a file.
        honour_ranges: whether a request for a byte range gets only that range.
        ranges: the Range header of every file request; None for a request without one.
        asked: method and revision of every request to the hub itself.
        stall_after: send this many bytes of a file, then nothing until it is None again.
    """

    repo: str
    files: dict[str, bytes]
    commit: str = COMMIT
    served: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    honour_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    stall_after: int | None = None

    def __enter__(self) -> "HubServer":
        hub = self

        class Handler(_Handler):
            server_state = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def store_url(self) -> str:
        """Another host name, as the real store has: the client follows redirects within the hub by itself."""
        return f"http://localhost:{self.server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server_state: HubServer

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self.route()

    def do_GET(self) -> None:
        self.route()

    def route(self) -> None:
        hub = self.server_state
        if found := re.fullmatch(r"/store/(.+)", self.path):
            self.send_content(unquote(found[1]))
        elif found := re.fullmatch(rf"/datasets/{hub.repo}/resolve/([^/]+)/(.+)", self.path):
            self.send_redirect(unquote(found[1]), unquote(found[2]))
        else:
            self.send_error_code("RepoNotFound")

    def send_redirect(self, revision: str, path: str) -> None:
        hub = self.server_state
        hub.asked.append(f"{self.command} {revision}")
        if revision not in ("main", hub.commit):
            self.send_error_code("RevisionNotFound")
        elif path not in hub.files:
            self.send_error_code("EntryNotFound")
        else:
            self.send_response(302)
            self.send_header("Location", f"{hub.store_url}/store/{path}")
            self.send_header("X-Repo-Commit", hub.commit)
            self.send_header("X-Linked-Size", str(len(hub.files[path])))
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(hub.files[path]).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send_error_code(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_content(self, path: str) -> None:
        hub = self.server_state
        content = hub.served.get(path, hub.files[path])
        requested = self.headers.get("Range")
        hub.ranges.append(requested)
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested and hub.honour_ranges else 0
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if hub.cuts:
            self.wfile.write(body[: hub.cuts.pop(0)])
            self.close_connection = True
            return
        if hub.stall_after is not None:
            self.wfile.write(body[: hub.stall_after])
            body = body[hub.stall_after :]
        while hub.stall_after is not None:
            time.sleep(0.02)
        with suppress(ConnectionError):
            self.wfile.write(body)
