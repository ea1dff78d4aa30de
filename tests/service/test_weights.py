from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foresense.service import EncoderError, PATModelLoader


def loader(models: Path, size: str = "medium", encode: Any = lambda weeks: weeks[:, :96]) -> PATModelLoader:
    def read(path: Path, letter: str) -> Mapping[str, np.ndarray]:
        if path.read_text() != letter:
            raise ValueError(f"{path.name}: expected the weights of {letter}, found those of {path.read_text()}")
        return {"letter": np.array(letter)}

    def build(letter: str, weights: Mapping[str, np.ndarray]) -> Any:
        assert weights["letter"] == letter
        return encode

    return PATModelLoader(size, models, read_weights=read, build_encoder=build)


def place(models: Path, letter: str, content: str) -> None:
    (models / "pat").mkdir(exist_ok=True)
    (models / "pat" / f"PAT-{letter}_29k_weights.h5").write_text(content)


@pytest.mark.parametrize(("size", "letter"), [("small", "S"), ("medium", "M"), ("large", "L")])
def test_a_size_has_its_file(tmp_path: Path, size: str, letter: str) -> None:
    place(tmp_path, letter, letter)
    found = loader(tmp_path, size)
    assert found.path == tmp_path / "pat" / f"PAT-{letter}_29k_weights.h5"
    assert found.load_model()(np.zeros((2, 10_080), np.float32)).shape == (2, 96)


def test_medium_in_models_unless_told_otherwise() -> None:
    found = PATModelLoader(read_weights=lambda *_: {}, build_encoder=lambda *_: lambda weeks: weeks)
    assert found.path == Path("models/pat/PAT-M_29k_weights.h5")


def test_a_missing_file_is_the_cause_of_a_runtime_error(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"^Failed to load PAT model M: .*PAT-M_29k_weights\.h5: not there; "
    ) as caught:
        loader(tmp_path).load_model()
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_what_reading_refuses_is_the_cause(tmp_path: Path) -> None:
    place(tmp_path, "M", "S")
    with pytest.raises(RuntimeError, match=r"Failed to load PAT model M: .*expected the weights of M, found") as caught:
        loader(tmp_path).load_model()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_network_that_does_not_work_is_the_cause(tmp_path: Path) -> None:
    place(tmp_path, "M", "M")
    for wrong, told in (
        (lambda weeks: weeks[:, :95], r"gave \(1, 95\)"),
        (lambda weeks: weeks[:, :96] * np.nan, "96 of 96 features are not finite"),
    ):
        with pytest.raises(RuntimeError, match=f"Failed to load PAT model M: .*{told}") as caught:
            loader(tmp_path, encode=wrong).load_model()
        assert isinstance(caught.value.__cause__, EncoderError)


def test_an_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no size 'huge' of the model; known: small, medium, large"):
        loader(tmp_path, "huge")
