"""`make serve` where it cannot start: a message, and no traceback."""

import socket

import pytest

from tools import serve


@pytest.mark.parametrize("name", ["PREFECT_PORT", "MLFLOW_PORT"])
def test_a_port_that_is_taken_is_said_before_anything_starts(name: str, monkeypatch, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        port, free = taken.getsockname()[1], other.getsockname()[1]
        other.close()
        for variable in ("PREFECT_PORT", "MLFLOW_PORT"):
            monkeypatch.setenv(variable, str(port if variable == name else free))
        assert serve.main() == 1
    assert f"port {port} is taken by another program" in (told := capsys.readouterr()).err
    assert told.err.endswith(f"choose another port with {name}\n")
    assert told.out == ""


def test_a_server_that_does_not_start_is_one_message(monkeypatch, capsys) -> None:
    def refuse(root: object, port: int) -> None:
        raise RuntimeError(f"port {port}: no answer within 120 s; see server.log")

    monkeypatch.setattr(serve.signal, "signal", lambda *_: None)
    monkeypatch.setattr(serve, "is_taken", lambda _: False)
    monkeypatch.setattr(serve, "prefect_server", refuse)
    assert serve.main() == 1
    assert capsys.readouterr().err.endswith("no answer within 120 s; see server.log\n")
