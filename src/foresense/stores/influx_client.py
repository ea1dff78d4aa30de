"""What goes through influxdb-client: the server's health, buckets, deletion, and writing where that is asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from foresense.stores.batch import StoreError
from foresense.stores.influx_http import Answer, problem, reached, words_of
from foresense.stores.influx_settings import InfluxSettings
from foresense.stores.influxql import FIRST_NS, LAST_NS

if TYPE_CHECKING:
    from influxdb_client.client.exceptions import InfluxDBError

_DAY_S = 86_400


class Client:
    """influxdb-client with our settings and our errors; give it back with `close`.

    Raises:
        ImportError: it is not installed; names the extra.
    """

    def __init__(self, settings: InfluxSettings) -> None:
        try:
            from influxdb_client.client.influxdb_client import InfluxDBClient
            from influxdb_client.client.write_api import SYNCHRONOUS
        except ImportError as error:
            raise ImportError(
                "buckets, deletion and health of InfluxDB 2.x and 3 need influxdb-client: pip install foresense[influx]"
            ) from error
        token = settings.token.get_secret_value() if settings.token else None
        self._settings = settings
        org = settings.org or ""  # its writer refuses None, which all but 2.x could do with
        options: dict[str, Any] = {"url": settings.url, "token": token, "org": org}  # its hint of the token lacks None
        self._client: Any = InfluxDBClient(**options, timeout=int(1000 * settings.timeout_s))
        self._writer: Any = self._client.write_api(write_options=SYNCHRONOUS)

    def close(self) -> None:
        """Close every connection."""
        self._writer.close()
        self._client.close()

    def post_lines(self, lines: bytes) -> Answer:
        """Send line protocol by its synchronous writer.

        Raises:
            StoreUnavailableError: no answer.
        """
        from influxdb_client.client.exceptions import InfluxDBError

        try:
            with reached(self._settings):
                self._writer.write(self._settings.bucket, record=lines)
        except InfluxDBError as error:
            return _answer(error)
        return Answer(204, "", {})

    def is_ready(self) -> bool:
        """Whether the server answers to a ping with this token; `health` of influxdb-client 1.50 is deprecated."""
        return bool(self._client.ping())

    def create_bucket(self, retention_days: float | None) -> float | None:
        """Create the bucket where there is none.

        Returns:
            How long the bucket keeps samples, in days; None for ever.

        Raises:
            StoreError: the server refuses.
        """
        with self._told("cannot create the bucket"):
            buckets = self._client.buckets_api()
            bucket = buckets.find_bucket_by_name(self._settings.bucket)
            if bucket is None:
                seconds = 0 if retention_days is None else round(retention_days * _DAY_S)
                rules = [{"type": "expire", "everySeconds": seconds}] if seconds else []
                buckets.create_bucket(bucket_name=self._settings.bucket, retention_rules=rules)
                return retention_days
        seconds = sum(rule.every_seconds for rule in bucket.retention_rules or ())
        return seconds / _DAY_S if seconds else None

    def delete(self, start_ns: int, end_ns: int, predicate: str) -> None:
        """Delete samples with start_ns <= time < end_ns; 2.x deletes both ends of the range that it is given.

        Raises:
            StoreError: the server refuses, as 3 Core does, which cannot delete.
        """
        start, stop = (_rfc3339(time_ns) for time_ns in (max(start_ns, FIRST_NS), min(end_ns - 1, LAST_NS)))
        with self._told("cannot delete"):
            self._client.delete_api().delete(start, stop, predicate, bucket=self._settings.bucket)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        from influxdb_client.client.exceptions import InfluxDBError

        try:
            with reached(self._settings):
                yield
        except InfluxDBError as error:
            answer = _answer(error)
            if answer.status in (401, 403, 429) or answer.status >= 500:
                raise problem(self._settings, answer) from error
            raise StoreError(f"{self._settings.url} {what}: {answer.status}: {answer.words}") from error


def delete_predicate(measurement: str, tags: Mapping[str, str]) -> str:
    """Say which samples to delete in the language of /api/v2/delete."""
    conditions = {"_measurement": measurement, **tags}
    return " AND ".join(f"{_quoted(key)}={_quoted(value)}" for key, value in conditions.items())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _answer(error: "InfluxDBError") -> Answer:
    response = error.response
    if response is None:
        return Answer(0, str(error.message), {})
    return Answer(int(response.status), words_of(response.data), dict(response.getheaders()))


def _rfc3339(time_ns: int) -> str:
    return f"{np.datetime_as_string(np.datetime64(time_ns, 'ns'), unit='ns')}Z"
