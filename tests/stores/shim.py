"""The write endpoint of InfluxDB 2 in front of a 1.x, so that influxdb-client reaches a real engine.

The mapping is the one that InfluxData gives for 1.8 ("InfluxDB 2.x API compatibility endpoints"): bucket is
database[/policy], the token is user:password. Every other path is passed on as it is.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import urllib3

_PRECISIONS = {"ns": "ns", "us": "u", "ms": "ms", "s": "s"}
_CODES = {400: "invalid", 401: "unauthorized", 403: "forbidden", 404: "not found", 413: "request too large"}
_PASSED_ON = ("Content-Type", "Content-Encoding", "Accept")


class Shim:
    """The proxy, as a context manager.

    Attributes:
        url: Its address.
        paths: What was asked, in order, for tests to look at.
    """

    def __init__(self, server_url: str) -> None:
        self.paths: list[str] = []
        self._pool = urllib3.PoolManager(retries=False, timeout=30)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server_url, self._pool, self.paths))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._pool.clear()


def _handler(server_url: str, pool: urllib3.PoolManager, paths: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5  # an idle client must not keep a thread alive for ever

        def do_GET(self) -> None:
            self._pass_on("GET")

        def do_POST(self) -> None:
            self._pass_on("POST")

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _pass_on(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            paths.append(parts.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            is_write = parts.path == "/api/v2/write"
            path, query = ("/write", _write_query(query)) if is_write else (parts.path, query)
            response = pool.request(
                method,
                f"{server_url}{path}?{urlencode(query)}",
                body=body,
                headers=_headers(self.headers),
                redirect=False,
            )
            answer = response.data
            if is_write and response.status >= 400:
                words = json.loads(answer)["error"]
                answer = json.dumps({"code": _CODES.get(response.status, "internal error"), "message": words}).encode()
            self.send_response(response.status)
            for name in ("Content-Type", "X-Influxdb-Version", "Retry-After"):
                if name in response.headers:
                    self.send_header(name, response.headers[name])
            if response.status != 204:
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if response.status != 204:
                self.wfile.write(answer)

    return Handler


def _write_query(query: dict[str, str]) -> dict[str, str]:
    database, _, policy = query["bucket"].partition("/")
    mapped = {"db": database, "precision": _PRECISIONS[query.get("precision", "ns")]}
    return mapped | ({"rp": policy} if policy else {})


def _headers(given: Any) -> dict[str, str]:
    headers = {name: given[name] for name in _PASSED_ON if name in given}
    authorization = given.get("Authorization", "")
    if authorization.startswith("Token ") and ":" in authorization:
        headers |= urllib3.make_headers(basic_auth=authorization.removeprefix("Token "))
    return headers
