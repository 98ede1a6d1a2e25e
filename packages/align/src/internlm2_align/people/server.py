"""The page and its answers over HTTP, for browsers on this machine.

Every path that gives or takes anything is a POST with ``Authorization: Bearer TOKEN``. A browser sends that header for
no other site, so there are no cookies and nothing to forge. The address holds the token behind ``#``, which browsers do
not send. ``Host`` must be an address or a name of this machine, against names that are made to point here (DNS
rebinding), and ``Origin``, where there is one, the page itself. The page itself holds nothing secret.
"""

import json
import secrets
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from internlm2_align.people.desk import Desk

LONGEST_BODY = 64 * 1024
"""Bytes of a request. A remark is the longest thing in one."""

WAIT_S = 30.0
"""How long a connection may say nothing."""

PAGE = {
    "/": ("index.html", "text/html"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/figures.js": ("figures.js", "text/javascript"),
    "/server.js": ("server.js", "text/javascript"),
    "/tree.js": ("tree.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: The HTTP status.
        reason: One sentence for whoever sent it.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class LabelServer(ThreadingHTTPServer):
    """Serves the page of a desk.

    Args:
        desk: Gives the answers.
        token: Whoever knows it may read and label everything.
        host: Address to listen at.
        port: Port to listen at. 0 takes a free one.
        names: Further names that the machine is called by, for browsers elsewhere.
        after: Called after each answered request.

    Raises:
        ValueError: If the port is taken, or the address is not one of this machine.
    """

    daemon_threads = False  # What is being written is written before the process ends.
    allow_reuse_address = True

    def __init__(
        self,
        desk: Desk,
        token: str,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Sequence[str] = (),
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self.desk, self.token, self.after = desk, token, after
        self.names = {"localhost", host.lower(), socket.gethostname().lower(), *(name.lower() for name in names)}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(f"port={port} of host={host} cannot be listened at: {error}.") from error

    @property
    def address(self) -> str:
        """What is typed into a browser."""
        host, port = self.server_address[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(host), str(host))
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/#{self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong in a request, unless the browser has left."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """End ``serve_forever``, from a request too."""
        threading.Thread(target=self.shutdown).start()

    def is_here(self, host: str) -> bool:
        """Whether a ``Host`` header names this machine: by an address or by one of its names."""
        name = (urlsplit(f"//{host}").hostname or "").lower()
        return name in self.names or _is_address(name)


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    timeout = WAIT_S
    server_version, sys_version = "internlm2", ""

    def do_GET(self) -> None:
        self._answer(self._page)

    def do_POST(self) -> None:
        self._answer(self._asked)

    def _answer(self, respond: Callable[[], tuple[bytes, str]]) -> None:
        try:
            # All of it first: a connection that is closed with something unread may lose the answer.
            self.body = self._read()
            self._check_sender()
            status, (content, kind) = HTTPStatus.OK, respond()
        except RefusedError as refused:
            status, (content, kind) = refused.status, _json({"error": str(refused)})
        except (ValueError, KeyError) as error:
            status, (content, kind) = HTTPStatus.BAD_REQUEST, _json({"error": str(error)})
        except sqlite3.OperationalError as error:  # The disk is full, or another process holds the file too long.
            status, (content, kind) = HTTPStatus.SERVICE_UNAVAILABLE, _json({"error": str(error)})
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if status == HTTPStatus.OK:
            self.server.after()

    def _check_sender(self) -> None:
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not self.server.is_here(host):
            raise RefusedError(HTTPStatus.FORBIDDEN, f"Host {host!r} is not a name of this machine.")
        if origin is not None and urlsplit(origin).netloc != host:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"Origin {origin!r} is not this page.")

    def _page(self) -> tuple[bytes, str]:
        found = PAGE.get(urlsplit(self.path).path)
        if found is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such page.")
        name, kind = found
        return files("internlm2_align.people").joinpath("page", name).read_bytes(), f"{kind}; charset=utf-8"

    def _asked(self) -> tuple[bytes, str]:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").encode("latin-1", "replace")
        if not secrets.compare_digest(given, self.server.token.encode()):
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "The token is wrong.")
        name = self.path.removeprefix("/api/")
        if name not in self.server.desk.paths:
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such path.")
        return _json(self.server.desk.paths[name](self._object()))

    def _read(self) -> bytes:
        length = self.headers.get("Content-Length", "0" if self.command == "GET" else "")
        if not length.isdecimal():
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "Content-Length must be a number.")
        if int(length) > LONGEST_BODY:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body must be at most {LONGEST_BODY} bytes.")
        return self.rfile.read(int(length))

    def _object(self) -> Mapping[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
        body = json.loads(self.body)
        if not isinstance(body, dict):
            raise ValueError("The body must be an object.")
        return body

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each request would bury the address."""


def _json(value: Mapping[str, Any]) -> tuple[bytes, str]:
    return json.dumps(value).encode(), "application/json"


def _is_address(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
