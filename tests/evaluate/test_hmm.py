"""Smoothing against a search over all courses, closed forms, laws, and counts by hand."""

import ast
import json
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.evaluate import hmm as hmm_module
from foresense.evaluate.hmm import MIN_PROBABILITY, Hmm, Smoother, fit_hmm, sequences_of, smooth
from foresense.signals import read_json, write_json

NAMES = ("walk", "sit", "stand")
DAY = 8640  # windows of ten seconds


def random_hmm(k: int, rng: np.random.Generator, *, categorical: bool = False) -> Hmm:
    """Rows as uneven as they come, with zeros among them."""

    def rows(*shape: int) -> np.ndarray:
        drawn = rng.random((*shape, k)) * (rng.random((*shape, k)) < 0.8) + 1e-12
        return np.asarray(drawn / drawn.sum(-1, keepdims=True))

    names = tuple(f"class {number}" for number in range(k))
    return Hmm(names, rows(), rows(), rows(k), rows(k) if categorical else None)


def sticky(stay: float, k: int = 2) -> Hmm:
    """Every class alike, and probable to stay."""
    even = np.full(k, 1 / k)
    transition = np.full((k, k), (1 - stay) / (k - 1))
    np.fill_diagonal(transition, stay)
    return Hmm(tuple(f"class {number}" for number in range(k)), even, even, transition)


def posteriors(n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    return rng.dirichlet(np.full(k, 0.7), n)


def likelihood(hmm: Hmm, probabilities: np.ndarray, course: tuple[int, ...]) -> float:
    """Logarithm of the joint probability of a course, term by term."""
    floored = {name: np.log(np.maximum(getattr(hmm, name), 1e-6)) for name in ("prior", "start", "transition")}
    total = floored["start"][course[0]] + sum(floored["transition"][pair] for pair in pairwise(course))
    for row, state in zip(probabilities, course, strict=True):
        if hmm.emission is None:
            total += np.log(max(row[state], 1e-6)) - floored["prior"][state]
        else:
            total += np.log(max(hmm.emission[state, row.argmax()], 1e-6))
    return float(total)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    categorical=st.booleans(),
)
def test_no_course_is_more_likely(seed: int, k: int, lengths: list[int], categorical: bool) -> None:
    rng = np.random.default_rng(seed)
    hmm = random_hmm(k, rng, categorical=categorical)
    sequences = np.repeat(rng.permutation(len(lengths)), lengths)
    probabilities = posteriors(len(sequences), k, rng)
    found = smooth(hmm, probabilities, sequences)
    for number in range(len(lengths)):
        own = sequences == number
        best = max(likelihood(hmm, probabilities[own], course) for course in product(range(k), repeat=int(own.sum())))
        assert likelihood(hmm, probabilities[own], tuple(found[own])) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("stay", [0.6, 0.9, 0.99])
def test_a_single_odd_window_stays_only_when_it_outweighs_two_changes(stay: float) -> None:
    """Course 0 1 0 beats 0 0 0 exactly when log(p / (1 - p)) > 2 log(stay / (1 - stay))."""
    odds = (stay / (1 - stay)) ** 2
    for factor, expected in ((0.99, [0, 0, 0]), (1.01, [0, 1, 0])):
        p = odds * factor / (1 + odds * factor)
        probabilities = np.array([[0.999, 0.001], [1 - p, p], [0.999, 0.001]])
        assert smooth(sticky(stay), probabilities, np.zeros(3, int)).tolist() == expected


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_without_memory_every_window_speaks_for_itself(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    even = np.full(k, 1 / k)
    hmm = replace(sticky(1 / k, k), prior=rng.dirichlet(np.full(k, 3.0)))
    probabilities = np.maximum(posteriors(30, k, rng), 1e-4)
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_array_equal(smooth(hmm, probabilities, np.zeros(30, int)), (probabilities / hmm.prior).argmax(1))
    plain = replace(hmm, prior=even)
    np.testing.assert_array_equal(smooth(plain, probabilities, np.zeros(30, int)), probabilities.argmax(1))


@pytest.mark.parametrize("known", [0, 3, 9])
def test_in_a_fixed_order_one_window_tells_all_others(known: int) -> None:
    """Classes follow each other 0 1 2 0 1 2: the course is told by the only window that says anything."""
    hmm = Hmm(NAMES, np.full(3, 1 / 3), np.full(3, 1 / 3), np.roll(np.eye(3), 1, axis=1))
    probabilities = np.full((10, 3), 1 / 3)
    probabilities[known] = [0.0, 1.0, 0.0]
    np.testing.assert_array_equal(smooth(hmm, probabilities, np.zeros(10, int)), (np.arange(10) - known + 1) % 3)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_all_sequences_at_once_are_the_sequences_one_by_one(seed: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    hmm = random_hmm(3, rng)
    sequences = np.repeat(np.arange(len(lengths)) * 7 % 11, lengths)
    probabilities = posteriors(len(sequences), 3, rng)
    alone = [
        smooth(hmm, probabilities[sequences == number], np.zeros(length, int))
        for number, length in zip(dict.fromkeys(sequences.tolist()), lengths, strict=True)
    ]
    np.testing.assert_array_equal(smooth(hmm, probabilities, sequences), np.concatenate(alone))


def test_one_long_sequence_among_many_short_ones_needs_no_padding() -> None:
    rng = np.random.default_rng(0)
    sequences = np.concatenate([np.zeros(5000, int), 1 + np.arange(3000)])
    probabilities = posteriors(8000, 3, rng)
    tracemalloc.start()
    try:
        found = smooth(random_hmm(3, rng), probabilities, sequences)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.shape == (8000,)
    assert peak < 20 * probabilities.nbytes  # 3001 sequences of 5000 windows would be 1800 times as much


def test_no_windows_have_no_labels() -> None:
    assert smooth(sticky(0.9), np.empty((0, 2)), np.empty(0, int)).shape == (0,)


def counted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nine windows of three sequences, predictions 0 1 1 | 2 2 2 0 | 0 1."""
    labels = np.array([0, 0, 1, 2, 2, 2, 0, 1, 1])
    sequences = np.array([0, 0, 0, 4, 4, 4, 4, 1, 1])
    predicted = np.array([0, 1, 1, 2, 2, 2, 0, 0, 1])
    return 0.1 + 0.7 * np.eye(3)[predicted], labels, sequences


def test_counts_begin_at_one_and_stop_at_a_gap() -> None:
    found = fit_hmm(*counted(), classes=NAMES, kind="categorical")
    np.testing.assert_allclose(found.prior, [4 / 12, 4 / 12, 4 / 12])
    np.testing.assert_allclose(found.start, [2 / 6, 2 / 6, 2 / 6])
    # pairs 0>0, 0>1 | 2>2, 2>2, 2>0 | 1>1; never 1>2 and 0>1, which lie over a gap
    np.testing.assert_allclose(found.transition, [[2 / 5, 2 / 5, 1 / 5], [1 / 4, 2 / 4, 1 / 4], [2 / 6, 1 / 6, 3 / 6]])
    assert found.emission is not None
    np.testing.assert_allclose(found.emission, [[3 / 6, 2 / 6, 1 / 6], [2 / 6, 3 / 6, 1 / 6], [1 / 6, 1 / 6, 4 / 6]])
    assert found.kind == "categorical"
    hybrid = fit_hmm(*counted(), classes=NAMES)
    assert (hybrid.kind, hybrid.emission) == ("hybrid", None)
    np.testing.assert_array_equal(hybrid.transition, found.transition)


def test_no_probability_is_below_the_floor() -> None:
    n = 1_500_000
    labels = np.zeros(n, int)
    labels[-1] = 1
    found = fit_hmm(np.full((n, 2), 0.5), labels, np.zeros(n, int), classes=("a", "b"))
    assert found.transition[0, 1] == pytest.approx(2 / (n + 1), rel=1e-3)
    rare = fit_hmm(np.full((n, 3), 1 / 3), labels, np.zeros(n, int), classes=NAMES, prior=np.full(3, 1 / 3))
    assert rare.transition[0, 2] == pytest.approx(MIN_PROBABILITY, rel=1e-5)
    np.testing.assert_allclose(rare.transition.sum(1), 1)


def test_a_known_world_is_found_again_and_smoothing_mends_most_of_the_errors() -> None:
    rng = np.random.default_rng(0)
    true = sticky(0.97, 3)
    labels = np.empty((30, 2000), int)
    labels[:, 0] = rng.integers(0, 3, 30)
    for at in range(1, 2000):
        leave = rng.random(30) > 0.97
        labels[:, at] = np.where(leave, (labels[:, at - 1] + rng.integers(1, 3, 30)) % 3, labels[:, at - 1])
    sequences = np.repeat(np.arange(30), 2000)
    truth = labels.ravel()
    # Independent windows: likelihood ratio of Gaussians at 0, 1, 2 with deviation 0.6, in closed form.
    heard = truth + 0.6 * rng.normal(size=len(truth))
    likelihoods = np.exp(-((heard[:, None] - np.arange(3)) ** 2) / (2 * 0.36))
    probabilities = likelihoods / likelihoods.sum(1, keepdims=True)
    half = sequences < 15
    for kind, least in (("hybrid", 0.97), ("categorical", 0.955)):
        found = fit_hmm(probabilities[half], truth[half], sequences[half], classes=NAMES, kind=kind)
        np.testing.assert_allclose(found.transition, true.transition, atol=0.01)
        raw = (probabilities[~half].argmax(1) == truth[~half]).mean()
        smoothed = (smooth(found, probabilities[~half], sequences[~half]) == truth[~half]).mean()
        assert raw < 0.75
        assert smoothed > least


def test_the_prior_of_the_classifier_can_be_given() -> None:
    probabilities, labels, sequences = counted()
    given_prior = fit_hmm(probabilities, labels, sequences, classes=NAMES, prior=np.array([0.5, 0.25, 0.25])).prior
    np.testing.assert_array_equal(given_prior, [0.5, 0.25, 0.25])


def test_a_class_without_windows_has_no_share_to_divide_by() -> None:
    probabilities, labels, sequences = counted()
    with pytest.raises(ValueError, match=r"no window is \['stand'\].*give the classifier's prior.*'categorical'"):
        fit_hmm(probabilities, np.minimum(labels, 1), sequences, classes=NAMES)
    fit_hmm(probabilities, np.minimum(labels, 1), sequences, classes=NAMES, kind="categorical")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 14), st.integers(0, 16), st.booleans())
def test_step_by_step_is_the_course_of_what_was_heard(seed: int, k: int, n: int, lag: int, categorical: bool) -> None:
    rng = np.random.default_rng(seed)
    hmm = random_hmm(k, rng, categorical=categorical)
    smoother = Smoother(hmm, lag=lag)
    for _ in range(2):  # the second sequence does not remember the first
        probabilities = posteriors(n, k, rng)
        told = [smoother.step(row) for row in probabilities]
        for at, label in enumerate(told):
            heard = smooth(hmm, probabilities[: at + 1], np.zeros(at + 1, int))
            assert label == (heard[at - lag] if at >= lag else None)
        rest = smoother.finish()
        labels = [label for label in told if label is not None] + rest
        assert len(labels) == n
        whole = smooth(hmm, probabilities, np.zeros(n, int)).tolist()
        assert labels[n - len(rest) :] == whole[n - len(rest) :]
        if lag >= n - 1:
            assert labels == whole


def test_after_a_day_a_label_depends_on_the_recent_windows_only() -> None:
    """A device that began a day ago says what one says that began a hundred windows ago."""
    rng = np.random.default_rng(0)
    hmm = sticky(0.9, 3)
    probabilities = posteriors(DAY, 3, rng)
    smoother = Smoother(hmm, lag=20)
    told = [smoother.step(row) for row in probabilities]
    recent = smooth(hmm, probabilities[-100:], np.zeros(100, int))
    assert told[-50:] == recent[-70:-20].tolist()
    assert smoother.finish() == recent[-20:].tolist()


def test_a_smoother_refuses_what_it_cannot_hear_and_forgets_it() -> None:
    with pytest.raises(ValueError, match="lag is 0 windows or more, found -1"):
        Smoother(sticky(0.9), lag=-1)
    smoother = Smoother(sticky(0.9), lag=1)
    assert smoother.finish() == []
    smoother.step(np.array([0.9, 0.1]))
    with pytest.raises(ValueError, match=r"1 of 1 rows are no probabilities .* the first is row 0: \[nan, 1.0\]"):
        smoother.step(np.array([np.nan, 1.0]))
    assert smoother.finish() == [0]


@pytest.mark.parametrize("categorical", [False, True])
def test_a_model_is_the_same_after_json(tmp_path: Path, categorical: bool) -> None:
    written = random_hmm(4, np.random.default_rng(0), categorical=categorical)
    write_json(tmp_path / "hmm.json", written.to_json())
    read = Hmm.from_json(read_json(tmp_path / "hmm.json"))
    assert (read.classes, read.kind) == (written.classes, written.kind)
    for name in ("prior", "start", "transition", "emission"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "a"]}, r"classes must be different names, at least one, found \['a', 'a'\]"),
        ({"classes": []}, r"classes must be different names, at least one, found \[\]"),
        ({"classes": [1, 2]}, r"classes must be different names, at least one, found \[1, 2\]"),
        ({"prior": [1.0]}, r"prior has the shape \(1,\), expected \(2,\): one for each class"),
        ({"start": [0.5, 0.6]}, r"every row of start must sum to 1, found 1.1"),
        ({"start": ["a", "b"]}, "start must be rows of numbers, all of one length: could not convert"),
        ({"start": None}, r"start has the shape \(\), expected \(2,\)"),
        ({"transition": [[1.0, 0.0], [0.2, 0.7]]}, r"every row of transition must sum to 1, found \[1.0, 0.9\]"),
        ({"transition": [[1.0, 0.0], [1.0]]}, "transition must be rows of numbers, all of one length"),
        ({"transition": [[1.5, -0.5], [0.0, 1.0]]}, "transition must hold probabilities, found -0.5 to 1.5"),
        ({"emission": [[float("nan"), 1.0], [0.0, 1.0]]}, "emission must hold probabilities, found nan"),
        ({"emission": [[1.0], [1.0]]}, r"emission has the shape \(2, 1\), expected \(2, 2\)"),
        ({"priors": [0.5, 0.5]}, r"expected an object with the keys \['classes', .*found \['classes'.*'priors'"),
    ],
)
def test_what_is_no_model_is_not_read(change: dict[str, object], message: str) -> None:
    content = json.loads(json.dumps(sticky(0.9).to_json()))
    with pytest.raises(ValueError, match=f"hmm: .*{message}"):
        Hmm.from_json(content | change)


def test_a_list_is_no_model() -> None:
    with pytest.raises(ValueError, match=r"expected an object with the keys .*, found list; write it with Hmm.to_json"):
        Hmm.from_json([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(8, int)}, r"found 9, \(8,\) and \(9,\)"),
        ({"labels": np.full(9, 3)}, r"from 0 to 2, the index of one of \['walk', .*found int64 from 3 to 3"),
        ({"labels": np.zeros(9)}, "found float64 from 0.0 to 0.0"),
        ({"sequences": np.array([0, 0, 1, 1, 1, 1, 1, 0, 0])}, "windows of sequence 0 do not lie together"),
        ({"probabilities": np.full((9, 3), 3.0)}, "9 of 9 rows are no probabilities .* give softmax, not logits"),
        ({"probabilities": np.full((9, 2), 0.5)}, r"shape \(9, 2\), expected \(n_windows, 3\)"),
        ({"kind": "gaussian"}, r"no kind 'gaussian'; known: \['categorical', 'hybrid'\]"),
        ({"prior": np.array([0.5, 0.5])}, r"prior has the shape \(2,\), expected \(3,\)"),
    ],
)
def test_what_cannot_be_counted_is_refused(change: dict[str, object], message: str) -> None:
    columns = dict(zip(("probabilities", "labels", "sequences"), counted(), strict=True))
    with pytest.raises(ValueError, match=message):
        fit_hmm(**{**columns, "classes": NAMES, **change})  # type: ignore[arg-type]


def test_sequence_numbers_must_be_as_many_as_windows() -> None:
    with pytest.raises(ValueError, match=r"2 windows, but sequence numbers of shape \(3,\)"):
        smooth(sticky(0.9), np.full((2, 2), 0.5), np.zeros(3, int))


def test_a_sequence_ends_with_its_person_and_at_more_than_one_missing_window() -> None:
    owners = np.array([5, 5, 5, 5, 2, 2, 2])
    starts_s = np.array([0.0, 10, 30, 60, 0, 5, 25.1])  # next; one missing; two missing; overlap; 10.1 s of gap
    assert sequences_of(owners, starts_s, window_s=10).tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert sequences_of(owners, 1.7e9 + starts_s / 3, window_s=10 / 3).tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert sequences_of(owners[:0], starts_s[:0], window_s=10).tolist() == []


def test_times_that_are_none_are_refused() -> None:
    owners = np.array([0, 0, 1])
    with pytest.raises(ValueError, match=r"window 1 of person 0 does not start after .*\(5.0 s after 5.0 s\); sort"):
        sequences_of(owners, np.array([5.0, 5.0, 0.0]), window_s=10)
    with pytest.raises(ValueError, match="windows of owner 0 do not lie together"):
        sequences_of(np.array([0, 1, 0]), np.array([0.0, 0.0, 10.0]), window_s=10)
    with pytest.raises(ValueError, match=r"found \(3,\), \(2,\) and 10 s"):
        sequences_of(owners, np.zeros(2), window_s=10)
    with pytest.raises(ValueError, match=r"a positive window, found .* 0 s"):
        sequences_of(owners, np.zeros(3), window_s=0)


def test_a_copy_of_the_file_runs_with_numpy_alone(tmp_path: Path) -> None:
    source = Path(hmm_module.__file__).read_text()
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {name.name for node in imports if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module).split(".")[0] for node in imports if isinstance(node, ast.ImportFrom)}
    assert modules - set(sys.stdlib_module_names) == {"numpy"}
    (tmp_path / "hmm.py").write_text(source)
    (tmp_path / "hmm.json").write_text(json.dumps(sticky(0.9).to_json()))
    script = (
        "import json, sys, numpy, hmm\n"
        "smoother = hmm.Smoother(hmm.Hmm.from_json(json.load(open('hmm.json'))), lag=1)\n"
        "told = [smoother.step(numpy.array(row)) for row in ([0.9, 0.1], [0.3, 0.7], [0.8, 0.2])]\n"
        "print(told, smoother.finish(), 'foresense' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": ""}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[None, 0, 0] [0] False\n"
