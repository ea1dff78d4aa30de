"""One pooled HTTP connection to an InfluxDB, and what its status codes mean for samples."""

import json
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlencode

import urllib3

from foresense.stores.batch import NoDatabaseError, StoreError, StoreUnavailableError
from foresense.stores.influx_settings import InfluxSettings

_GZIP_ABOVE = 16_384  # bytes; below it, packing costs more than it saves
_PIECE = 1 << 18  # bytes of an answer taken at once
_N_SHOWN = 500  # letters of an answer
_OK = (200, 204)
_NEVER = (400, 413, 422)  # 422: how 2.x reports a partial write (http/points write handler)


class Answer(NamedTuple):
    """What a server said to one request.

    Attributes:
        status: HTTP status.
        words: Its error message, empty where all went well.
        headers: By name, in any case of letters.
    """

    status: int
    words: str
    headers: Mapping[str, str]

    @property
    def is_ok(self) -> bool:
        """The server did what was asked."""
        return self.status in _OK

    @property
    def is_refusal(self) -> bool:
        """The server will never take this body, or not so much of it at once."""
        return self.status in _NEVER


class Session:
    """Pooled requests to one server; give it back with `close`."""

    def __init__(self, settings: InfluxSettings) -> None:
        self._settings = settings
        self._headers = _authorization(settings)
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=4, retries=False, timeout=urllib3.Timeout(settings.timeout_s, settings.timeout_s)
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.clear()

    def post_lines(self, path: str, query: Mapping[str, str], lines: bytes) -> Answer:
        """Send line protocol, packed where it is long.

        Raises:
            StoreUnavailableError: no answer.
        """
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if len(lines) > _GZIP_ABOVE:
            lines, headers["Content-Encoding"] = _gzipped(lines), "gzip"
        return self.request("POST", path, query, body=lines, headers=headers)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int | None = _N_SHOWN,
    ) -> Answer:
        """Ask once and read the whole answer, of which the first `limit` letters are kept.

        Raises:
            StoreUnavailableError: no answer.
        """
        with reached(self._settings), self._opened(method, path, query, body, headers or {}) as response:
            return Answer(response.status, words_of(response.data, limit), response.headers)

    @contextmanager
    def pieces(self, method: str, path: str, query: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """Give the body of an answer piece by piece, while it arrives.

        Raises:
            StoreUnavailableError: no answer, or not all of it, or the server does not let us in.
            StoreError: the server refuses the request.
        """
        with (
            reached(self._settings),
            self._opened(method, path, query, None, {"Accept": "application/json"}) as response,
        ):
            if response.status not in _OK:
                raise problem(self._settings, Answer(response.status, words_of(response.data), response.headers))
            yield response.stream(_PIECE)

    @contextmanager
    def _opened(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        response = self._pool.request(
            method,
            f"{self._settings.url}{path}?{urlencode(query)}" if query else f"{self._settings.url}{path}",
            body=body,
            headers={**self._headers, **headers},
            preload_content=False,
            redirect=False,
        )
        is_read = False
        try:
            yield response
            is_read = True
        finally:
            if not is_read:
                response.close()  # the rest of the answer must not meet the next request
            response.release_conn()


@contextmanager
def reached(settings: InfluxSettings) -> Iterator[None]:
    """Turn what urllib3 raises for a server that does not answer into our error."""
    try:
        yield
    except urllib3.exceptions.NewConnectionError as error:  # for urllib3 a kind of time-out
        raise _unreached(settings.url, error) from error
    except urllib3.exceptions.TimeoutError as error:
        raise StoreUnavailableError(
            f"{settings.url} did not answer within {settings.timeout_s:g} s; the server is overloaded, or timeout_s is "
            "too short"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _unreached(settings.url, error) from error


def _unreached(url: str, error: Exception) -> StoreUnavailableError:
    why = re.sub(r"^<?\S*Connection.*?: ", "", str(error))  # without urllib3's object and its address in memory
    return StoreUnavailableError(f"{url} cannot be reached ({why}); start the server, or set FORESENSE_INFLUX_URL")


def problem(settings: InfluxSettings, answer: Answer) -> StoreError:
    """What to raise for an answer that is not about the samples."""
    said = f"{settings.url} answers {answer.status}: {answer.words or 'no words'}"
    if answer.status in (401, 403):
        return StoreUnavailableError(f"{said}; set FORESENSE_INFLUX_TOKEN to one that may use {settings.bucket!r}")
    if answer.status == 404:
        return NoDatabaseError(
            f"{said}; a bridge makes the bucket {settings.bucket!r} at its first write: wait for that, or name one "
            "that is there with FORESENSE_INFLUX_BUCKET; or set FORESENSE_INFLUX_FLAVOUR where the address is right "
            "and the path is not"
        )
    if answer.status == 429 or answer.status >= 500:
        return StoreUnavailableError(f"{said}; try later", _retry_after_s(answer.headers))
    if answer.is_refusal:
        return StoreError(said)
    return StoreUnavailableError(f"{said}; check FORESENSE_INFLUX_URL")


def words_of(body: bytes | str | None, limit: int | None = _N_SHOWN) -> str:
    """What a server says in the body of an error: `error` of 1.x, `message` of 2.x, `error` with `data` of 3.

    Returns:
        At most `limit` letters, and "..." where there are more.
    """
    words = _said((body.decode(errors="replace") if isinstance(body, bytes) else body or "").strip())
    return words if limit is None or len(words) <= limit else words[:limit] + "..."


def _said(text: str) -> str:
    try:
        content = json.loads(text)
    except ValueError:
        return text
    if not isinstance(content, dict):
        return text
    words = str(content.get("error") or content.get("message") or text)
    lines = content.get("data")
    if not isinstance(lines, list):
        return words
    return "; ".join([words, *(str(line.get("error_message")) for line in lines if isinstance(line, dict))])


def _authorization(settings: InfluxSettings) -> dict[str, str]:
    if settings.token is None:
        return {}
    token = settings.token.get_secret_value()
    if settings.flavour in ("v2", "v3") or ":" not in token:
        return {"Authorization": f"Token {token}"}
    return dict(urllib3.make_headers(basic_auth=token))


def _gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(body) + packer.flush()


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
