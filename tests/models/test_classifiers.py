"""Contract of the classifiers: whatever is in CLASSIFIERS is tested by being there; refusals; export to ONNX."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from foresense.config.wrist import WristModelConfig
from foresense.export.onnx_format import OPSET
from foresense.export.quiet import quieted
from foresense.models.classifiers import (
    CLASSIFIERS,
    build_classifier,
    load_classifier,
    save_classifier,
    standardise_by,
)
from foresense.models.wrist_cnn import WristCnn
from foresense.models.wrist_rocket import WristRocket

CLASSES = ("lying", "sitting", "walking", "running")
EVERYTHING = {"window_length": 40, "patch_length": 8, "rate_hz": 10.0, "d_model": 16}
WAYS = {  # every classifier, with all the features it takes
    "transformer": {**EVERYTHING, "scaling": "training"},
    "transformer late": {**EVERYTHING, "model": "transformer", "fusion": "late"},
    "cnn": {**EVERYTHING, "model": "cnn", "fusion": "late", "n_times": 0, "scaling": "training"},
    "rocket": {**EVERYTHING, "model": "rocket", "fusion": "late", "n_times": 0, "n_kernels": 10},
    "cnn bare": {**EVERYTHING, "model": "cnn", "n_statistics": 0, "n_topology": 0, "n_times": 0},
}


def small(way: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    config = WristModelConfig.model_validate(WAYS[way])
    given = {"windows": torch.randn(5, 40, 3) + torch.tensor([0.0, 0.0, 1.0])}
    sizes = {"statistics": config.n_statistics, "topology": config.n_topology, "times": config.n_times}
    given |= {name: 7 + 3 * torch.randn(5, size) for name, size in sizes.items() if size}
    model = build_classifier(config, n_classes=len(CLASSES))
    standardise_by(model, **{name: values for name, values in given.items() if name != "times"})
    if isinstance(model, WristRocket):
        model.meet(given["windows"])
    return model.eval(), given


def test_every_classifier_is_among_the_tested() -> None:
    assert {WristModelConfig.model_validate(way).model for way in WAYS.values()} == set(CLASSIFIERS)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_batch_is_its_windows_one_by_one(way: str) -> None:
    model, given = small(way)
    whole = model(**given)
    assert whole.shape == (5, 4)
    single = torch.cat([model(**{name: values[n : n + 1] for name, values in given.items()}) for n in range(5)])
    torch.testing.assert_close(whole, single, rtol=1e-5, atol=1e-5)  # float32 sums in another order
    assert torch.equal(whole, model(**given))


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_saved_classifier_comes_back_to_the_same_bits_with_its_scales_and_classes(way: str, tmp_path: Path) -> None:
    model, given = small(way)
    save_classifier(tmp_path, model, classes=CLASSES)
    loaded, classes = load_classifier(tmp_path)
    assert classes == CLASSES
    assert not loaded.training
    assert torch.equal(loaded(**given), model(**given))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classifier.json", "model.safetensors"]


@pytest.mark.parametrize("way", sorted(WAYS))
def test_every_feature_that_is_taken_counts_and_only_those_are_taken(way: str) -> None:
    model, given = small(way)
    before = model(**given)
    for name, values in given.items():
        changed = values + torch.randn_like(values)
        assert not torch.allclose(model(**{**given, name: changed}), before, atol=1e-5), name
    for name in {"statistics", "topology", "times"} - set(given):
        with pytest.raises(ValueError, match=f"{name} were given, and n_{name} is 0"):
            model(**given, **{name: torch.zeros(5, 3)})


@pytest.mark.slow
@pytest.mark.parametrize("way", ["transformer", "cnn"])
def test_onnx_says_the_same_even_of_a_constant_window(way: str, tmp_path: Path) -> None:
    model, given = small(way)
    names = list(given)
    one = {name: values[:1] for name, values in given.items()}
    with quieted():
        program = torch.onnx.export(
            model,
            (),
            kwargs=one,
            dynamo=True,
            input_names=names,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.save(str(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [found.name for found in session.get_inputs()] == names
    for windows in (one["windows"], torch.full((1, 40, 3), 0.1)):
        asked = {**one, "windows": windows}
        (found,) = session.run(None, {name: values.numpy() for name, values in asked.items()})
        np.testing.assert_allclose(found, model(**asked).detach().numpy(), rtol=0, atol=1e-5)


def test_the_rival_has_about_as_many_weights_as_the_published_transformer() -> None:
    bare = {"model": "cnn", "n_statistics": 0, "n_topology": 0, "n_times": 0}
    rival = WristCnn(WristModelConfig.model_validate(bare), n_classes=4)
    n = sum(weight.numel() for weight in rival.parameters())
    assert n == 76_496  # as its module says
    assert abs(n / 75_016 - 1) < 0.05


def test_scales_that_are_not_given_are_asked_for() -> None:
    model, given = small("transformer")
    with pytest.raises(ValueError, match="statistics of the training part are missing: the model scales by them"):
        standardise_by(model, windows=given["windows"], topology=given["topology"])
    with pytest.raises(ValueError, match="windows of the training part are missing"):
        standardise_by(model, statistics=given["statistics"], topology=given["topology"])


def test_scales_are_those_of_what_was_given() -> None:
    model, given = small("transformer")
    encoder = model.encoder
    for part, values in (
        (encoder.scaling, given["windows"].reshape(-1, 3)),
        (encoder.statistics.standardise, given["statistics"]),
        (encoder.topology.standardise, given["topology"]),
    ):
        torch.testing.assert_close(part.mean, values.mean(0))
        torch.testing.assert_close(part.scale, values.std(0, correction=0))


def test_one_class_needs_no_classifier() -> None:
    with pytest.raises(ValueError, match="n_classes: expected at least 2, found 1"):
        build_classifier(WristModelConfig(), n_classes=1)


@pytest.mark.parametrize("classes", [("a", "b", "c"), ("a", "b", "c", "a")])
def test_every_logit_has_a_name_of_its_own(classes: tuple[str, ...], tmp_path: Path) -> None:
    model, _ = small("cnn bare")
    with pytest.raises(ValueError, match="classes: expected 4 names, each once, found"):
        save_classifier(tmp_path, model, classes=classes)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_classifier_says_which_step_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"classifier\.json: not there; run `foresense train "):
        load_classifier(tmp_path)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"names": []}, r"classifier\.json: config and classes missing: not written by this release; train again"),
        (
            {"config": {"d_modle": 3}, "classes": list(CLASSES)},
            r"not a classifier of this release: d_modle: unknown key; did you mean 'd_model'\? .*; train again",
        ),
    ],
)
def test_a_description_of_another_release_is_refused(broken: dict[str, object], message: str, tmp_path: Path) -> None:
    model, _ = small("cnn bare")
    save_classifier(tmp_path, model, classes=CLASSES)
    (tmp_path / "classifier.json").write_text(json.dumps(broken))
    with pytest.raises(ValueError, match=message):
        load_classifier(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model, _ = small("cnn bare")
    save_classifier(tmp_path, model, classes=CLASSES)
    other, _ = small("transformer late")
    save_classifier(tmp_path / "other", other, classes=CLASSES)
    (tmp_path / "other" / "classifier.json").write_bytes((tmp_path / "classifier.json").read_bytes())
    with pytest.raises(ValueError, match=r"weights of another network than classifier\.json describes"):
        load_classifier(tmp_path / "other")
