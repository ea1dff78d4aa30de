"""Windows of people: one stretch, one label, one group of people for each person."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresense.config.activity import ActivityWindowConfig
from foresense.signals import SignalError
from foresense.signals.labelled import (
    LabelledRecording,
    LabelledSet,
    open_labelled_windows,
    read_labelled,
    write_labelled,
    write_labelled_windows,
)
from foresense.windows.labelled import build_labelled_windows, deal_people

RATE = 10.0


def person(name: str, runs: list[tuple[int, int]], cuts: tuple[int, ...] = (), start_ns: int = 0) -> LabelledRecording:
    """Runs of (label, samples), end to end; stretches begin at 0 and at the sample numbers `cuts`."""
    labels = np.concatenate([np.full(n, label, np.int16) for label, n in runs])
    stretches = np.array([0, *cuts], np.int64)
    samples = np.arange(len(labels), dtype=np.float32)[:, None] * np.ones(3, np.float32)
    return LabelledRecording(name, samples, labels, stretches, start_ns + (stretches * 10**8))


def people(*found: LabelledRecording, classes: tuple[str, ...] = ("a", "b")) -> LabelledSet:
    return LabelledSet(found, ("x", "y", "z"), ("g", "g", "g"), RATE, classes, has_time=True)


def config(**changed: object) -> ActivityWindowConfig:
    return ActivityWindowConfig.model_validate({"length_s": 1.0, "stride_s": 0.5, "n_folds": 3, **changed})


THREE = [person(f"p{n}", [(0, 25), (1, 20)]) for n in range(3)]


def test_no_window_crosses_a_label_or_a_stretch() -> None:
    cut = person("cut", [(0, 40), (-1, 10), (1, 40)], cuts=(15, 70))
    windows, facts = build_labelled_windows(people(cut, *THREE), config())
    own = windows.starts[windows.owners == 0]
    for start, label in zip(own, windows.labels[windows.owners == 0], strict=True):
        assert set(cut.labels[start : start + 10]) == {label}
        assert not [edge for edge in cut.stretches if start < edge < start + 10]
    assert facts["n_samples_unlabelled"] == 10
    assert own.tolist() == [0, 5, 15, 20, 25, 30, 50, 55, 60, 70, 75, 80]


def test_judged_windows_lie_end_to_end_and_the_others_between_them() -> None:
    windows, _ = build_labelled_windows(people(*THREE), config())
    own = windows.owners == 0
    assert windows.starts[own & windows.is_apart].tolist() == [0, 10, 25, 35]
    assert windows.starts[own].tolist() == [0, 5, 10, 15, 25, 30, 35]
    gathered = windows.gather(np.arange(len(windows.starts)))
    assert gathered.shape == (21, 10, 3)
    np.testing.assert_array_equal(gathered[1, :, 0], np.arange(5, 15))


def test_a_sequence_ends_with_the_person_the_stretch_and_a_hole_longer_than_a_window() -> None:
    cut = person("cut", [(0, 20), (-1, 10), (0, 20), (-1, 11), (0, 20), (1, 20)], cuts=(81,))
    windows, _ = build_labelled_windows(people(cut, *THREE), config(stride_s=1.0))
    own = windows.sequences[windows.owners == 0]
    assert [int((own == number).sum()) for number in np.unique(own)] == [4, 2, 2]
    assert set(own).isdisjoint(windows.sequences[windows.owners == 1])


def test_times_are_those_of_the_stretch_and_of_the_rate() -> None:
    start_ns = 1_709_553_600 * 10**9
    windows, _ = build_labelled_windows(people(person("p", [(0, 20), (1, 20)], start_ns=start_ns), *THREE), config())
    assert (windows.times_ns[:3] - start_ns).tolist() == [0, 5 * 10**8, 10**9]
    assert str(windows.local_times()[1]) == "2024-03-04 12:00:00.500000+00:00"


@given(n_people=st.integers(3, 60), n_folds=st.integers(3, 10), seed=st.integers(0, 5))
def test_every_person_is_in_one_group_and_groups_are_alike(n_people: int, n_folds: int, seed: int) -> None:
    folds = deal_people(n_people, n_folds, seed)
    sizes = np.bincount(folds, minlength=n_folds)
    assert sizes.sum() == n_people
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(folds, deal_people(n_people, n_folds, seed))


@pytest.mark.parametrize(
    ("found", "changed", "message"),
    [
        (THREE[:2], {}, r"window\.n_folds is 3, but only 2 people have samples"),
        (THREE, {"length_s": 5.0, "stride_s": 5.0}, r"no run of one label holds a window of 5 s"),
        ([*THREE[:2], person("p", [(0, 30), (1, 5)])], {"length_s": 2.5, "stride_s": 2.5}, r"classes \['b'\] have no"),
        (THREE, {"length_s": 0.15, "stride_s": 0.05}, r"must be whole samples at 10 Hz"),
    ],
)
def test_what_cannot_be_cut_says_why(found: list[LabelledRecording], changed: dict[str, object], message: str) -> None:
    with pytest.raises(SignalError, match=message):
        build_labelled_windows(people(*found), config(**changed))


def test_a_stride_that_does_not_divide_the_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stride_s \(0\.3\) must divide length_s \(1\)"):
        config(stride_s=0.3)


def test_recordings_and_windows_come_back_as_they_were_written(tmp_path) -> None:
    found = people(*THREE)
    write_labelled(tmp_path / "recordings", found, facts={"source": "here"})
    again = read_labelled(tmp_path / "recordings")
    assert (again.classes, again.rate_hz, again.has_time) == (found.classes, found.rate_hz, found.has_time)
    for one, other in zip(found.people, again.people, strict=True):
        assert one.person == other.person
        for name in ("samples", "labels", "stretches", "start_ns"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    windows, _ = build_labelled_windows(again, config())
    write_labelled_windows(tmp_path / "windows", windows)
    opened = open_labelled_windows(tmp_path / "windows")
    for name, value in vars(windows).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(opened, name))
        else:
            assert value == getattr(opened, name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.zeros(3, np.int16)}, "do not fit together"),
        ({"stretches": np.array([0, 90])}, "do not fit together"),
        ({"stretches": np.array([5])}, "stretches must rise from 0"),
        ({"samples": np.full((45, 3), np.nan, np.float32)}, "sample 0 is not finite"),
    ],
)
def test_a_recording_that_is_not_whole_is_refused(changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(SignalError, match=message):
        LabelledRecording(**{**vars(THREE[0]), **changed})
