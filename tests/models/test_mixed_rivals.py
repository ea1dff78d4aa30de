"""Rivals as networks: what scikit-learn says, from raw windows; saved, loaded and exported."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from foresense.models.mixed import save_mixed
from foresense.models.mixed_rivals import (
    NEVER,
    FittedRepeat,
    RivalConfig,
    TreeScores,
    _tensors,
    load_rival,
    rival_model,
    rounded_down,
    save_rival,
)
from foresense.models.mixed_shipped import load_shipped
from foresense.training import mixed_rivals
from foresense.training.mixed_fitted import centre_thresholds, fitted_trees
from tests.models.mixed_batches import tiny_model
from tests.models.rival_worlds import N_STEPS, config_of, inputs_of, learnt, schema_of, windows_of

CLASSES = [(name, n) for name in mixed_rivals.CLASS_RIVALS for n in (2, 6)]
ALL: list[tuple[str, int | None]] = [*CLASSES, *((name, None) for name in mixed_rivals.VALUE_RIVALS)]


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_rivals, "MAX_ROUNDS", 30)
    monkeypatch.setattr(mixed_rivals, "ROUNDS_OF_FOLDS", 15)


@pytest.mark.parametrize(("name", "n_classes"), ALL)
def test_the_network_says_what_scikit_learn_says(name: str, n_classes: int | None) -> None:
    """Float32 features, and up to 30 leaves or 30 products added in float32: five digits.

    A feature on a threshold would change a leaf; thresholds lie between training values, so none does here.
    """
    model, inputs, expected = learnt(name, n_classes)
    with torch.inference_mode():
        said = model(**inputs)
    assert said.isfinite().all()
    found = said[:, 0] if n_classes is None else said.softmax(1)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    if name != "prevalence":
        assert np.std(expected) > 0.05
    if n_classes == 6:
        assert (found[:, 4] == 0).all()  # a class that training never showed
        assert (said[:, 4] <= NEVER / 2).all()


@pytest.mark.parametrize(("name", "n_classes"), [("logistic", 6), ("boosting", None), ("last_week", None)])
def test_a_saved_rival_says_the_same(name: str, n_classes: int | None, tmp_path: Path) -> None:
    model, inputs, _ = learnt(name, n_classes)
    save_rival(tmp_path, model)
    assert {file.name for file in tmp_path.iterdir()} == {"model.safetensors", "rival.json"}
    for loaded in (load_rival(tmp_path), load_shipped(tmp_path)):
        assert not loaded.training
        torch.testing.assert_close(loaded(**inputs), model(**inputs), rtol=0, atol=0)
    assert load_rival(tmp_path).config == model.config
    assert len(model.config.feature_names) == model.config.features.n_features


@pytest.mark.parametrize("n_classes", [None, 2, 3])
@pytest.mark.parametrize("is_centred", [False, True])
def test_trees_decide_as_scikit_learn_does_on_their_own_thresholds(n_classes: int | None, is_centred: bool) -> None:
    """Every value of a column is a float32; with 600 of them, quantiles put thresholds on values exactly."""
    rng = np.random.default_rng(0)
    features = rng.normal(100, 30, (600, 3)).astype(np.float32).astype(np.float64)
    features[rng.random(features.shape) < 0.2] = np.nan
    level = np.nan_to_num(features[:, 0], nan=100) + rng.normal(0, 5, 600)
    kind: Any = HistGradientBoostingRegressor if n_classes is None else HistGradientBoostingClassifier
    target = level if n_classes is None else np.digitize(level, np.quantile(level, np.arange(1, n_classes) / n_classes))
    model = kind(max_iter=20, early_stopping=False).fit(features, target)
    before = model.predict(features) if n_classes is None else model.predict_proba(features)
    nodes = np.concatenate([tree.nodes for trees in model._predictors for tree in trees])
    inner = nodes[nodes["is_leaf"] == 0]
    assert np.isin(inner["num_threshold"], features).any()
    if is_centred:
        centre_thresholds(model, features)
        after = model.predict(features) if n_classes is None else model.predict_proba(features)
        np.testing.assert_array_equal(after, before)
        moved = np.concatenate([tree.nodes for trees in model._predictors for tree in trees])["num_threshold"]
        assert not np.isin(moved[nodes["is_leaf"] == 0], features).any()
    fitted = fitted_trees(model, n_classes)
    described = RivalConfig.model_validate(
        {
            "rival": "boosting",
            "scores": "trees",
            "features": {"family": "summary", "n_numeric": 1, "n_steps": 2},
            "n_outputs": n_classes or 1,
            "n_trees": len(fitted.roots),
            "n_nodes": len(fitted.value),
            "depth": fitted.depth,
        }
    )
    scores = TreeScores(described)
    scores.load_state_dict(_tensors(fitted))
    said = scores(torch.from_numpy(features).float())
    found = said[:, 0] if n_classes is None else said.softmax(1)
    np.testing.assert_allclose(found.numpy(), before, rtol=2e-6, atol=2e-6)  # a wrong leaf would be 1e-3 or more


def test_a_rounded_threshold_decides_as_its_float64_for_every_float32() -> None:
    rng = np.random.default_rng(0)
    thresholds = np.concatenate([rng.normal(size=500), 10.0 ** rng.uniform(-30, 30, 500), [0.0, 1e300, -1e300, np.inf]])
    rounded = rounded_down(thresholds)
    assert rounded.dtype == np.float32
    near = thresholds.clip(-3e38, 3e38).astype(np.float32)
    for step in (-np.inf, np.inf):
        for values in (near, np.nextafter(near, np.float32(step))):
            np.testing.assert_array_equal(values <= rounded, values.astype(np.float64) <= thresholds)


@pytest.mark.parametrize(
    ("measured", "expected"), [({0: 1.0, 24: 2.0}, 1.0), ({24: 2.0, 48: 3.0}, 2.0), ({48: 3.0}, 3.0), ({1: 9.0}, 7.5)]
)
def test_a_rule_repeats_the_first_value_that_is_there(measured: dict[int, float], expected: float) -> None:
    model = rival_model("last_day", FittedRepeat((0, 24, 48), 7.5), config_of(schema_of(), "lagged"), channel=1)
    inputs = inputs_of(windows_of(schema_of(), 1), has_clock=True)
    inputs["numbers"][:, 1] = torch.tensor([float("nan"), float("inf")]).repeat(N_STEPS // 2)
    for lag, value in measured.items():
        inputs["numbers"][0, 1, N_STEPS - 1 - lag] = value
    assert model(**inputs).tolist() == [[expected]]


def test_what_does_not_fit_is_refused() -> None:
    config = config_of(schema_of(), "summary")
    for name, n_classes in (("logistic", 2), ("boosting", 2)):
        model, inputs, _ = learnt(name, n_classes)
        with pytest.raises(ValueError, match="lengths: a rival looks at full windows; expected none"):
            model(**inputs, lengths=torch.tensor([3]))
    wide = schema_of(n_numeric=9)
    model, inputs, _ = learnt("logistic", 2)
    with pytest.raises(ValueError, match=r"numbers: expected \(n, 2, 168\), found \(3, 9, 168\)"):
        model(**inputs_of(windows_of(wide, 3), has_clock=False))
    with pytest.raises(ValueError, match=r"rival 'r' was trained on 5 features or more, these windows have 35"):
        rival_model("r", mixed_rivals.fitted_shares(np.array([0.5, 0.5]), 5), config)
    with pytest.raises(ValueError, match="2 feature_names for 35 features; give the names of these"):
        rival_model("r", FittedRepeat((0,), 1.0), config, feature_names=("a", "b"))
    with pytest.raises(ValueError, match="channel 2 at lags up to 168: windows have 2 numeric channels of 168 steps"):
        rival_model("r", FittedRepeat((0, 168), 1.0), config, channel=2)
    with pytest.raises(ValueError, match="a rule that repeats needs lags"):
        rival_model("r", FittedRepeat((), 1.0), config)


def saved(folder: Path, name: str = "logistic") -> Iterator[Path]:
    save_rival(folder, learnt(name, 2)[0])
    yield from (folder / "rival.json", folder / "model.safetensors")


def test_folders_that_hold_no_rival_of_this_release_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"rival\.json: not there; run `foresense train air` first"):
        load_rival(tmp_path / "air" / "recordings")
    with pytest.raises(
        FileNotFoundError, match=r"neither mixed\.json nor rival\.json is there; run `foresense train air`"
    ):
        load_shipped(tmp_path / "air" / "recordings")
    description, weights = saved(tmp_path)
    content = json.loads(description.read_text())
    description.write_text(json.dumps({"config": {**content["config"], "n_outptus": 3}}))
    with pytest.raises(
        ValueError, match=r"not a rival of this release: n_outptus: unknown key; did you mean 'n_outputs'"
    ):
        load_rival(tmp_path)
    description.write_text(json.dumps(content))
    state = load_file(weights)
    save_file({name: tensor[:1] for name, tensor in state.items()}, weights)
    with pytest.raises(ValueError, match=r"weights of another rival than .*rival\.json describes"):
        load_rival(tmp_path)


def test_a_folder_ships_a_network_or_a_rival_and_never_both(tmp_path: Path) -> None:
    network = tiny_model()
    save_mixed(tmp_path, network)
    loaded = load_shipped(tmp_path)
    assert type(loaded) is type(network)
    assert not loaded.training
    save_rival(tmp_path, learnt("prevalence", 2)[0])
    with pytest.raises(ValueError, match=r"mixed\.json and rival\.json; expected one of them"):
        load_shipped(tmp_path)
