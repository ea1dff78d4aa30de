"""The bound of the landmarks, gathered while the family computes: the same numbers, and each diagram once."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.wrist_reference import wrist_windows
from foresense.features import Contexts, load_family, topological
from foresense.features.topological import H1_MAX, topological_features
from foresense.features.topology_bound import bound_facts, joined, topological_with_bound


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    """Twelve windows of 10 s at 20 Hz, in g."""
    samples = wrist_windows(12, length=200, rate_hz=20.0)
    return Contexts(
        samples, np.zeros(samples.shape, bool), 10 * np.arange(12), ("x", "y", "z"), ("g",) * 3, 0.05, "UTC"
    )


def test_it_is_the_family_of_the_catalog_and_each_diagram_is_computed_once(contexts, monkeypatch) -> None:
    calls: list[int] = []
    rips = topological.rips_bars
    monkeypatch.setattr(topological, "rips_bars", lambda between: (calls.append(1), rips(between))[1])
    features, result = topological_with_bound(contexts)
    assert len(calls) == 12
    plain = load_family("wrist_topology")(contexts)
    assert (features.names, features.units) == (plain.names, plain.units)
    np.testing.assert_array_equal(features.values, plain.values)
    np.testing.assert_array_equal(result.bound, topological_features(contexts.samples, 20.0).bound)


def test_batches_joined_say_what_all_windows_at_once_say(contexts) -> None:
    parts = [
        topological_with_bound(replace(contexts, samples=contexts.samples[rows]))[1] for rows in ([0], range(1, 12))
    ]
    assert bound_facts(joined(parts)) == bound_facts(topological_features(contexts.samples, 20.0))


def test_the_share_is_of_windows_whose_longest_loop_may_be_of_the_landmarks_alone(contexts) -> None:
    _, result = topological_with_bound(contexts)
    values = result.values.copy()
    values[:, H1_MAX] = [*np.full(3, 0.5), *np.full(9, 0.1)]
    made = replace(result, values=values, bound=np.full(12, 0.1))
    found = bound_facts(made)
    assert found["share_within_bound"] == 0.75  # a loop as long as the bound is not longer than it
    assert found["bound_g"] == {"p50": 0.1, "p95": 0.1}
    assert found["longest_loop_g"] == {"p50": 0.1, "p95": 0.5}
    assert (found["n_windows"], found["n_points"]) == (12, 196)
    assert found["statement"].startswith("In 9 of 12 windows (75%) the bound is at least as long as the longest loop")
    assert bound_facts(replace(made, bound=np.zeros(12)))["share_within_bound"] == 0


def test_other_units_and_other_results_are_refused(contexts) -> None:
    with pytest.raises(ValueError, match=r"wrist_topology expects three channels in g, found x in m/s2"):
        topological_with_bound(replace(contexts, units=("m/s2", "g", "g")))
    _, result = topological_with_bound(replace(contexts, samples=contexts.samples[:2]))
    with pytest.raises(ValueError, match=r"two backends: 'ripser, 100 landmarks.*' and 'other'"):
        joined([result, replace(result, backend="other")])
    with pytest.raises(ValueError, match=r"clouds of 196 and of 490 points"):
        joined([result, replace(result, n_points=490)])
    with pytest.raises(ValueError, match=r"no topological results to join"):
        joined([])
