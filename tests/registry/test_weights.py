"""Official files come in checked and pinned, and a file that is not the pinned one is refused in the right words."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from foresense.__main__ import app
from foresense.config.pat import PatWeightsError
from foresense.registry.weights import (
    RELEASES,
    WeightsError,
    WeightsFetchError,
    fetch_weights,
    read_lock,
    read_weights,
    states,
)
from tests.models import official_layout

NAME, FILE = "PAT-S_29k", "PAT-S_29k_weights.h5"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """An official file as a user has it."""
    (tmp_path / "given").mkdir()
    return official_layout.write(tmp_path / "given" / FILE, official_layout.arrays("S"))


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Where files go, and the lock."""
    return tmp_path / "models" / "pat", tmp_path / "weights.lock.json"


@pytest.fixture
def held(given: Path, places: tuple[Path, Path]) -> Path:
    """A file that came in and is pinned."""
    return fetch_weights(NAME, given, *places)


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a server that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's name
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/pat/{FILE}?rlkey=secret"
        finally:
            server.shutdown()
            thread.join()


def whole(content: bytes, *, declared: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content) if declared is None else declared))
        request.end_headers()
        request.wfile.write(content)

    return answer


def failed(status: int, location: str = "") -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        if location:
            request.send_header("Location", location)
        request.end_headers()

    return answer


def is_untouched(places: tuple[Path, Path]) -> bool:
    folder, lock = places
    return not lock.exists() and not (folder.exists() and any(folder.iterdir()))


@pytest.mark.parametrize("below", ["", "model_weights"])
@pytest.mark.parametrize("size", ["S", "M", "L"])
def test_every_array_of_a_file_comes_out_as_it_was_written(
    size: str, below: str, tmp_path: Path, places: tuple[Path, Path]
) -> None:
    layers = official_layout.arrays(size)
    path = official_layout.write(tmp_path / "any-name.h5", layers, below=below)
    assert fetch_weights(f"PAT-{size}_21k", path, *places) == places[0] / f"PAT-{size}_21k_weights.h5"
    found = read_weights(f"PAT-{size}_21k", *places)
    expected = official_layout.flat(layers)
    assert list(found.arrays) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found.arrays[name], values)
        assert found.arrays[name].dtype == np.float32


def test_a_file_is_pinned_when_it_first_comes_and_compared_ever_after(
    given: Path, held: Path, places: tuple[Path, Path]
) -> None:
    pin = read_lock(places[1])[FILE]
    sha256 = subprocess.run(["sha256sum", held], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (pin.sha256, pin.n_bytes, pin.origin) == (sha256, given.stat().st_size, FILE)
    before = places[1].read_bytes()
    fetch_weights(NAME, given.parent, *places)  # the same again, from its folder
    assert places[1].read_bytes() == before
    official_layout.write(given, official_layout.arrays("S", seed=1))
    with pytest.raises(
        WeightsError, match=f"expected SHA-256 {pin.sha256} .* pinned .* found .* altered or is another"
    ):
        fetch_weights(NAME, given, *places)
    assert read_weights(NAME, *places).sha256 == pin.sha256  # what was there still is


@pytest.mark.parametrize("place", [1000, -1000])
def test_a_flipped_bit_is_refused(place: int, held: Path, places: tuple[Path, Path]) -> None:
    content = bytearray(held.read_bytes())
    content[place] ^= 1
    held.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"expected SHA-256 \w{64} .* found \w{64} \(\d+ bytes\); it was altered"):
        read_weights(NAME, *places)


def test_query_and_key_swapped_have_the_right_structure_and_the_wrong_digest(
    held: Path, places: tuple[Path, Path]
) -> None:
    layers = official_layout.arrays("S")
    block = layers["encoder_layer_1_transformer"]
    query, key = (f"encoder_layer_1_attention/{name}/kernel:0" for name in ("query", "key"))
    block[query], block[key] = block[key], block[query]
    official_layout.write(held, layers)
    with pytest.raises(WeightsError, match="it was altered or is another file"):
        read_weights(NAME, *places)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_refused_pinned_or_not(
    share: float, given: Path, places: tuple[Path, Path], tmp_path: Path
) -> None:
    content = given.read_bytes()
    given.write_bytes(content[: int(share * len(content))])
    with pytest.raises((WeightsError, PatWeightsError), match="not a whole HDF5 file"):
        fetch_weights(NAME, given, *places)
    assert is_untouched(places)
    given.write_bytes(content)
    path = fetch_weights(NAME, given, *places)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"cut off, \d+ bytes are missing"):
        read_weights(NAME, *places)


def test_21k_under_the_name_of_29k_is_refused_by_its_pinned_name(given: Path, places: tuple[Path, Path]) -> None:
    fetch_weights("PAT-S_21k", given, *places)
    with pytest.raises(
        WeightsError, match=r"these are the bytes that are pinned as PAT-S_21k_weights.h5; expected PAT-S_29k"
    ):
        fetch_weights(NAME, given, *places)


def test_another_size_is_named(tmp_path: Path, places: tuple[Path, Path]) -> None:
    path = official_layout.write(tmp_path / FILE, official_layout.arrays("M"))
    words = "expected the 274,720 weights of PAT-S, found the 993,440 of PAT-M"
    with pytest.raises(PatWeightsError, match=words):
        fetch_weights(NAME, path, *places)
    assert is_untouched(places)


def renamed_layer(layers: official_layout.Layers) -> None:
    layers["encoder_layer_2_transformer"] = layers.pop("encoder_layer_1_transformer")


def swapped_names(layers: official_layout.Layers) -> None:
    block = layers["encoder_layer_1_transformer"]
    first, second = "encoder_layer_1_ff1/kernel:0", "encoder_layer_1_ff2/kernel:0"
    block[first], block[second] = block[second], block[first]


def transposed(layers: official_layout.Layers) -> None:
    layers["dense"]["dense/kernel:0"] = layers["dense"]["dense/kernel:0"].T


def without_bias(layers: official_layout.Layers) -> None:
    del layers["encoder_layer_1_transformer"]["encoder_layer_1_attention/key/bias:0"]


def doubled(layers: official_layout.Layers) -> None:
    layers["dense"]["dense/bias:0"] = layers["dense"]["dense/bias:0"].astype(np.float64)


def holed(layers: official_layout.Layers) -> None:
    layers["dense"]["dense/bias:0"][3] = np.nan


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            renamed_layer,
            "encoder_layer_1_transformer/encoder_layer_1_attention/query/kernel:0: missing, expected (96, 6, 96)",
        ),
        (
            renamed_layer,
            "encoder_layer_2_transformer/encoder_layer_1_attention/query/kernel:0: unknown, found (96, 6, 96)",
        ),
        (swapped_names, "encoder_layer_1_ff1/kernel:0: expected (96, 256), found (256, 96) (transposed)"),
        (transposed, "dense/dense/kernel:0: expected (18, 96), found (96, 18) (transposed)"),
        (without_bias, "encoder_layer_1_attention/key/bias:0: missing, expected (6, 96)"),
        (without_bias, "expected 18 arrays of 274,720 numbers, found 17 of 274,144"),
        (doubled, "dense/dense/bias:0: expected float32, found float64"),
        (holed, "values that are not numbers in dense/dense/bias:0"),
    ],
)
def test_a_file_of_another_structure_never_comes_in(
    spoil: Callable[[official_layout.Layers], None], words: str, tmp_path: Path, places: tuple[Path, Path]
) -> None:
    layers = official_layout.arrays("S")
    spoil(layers)
    path = official_layout.write(tmp_path / FILE, layers)
    with pytest.raises((WeightsError, PatWeightsError), match=re.escape(words)):
        fetch_weights(NAME, path, *places)
    assert is_untouched(places)


def test_numbers_that_lie_in_another_file_are_refused(given: Path, tmp_path: Path, places: tuple[Path, Path]) -> None:
    (tmp_path / "other").write_bytes(bytes(96 * 4))
    with h5py.File(given, "r+") as file:
        del file["dense/dense/bias:0"]
        file["dense"].create_dataset(
            "dense/bias:0", (96,), np.float32, external=[(str(tmp_path / "other"), 0, h5py.h5f.UNLIMITED)]
        )
    with pytest.raises(WeightsError, match="dense/dense/bias:0 lie in another file"):
        fetch_weights(NAME, given, *places)


def test_links_are_not_followed(given: Path, places: tuple[Path, Path]) -> None:
    with h5py.File(given, "r+") as file:
        del file["dense/dense/bias:0"]
        file["dense/dense/bias:0"] = h5py.ExternalLink(str(given), "dense/dense/kernel:0")
    with pytest.raises(PatWeightsError, match="dense/dense/bias:0: missing"):
        fetch_weights(NAME, given, *places)


def test_a_file_is_fetched_by_address_and_the_lock_keeps_no_key(given: Path, places: tuple[Path, Path]) -> None:
    with served(whole(given.read_bytes())) as address:
        path = fetch_weights(NAME, address, *places)
    assert path.read_bytes() == given.read_bytes()
    assert re.fullmatch(r"http://127.0.0.1/pat/PAT-S_29k_weights.h5", read_lock(places[1])[FILE].origin)


def test_failures_of_the_network_say_what_happened_and_write_nothing(given: Path, places: tuple[Path, Path]) -> None:
    content = given.read_bytes()
    half = len(content) // 2
    for answer, words in (
        (failed(404), "HTTP 404 Not Found; see https://github.com/njacobsonlab"),
        (failed(302, "file:///etc/hosts"), "HTTP 302"),
        (whole(content[:half], declared=len(content)), f"half a download: {half} of {len(content)} bytes; try again"),
        (whole(b"<html>log in</html>"), "not a whole HDF5 file"),
        (whole(b""), "not a whole HDF5 file"),
    ):
        with served(answer) as address, pytest.raises((WeightsFetchError, WeightsError), match=words):
            fetch_weights(NAME, address, *places)
        assert is_untouched(places)
    with pytest.raises(WeightsFetchError, match=r"could not be fetched .*give the file or its folder as --origin"):
        fetch_weights(NAME, address, *places)  # nobody is there any more


@pytest.mark.parametrize("address", ["http://example.org/a.h5", "ftp://example.org/a.h5", "file:///etc/hosts"])
def test_only_safe_addresses_are_asked(address: str, places: tuple[Path, Path]) -> None:
    with pytest.raises(WeightsFetchError, match="only https addresses are fetched"):
        fetch_weights(NAME, address, *places)


def test_what_is_too_large_is_no_official_file(
    given: Path, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foresense.registry.weights.MAX_BYTES", 1000)
    with pytest.raises(WeightsFetchError, match="more than 1000 bytes; no official file is that large"):
        fetch_weights(NAME, given, *places)
    with (
        served(whole(given.read_bytes())) as address,
        pytest.raises(WeightsFetchError, match="more than 1000 bytes"),
    ):
        fetch_weights(NAME, address, *places)


def test_what_is_absent_unknown_or_unpinned_is_said(given: Path, places: tuple[Path, Path]) -> None:
    folder, lock = places
    with pytest.raises(WeightsError, match=r"no weights 'PAT-X'; known: PAT-S_29k, PAT-S_21k, PAT-M_29k"):
        fetch_weights("PAT-X", given, *places)
    with pytest.raises(WeightsFetchError, match=r"no such file; give the file, its folder, or an address"):
        fetch_weights(NAME, given.parent / "none.h5", *places)
    with pytest.raises(FileNotFoundError, match="not there; bring it with `foresense weights fetch PAT-S_29k`"):
        read_weights(NAME, *places)
    folder.mkdir(parents=True)
    official_layout.write(folder / FILE, official_layout.arrays("S"))
    with pytest.raises(WeightsError, match=r"not pinned in .*weights.lock.json; `foresense weights fetch PAT-S_29k"):
        read_weights(NAME, *places)
    assert {state.release.name: state.status for state in states(*places)} == dict.fromkeys(RELEASES, "absent") | {
        NAME: "unpinned"
    }
    lock.write_text('{"schema_version": 2, "files": {}}')
    with pytest.raises(WeightsError, match=r"weights.lock.json: version 2, expected 1"):
        read_lock(lock)
    lock.write_text('{"schema_version": 1, "files": {"a": {"sha": "0"}}}')
    with pytest.raises(WeightsError, match="expected schema_version and files with sha256"):
        read_lock(lock)


def test_who_made_it_travels_with_it(held: Path, places: tuple[Path, Path]) -> None:
    credit = read_weights(NAME, *places).release.attribution
    assert (credit.licence, credit.paper) == ("CC BY 4.0", "arXiv 2411.15240")
    assert "29,307 people of NHANES 2003-2004, 2005-2006, 2011-2012, 2013-2014" in credit.trained_on
    assert RELEASES["PAT-L_21k"].attribution.trained_on.endswith(
        "21,538 people of NHANES 2003-2004, 2005-2006, 2011-2012"
    )


def test_the_command_line_lists_fetches_and_verifies(given: Path, tmp_path: Path) -> None:
    def call(*words: str) -> tuple[int, str]:
        ran = CliRunner().invoke(app, ["--project", str(tmp_path), "weights", *words])
        if ran.exception and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return ran.exit_code, ran.output

    assert call("verify") == (
        1,
        f"{tmp_path}/models/pat: no official weights; bring them with `foresense weights fetch`\n",
    )
    code, said = call("fetch", NAME, "--origin", str(given))
    assert code == 0
    assert "structure checked, SHA-256" in said
    assert "CC BY 4.0" in said
    assert call("verify") == (0, f"{NAME}: verified\n")
    assert json.loads((tmp_path / "weights.lock.json").read_text())["files"][FILE]["sha256"] in said
    path = tmp_path / "models" / "pat" / FILE
    path.write_bytes(path.read_bytes()[:-1])
    code, said = call("verify")
    assert code == 1
    assert "PAT-S_29k: refused:" in said
    path.unlink()
    assert call("verify") == (1, f"{NAME}: absent: pinned, but not there\n")
    code, said = call("list")
    assert code == 0
    assert all(name in said for name in RELEASES)


def test_weights_are_read_without_tensorflow_keras_or_mlflow() -> None:
    code = (
        "import sys, foresense.registry.weights; "
        "heavy = {'tensorflow', 'keras', 'mlflow', 'h5py', 'torch'}; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
