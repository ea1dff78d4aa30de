"""What servers say and what it means: settings, statuses, chunks; what 2.x and 3 answer is taken from their sources."""

import json
import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from foresense.config import ConfigError
from foresense.stores.batch import Batch, StoreError, StoreUnavailableError
from foresense.stores.influx import InfluxSettings, InfluxStore
from foresense.stores.influx_client import delete_predicate
from foresense.stores.influxql import between, identifier, literal, merged, read_blocks, to_columns

_ONE = Batch.of_asset("lathe", np.array([1]), ("a",), np.ones((1, 1)))
_TWO = Batch.of_asset("lathe", np.array([1, 2]), ("a",), np.ones((2, 1)))


@contextmanager
def _saying(*answers):
    """A server that gives these answers (status, headers, body), the last one again and again; yields url, requests."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            length = int(self.headers.get("Content-Length", 0))
            asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self):
            self._answer()

        def do_POST(self):
            self._answer()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _store(url, **fields):
    return InfluxStore(InfluxSettings(**{"url": url, "flavour": "v1", **fields}))


def test_settings_come_from_the_environment():
    environ = {"FORESENSE_INFLUX_URL": "http://plant:8086/", "FORESENSE_INFLUX_TOKEN": "s3cret", "PATH": "/bin"}
    found = InfluxSettings.from_environment(environ | {"FORESENSE_INFLUX_ORG": ""})
    assert (found.url, found.org, found.bucket, found.flavour) == ("http://plant:8086", None, "New_Sensor", "auto")
    assert found.token.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(found) + str(found) + found.model_dump_json()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "FORESENSE_INFLUX_URL is not set; give the address of the store, like http://localhost:8086"),
        ({"URL": "plant:8086"}, "FORESENSE_INFLUX_URL: expected an address like http://localhost:8086"),
        (
            {"URL": "http://me:s3cret@plant"},
            "no user and password in the address; give them as the token, user:password",
        ),
        (
            {"URL": "http://plant", "TOKEN": "s3cret\n"},
            "FORESENSE_INFLUX_TOKEN: a token has neither blanks nor letters",
        ),
        ({"URL": "http://plant", "FLAVOUR": "v9"}, "FORESENSE_INFLUX_FLAVOUR: Input should be 'auto', 'v1', 'v2'"),
        ({"URL": "http://plant", "FLAVOUR": "v2"}, "not set: FORESENSE_INFLUX_ORG, FORESENSE_INFLUX_TOKEN"),
    ],
)
def test_settings_that_are_wrong_are_named_and_never_shown(environ, message):
    with pytest.raises(ConfigError) as caught:
        InfluxSettings.from_environment({f"FORESENSE_INFLUX_{key}": value for key, value in environ.items()})
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"measurement": "#1"}, "a line that begins with # is a comment"),
        ({"measurement": "a\nb"}, "measurement: 'a.nb' holds a control character"),
        ({"asset_tag": ""}, "asset_tag: is empty"),
        ({"asset_tag": "time"}, "'time' has a meaning of its own"),
        ({"sensor_type": "x\\"}, "sensor_type: .* has a backslash at its end"),
    ],
)
def test_names_that_no_line_can_hold_are_refused_at_the_border(fields, message):
    with pytest.raises(ValueError, match=message):
        InfluxSettings(url="http://plant:8086", **fields)


@pytest.mark.parametrize(
    ("status", "headers", "body", "message", "retry_after_s"),
    [
        (429, {"Retry-After": "7"}, '{"message": "slow down"}', "answers 429: slow down; try later", 7.0),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", "answers 503: no words; try later", 0.0),
        (500, {"Retry-After": "soon"}, '{"error": "timeout"}', "answers 500: timeout; try later", None),
        (401, {}, '{"message": "no token"}', "answers 401: no token; set FORESENSE_INFLUX_TOKEN", None),
        (403, {}, "", "answers 403: no words; set FORESENSE_INFLUX_TOKEN to one that may use 'New_Sensor'", None),
        (404, {}, "404 page not found", "a bridge makes the bucket 'New_Sensor' at its first write: wait", None),
        (301, {"Location": "http://other"}, "", "answers 301: no words; check FORESENSE_INFLUX_URL", None),
    ],
)
def test_what_is_not_the_datas_fault_is_unavailable(status, headers, body, message, retry_after_s):
    with _saying((status, headers, body)) as (url, asked), _store(url, token="s3cret") as store:
        with pytest.raises(StoreUnavailableError, match=message) as caught:
            store.write(_TWO)
        assert caught.value.retry_after_s == retry_after_s
        assert len(asked) == 1
        with pytest.raises(StoreUnavailableError, match=message):
            store.read("lathe", 0, 9, channels=("a",))


def test_a_silent_server_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        message = r"did not answer within 0\.2 s; the server is overloaded, or timeout_s is too short"
        with _store(url, timeout_s=0.2) as store, pytest.raises(StoreUnavailableError, match=message):
            store.write(_ONE)


def test_half_an_answer_is_no_answer():
    with (
        _saying((200, {"Content-Length": "9999"}, '{"results":[{"statement_id":0}]}\n')) as (url, _),
        _store(url) as store,
        pytest.raises(StoreUnavailableError, match="cannot be reached"),
    ):
        store.read("lathe", 0, 9, channels=("a",))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html>hello</html>", "the server's answer is no JSON: '<html>hello</html>'; is the address right"),
        ("[1]", r"the server's answer is no InfluxQL result: \[1\]; is the address right"),
        ('{"error":"no"}', "the server answers: no; asked: SELECT"),
        ('{"results":[{"series":[{"columns":["time","a"],"values":[[1,2]]}],"partial":true}]}', "cut its answer off"),
        ('{"results":[{"series":[{"columns":["time","a"],"values":[[1,2]],"partial":true}]}]}', "cut its answer off"),
        (
            '{"results":[{"series":[{"columns":["time","a"],"values":[[1,2]]}]}]}\n{"results":[{"error":"killed"}]}',
            "the server answers: killed",
        ),
    ],
)
def test_an_answer_that_is_none_is_an_error(body, message):
    with _saying((200, {}, body)) as (url, _), _store(url) as store, pytest.raises(StoreError, match=message):
        store.read("lathe", 0, 9, channels=("a",))


@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
def test_chunks_are_read_however_the_network_cuts_them(cut):
    text = (
        b'{"results":[{"series":[{"columns":["time","a"],"values":[[1,-0],[2,null]],"partial":true}],"partial":true}]}\n'
        b'{"results":[{"series":[{"columns":["time","a"],"values":[[3,1e21]]}]}]}{"results":[{}]}\n\n'
    )
    blocks = list(read_blocks(text[at : at + cut] for at in range(0, len(text), cut)))
    parts = [to_columns(block, ["a", "b"]) for block in blocks]
    assert np.concatenate([times for times, _ in parts]).tolist() == [1, 2, 3]
    assert (
        np.concatenate([values for _, values in parts]).tobytes()
        == np.array([[-0.0, np.nan], [np.nan, np.nan], [1e21, np.nan]]).tobytes()
    )


def test_rows_of_one_time_become_their_mean_and_come_in_order():
    times, values = merged(np.array([3, 1, 3]), np.array([[1, np.nan], [5, np.nan], [2, 4.0]]))
    assert times.tolist() == [1, 3]
    np.testing.assert_array_equal(values, [[5, np.nan], [1.5, 4]])


def test_names_and_times_in_a_statement():
    assert identifier('a"\\\n') == '"a\\"\\\\\\n"'
    assert literal("a'\\\n") == "'a\\'\\\\\\n'"
    assert between(-(2**63), 2**63 - 1) == "time >= -9223372036854775806 AND time <= 9223372036854775806"


def test_a_refused_batch_of_2x_is_halved_not_run_against_2x():
    words = "failure writing points to database: partial write: field type conflict: x dropped=1"
    conflict = json.dumps({"code": "unprocessable entity", "message": words})
    answers = [(422, {}, conflict), (204, {}, ""), (422, {}, conflict)]
    with _saying(*answers) as (url, asked), _store(url, flavour="v2", org="plant", token="t:1", bucket="b c") as store:
        (refused,) = store.write(_TWO)
    assert (refused.row, refused.reason.partition("; line: ")[2]) == (
        1,
        "sensor_data,sensor_type=machine,workspace_id=lathe a=1 2",
    )
    assert [path for _, path, _, _ in asked] == ["/api/v2/write?bucket=b+c&precision=ns&org=plant"] * 3
    assert asked[0][2]["Authorization"] == "Token t:1"


def test_a_partial_write_of_3_says_every_reason_not_run_against_3():
    line = {"original_line": "m", "line_number": 1, "error_message": "bad"}
    body = json.dumps({"error": "partial write of line protocol occurred", "data": [line]})
    with _saying((400, {}, body)) as (url, _), _store(url, flavour="v3") as store:
        (refused,) = store.write(_ONE)
    assert refused.reason.startswith("partial write of line protocol occurred; bad; line: sensor_data,")


@pytest.mark.parametrize(
    ("headers", "body", "flavour", "version"),
    [
        ({"X-Influxdb-Version": "v2.7.6"}, "", "v2", "2.7.6"),
        ({"X-Influxdb-Version": "1.8.10"}, "", "v1", "1.8.10"),
        ({}, '{"version":"3.0.1","revision":"d7c071e0c4"}', "v3", "3.0.1"),
    ],
)
def test_servers_are_told_apart_by_their_ping_not_run_against_2x(headers, body, flavour, version):
    with _saying((200, headers, body)) as (url, _), _store(url, flavour="auto", org="o", token="t") as store:
        health = store.health()
        assert (store.flavour, health.flavour, health.version, health.is_ready) == (flavour, flavour, version, True)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "does not say which server it is; set FORESENSE_INFLUX_FLAVOUR to v1, v2, v3 or vm"),
        (
            {"X-Influxdb-Version": "2.7.1"},
            "is an InfluxDB 2.x, which needs .*; set FORESENSE_INFLUX_ORG and FORESENSE_I",
        ),
    ],
)
def test_what_is_missing_to_know_a_server_is_said_not_run_against_2x(headers, message):
    with (
        _saying((200, headers, "hello")) as (url, _),
        _store(url, flavour="auto") as store,
        pytest.raises(StoreError, match=message),
    ):
        store.write(_ONE)


def test_a_token_that_may_not_delete_is_unavailable_not_run_against_2x():
    forbidden = (403, {"Content-Type": "application/json"}, '{"message":"read only"}')
    with (
        _saying(forbidden) as (url, _),
        _store(url, flavour="v2", org="o", token="t") as store,
        pytest.raises(StoreUnavailableError, match="answers 403: read only; set FORESENSE_INFLUX_TOKEN"),
    ):
        store.delete(0, 9)


def test_deletion_of_2x_is_asked_for_with_both_ends_not_run_against_2x():
    assert delete_predicate("m", {"workspace_id": 'a"b\\'}) == '"_measurement"="m" AND "workspace_id"="a\\"b\\\\"'
    with _saying((204, {}, "")) as (url, asked), _store(url, flavour="v2", org="plant", token="t") as store:
        store.delete(0, 1_500_000_000_000_000_000)
    method, path, _, body = asked[0]
    assert (method, path.partition("?")[0]) == ("POST", "/api/v2/delete")
    assert b'"start": "1970-01-01T00:00:00.000000000Z", "stop": "2017-07-14T02:39:59.999999999Z"' in body


def test_a_bucket_of_2x_is_made_with_its_retention_not_run_against_2x():
    organisation = '{"orgs":[{"id":"0123456789abcdef","name":"plant"}]}'
    answers = [
        (200, {}, '{"buckets":[]}'),
        (200, {}, organisation),
        (201, {}, '{"name":"New_Sensor","retentionRules":[]}'),
    ]
    json_answers = [(status, {"Content-Type": "application/json"}, body) for status, _, body in answers]
    with _saying(*json_answers) as (url, asked), _store(url, flavour="v2", org="plant", token="t") as store:
        store.prepare(retention_days=30)
    assert [(method, path.partition("?")[0]) for method, path, _, _ in asked] == [
        ("GET", "/api/v2/buckets"),
        ("GET", "/api/v2/orgs"),
        ("POST", "/api/v2/buckets"),
    ]
    assert b'"retentionRules": [{"type": "expire", "everySeconds": 2592000}]' in asked[-1][3]


def test_retention_of_3_is_set_elsewhere_not_run_against_3():
    with _store("http://127.0.0.1:1", flavour="v3") as store:
        store.prepare()
        with pytest.raises(StoreError, match="the time to keep samples is set by influxdb3 create database"):
            store.prepare(retention_days=30)


def test_without_influxdb_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "influxdb_client.client.influxdb_client", None)
    store = _store("http://127.0.0.1:1", flavour="v2", org="o", token="t")
    with store, pytest.raises(ImportError, match=r"need influxdb-client: pip install foresense\[influx\]"):
        store.delete(0, 9)
