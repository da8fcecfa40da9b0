"""A small Hub: the part of its protocol that fetching a model or an SAE needs, with faults on demand.

Answers model information with file metadata, and `resolve` with commit, hash and size. Files above `LARGE` bytes are
large: they are sent on to another address, as the Hub sends them to its store, where ranges are served; or, with
`xet`, they are named by the hash under which the Xet store has them, which this server is as well.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from xet import reconstruction, xet_hash, xorb

LARGE = 2_000
BLOCK = 1 << 14
TOKEN = "hf_let_me_in"


@dataclass
class Repo:
    """Files by path; `gated`: only `TOKEN` may read them. `earlier` commits can still be had."""

    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    earlier: list[Repo] = field(default_factory=list)

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for path, content in sorted(self.files.items()):
            digest.update(path.encode() + b"\0" + content)
        return digest.hexdigest()

    def move_to(self, files: dict[str, bytes]) -> None:
        """A new commit."""
        self.earlier.append(Repo(self.files, self.gated))
        self.files = files


class Hub(ThreadingHTTPServer):
    """`repos` by name. `requests` is what was asked for. Faults:

    cut: path → how many bytes of it are sent before the connection is closed, and how many times.
    broken: statuses that the next requests get instead of an answer.
    huge: path → the size that is claimed for it.
    damaged: path → what is sent instead of it, with the hash that the file itself has.
    pace: seconds before each `BLOCK` bytes of a file.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.sent: Counter[str] = Counter()
        self.cut: dict[str, list[int]] = {}
        self.broken: list[int] = []
        self.huge: dict[str, int] = {}
        self.no_ranges = False
        self.damaged: dict[str, bytes] = {}
        self.xet, self.pace = False, 0.0
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], *, gated: bool = False) -> Repo:
        self.repos[name] = Repo(files, gated)
        return self.repos[name]

    def named(self, xet: str) -> tuple[str, bytes]:
        """Path and content of the file that is `xet` in the Xet store."""
        every = [file for repo in self.repos.values() for file in repo.files.items()]
        return next((path, content) for path, content in every if xet_hash(content) == xet)

    def heal(self) -> None:
        """No more faults, and nothing remembered."""
        self.cut, self.broken, self.huge, self.no_ranges = {}, [], {}, False
        self.damaged, self.xet, self.pace = {}, False, 0.0
        self.requests.clear()
        self.sent.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no news."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server
        hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
        if hub.broken:
            self._send(hub.broken.pop(0), b"out of order")
            return
        if re.fullmatch(r"/api/models/([^/]+/[^/]+)/xet-read-token/.+", self.path):
            store = {"X-Xet-Cas-Url": hub.url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(1 << 40)}
            self._send(200, b"{}", store)
        elif match := re.fullmatch(r"/api/models/(.+?)(?:/revision/([^?]+))?(?:\?.*)?", self.path):
            self._info(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            self._resolve(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/v1/reconstructions/(\w+)", self.path):
            self._reconstruction(match[1])
        elif match := re.fullmatch(r"/xorb/(\w+)", self.path):
            path, content = hub.named(match[1])
            self._content(xorb(hub.damaged.get(path, content)), path)
        elif match := re.fullmatch(r"/store/([^/]+/[^/]+)/(.+)", self.path):
            self._content(hub.damaged.get(match[2], hub.repos[match[1]].files[match[2]]), match[2])
        else:
            self._send(404, b"what?")

    def _info(self, name: str, revision: str) -> None:
        repo = self._repo(name, revision)
        if repo is None:
            return
        siblings = []
        for path, content in repo.files.items():
            entry: dict[str, Any] = {"rfilename": path, "size": self._size(path, content), "blobId": git_hash(content)}
            if len(content) > LARGE:
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": entry["size"], "pointerSize": 1}
            siblings.append(entry)
        body = {"id": name, "modelId": name, "sha": repo.commit, "siblings": siblings, "gated": repo.gated and "auto"}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name, revision)
        if repo is None:
            return
        commit = {"X-Repo-Commit": repo.commit}
        if repo.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = 403 if "Authorization" in self.headers else 401
            self._send(status, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted.", **commit})
        elif path not in repo.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", **commit})
        elif len(content := repo.files[path]) > LARGE:
            sha, size = hashlib.sha256(content).hexdigest(), self._size(path, content)
            linked = {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(size)}
            if self.server.xet:
                linked["X-Xet-Hash"] = xet_hash(content)
                linked["X-Xet-Refresh-Route"] = f"{self.server.url}/api/models/{name}/xet-read-token/{revision}"
            # The store is another host, so that nothing is sent there by mistake that is meant for the Hub alone.
            store = self.server.url.replace("127.0.0.1", "localhost")
            self._send(302, b"", {"Location": f"{store}/store/{name}/{path}", **linked, **commit})
        else:
            self._content(self.server.damaged.get(path, content), path, {"ETag": f'"{git_hash(content)}"', **commit})

    def _reconstruction(self, name: str) -> None:
        _, content = self.server.named(name)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert wanted is not None
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        if first > last:
            self._send(416, b"")
            return
        body = reconstruction(content, first, last, f"{self.server.url}/xorb/{name}")
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _repo(self, name: str, revision: str) -> Repo | None:
        repo = self.server.repos.get(name)
        if repo is None:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return None
        if revision in ("main", repo.commit):
            return repo
        before = next((one for one in repo.earlier if one.commit == revision), None)
        if before is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        return before

    def _size(self, path: str, content: bytes) -> int:
        return self.server.huge.get(path, len(content))

    def _content(self, content: bytes, path: str, headers: dict[str, str] | None = None) -> None:
        headers = {"Accept-Ranges": "bytes", **(headers or {})}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if "Authorization" in self.headers and self.path.startswith("/store/"):
            self._send(400, b"a token was sent to the store")
            return
        if wanted is None or self.server.no_ranges:
            self._send(200, content, headers, path)
            return
        start, stop = int(wanted[1]), int(wanted[2] or len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{stop}/{len(content)}"
        self._send(206, content[start : stop + 1], headers, path)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, path: str = "") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = self.server.cut.get(path)
        if cuts:
            body = body[: cuts.pop(0)]
            self.close_connection = True
        for start in range(0, len(body), BLOCK):
            time.sleep(self.server.pace)
            block = body[start : start + BLOCK]
            self.server.sent[path] += len(block)  # before the client has it: what it does next may be to look
            try:
                self.wfile.write(block)
                self.wfile.flush()
            except OSError:  # the client has gone
                self.close_connection = True
                return


def git_hash(content: bytes) -> str:
    """Git's hash of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
