"""Labels of windows smoothed over time: a hidden Markov model whose states are the classes, decoded by Viterbi.

This file imports numpy only: an artefact carries a copy of it to the device.

Sources: Rabiner, A tutorial on hidden Markov models, Proceedings of the IEEE 77 (1989), section III.B (Viterbi);
Bourlard and Morgan, Connectionist Speech Recognition, 1994, chapter 7 (posterior divided by prior); Willetts et al.,
Statistical machine learning of sleep and physical activity phenotypes, Scientific Reports 8 (2018), and
OxWearables/stepcount `hmm_utils.py` (emissions from predictions on people that were held out).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

MIN_PROBABILITY = 1e-6  # what is less likely counts as this: nothing is impossible, no logarithm is infinite
_SUM_TOLERANCE = 1e-6
_GAP_TOLERANCE = 1e-3  # windows: seconds since 1970 are told to 2e-7 s in float64
_POSTERIOR_TOLERANCE = 0.05  # an int8 softmax counts in steps of 1/256; logits are further off

Kind = Literal["hybrid", "categorical"]


@dataclass(frozen=True, eq=False)
class Hmm:
    """A hidden Markov model over the classes of a classifier.

    Attributes:
        classes: Names of the k classes.
        prior: (k,): share of each class that the classifier's posteriors hold.
        start: (k,): probability of each class in the first window of a sequence.
        transition: (k, k): row = class of a window, column = class of the next one.
        emission: (k, k): row = true class, column = predicted class; None: posterior divided by `prior` (hybrid).

    Raises:
        ValueError: a shape that does not fit the names, values that are no probabilities, rows that do not sum to 1.
    """

    classes: tuple[str, ...]
    prior: np.ndarray
    start: np.ndarray
    transition: np.ndarray
    emission: np.ndarray | None = None

    def __post_init__(self) -> None:
        k = len(self.classes)
        if k == 0 or len(set(self.classes)) != k or not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"hmm: classes must be different names, at least one, found {list(self.classes)}")
        _check_rows("prior", self.prior, (k,))
        _check_rows("start", self.start, (k,))
        _check_rows("transition", self.transition, (k, k))
        if self.emission is not None:
            _check_rows("emission", self.emission, (k, k))

    @property
    def kind(self) -> Kind:
        """How a window speaks for a class."""
        return "hybrid" if self.emission is None else "categorical"

    def log_emission(self, probabilities: np.ndarray) -> np.ndarray:
        """Logarithm of how well each class explains a window, up to a constant of that window.

        Args:
            probabilities: (n, k), posteriors of the classifier.

        Returns:
            (n, k), float64.

        Raises:
            ValueError: not (n, k), or rows that are no probabilities.
        """
        probabilities = _checked_posteriors(probabilities, len(self.classes))
        if self.emission is None:
            return np.asarray(_log(probabilities) - _log(self.prior))
        return np.asarray(_log(self.emission).T[probabilities.argmax(1)])

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold; `from_json` makes the same model of it, bit for bit."""
        return {
            "classes": list(self.classes),
            "prior": self.prior.tolist(),
            "start": self.start.tolist(),
            "transition": self.transition.tolist(),
            "emission": None if self.emission is None else self.emission.tolist(),
        }

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """The model of `to_json`.

        Raises:
            ValueError: keys missing or unknown, values that are no numbers, or no valid model (see the class).
        """
        keys = ["classes", "emission", "prior", "start", "transition"]
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        if found != keys:
            raise ValueError(f"hmm: expected an object with the keys {keys}, found {found}; write it with Hmm.to_json")
        emission = content["emission"]
        return cls(
            classes=tuple(content["classes"]),
            prior=_numbers("prior", content["prior"]),
            start=_numbers("start", content["start"]),
            transition=_numbers("transition", content["transition"]),
            emission=None if emission is None else _numbers("emission", emission),
        )


def fit_hmm(
    probabilities: np.ndarray,
    labels: np.ndarray,
    sequences: np.ndarray,
    *,
    classes: Sequence[str],
    kind: Kind = "hybrid",
    prior: np.ndarray | None = None,
) -> Hmm:
    """Count a model on training people; every count begins at 1, no probability is below 1e-6.

    Args:
        probabilities: (n, k), posteriors of classifiers that have not seen the person of the window (out-of-fold);
            posteriors of seen people are too sure, and would make the emissions so.
        labels: (n,), int: true classes.
        sequences: (n,), int: number of the sequence of each window, windows of one in order of time (`sequences_of`);
            no transition is counted from one sequence to the next.
        classes: Names of the k classes.
        kind: `hybrid`: posterior divided by prior; `categorical`: how often each class is predicted for each true one.
        prior: (k,): of the classes in the classifier's training; default the share in `labels`. A classifier that was
            trained with balanced class weights holds the uniform one. It must be the classifier's: one that is too
            small makes its class win everywhere.

    Raises:
        ValueError: no windows, lengths that differ, labels outside of the classes, a sequence that is cut in two; for
            `hybrid`, a class without windows where no prior is given.
    """
    k, n = len(classes), len(labels)
    probabilities = _checked_posteriors(probabilities, k)
    if n == 0 or labels.shape != (n,) or len(probabilities) != n or sequences.shape != (n,):
        raise ValueError(
            f"fit_hmm: expected as many probabilities, labels and sequence numbers, at least one, "
            f"found {len(probabilities)}, {labels.shape} and {sequences.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= k:
        raise ValueError(
            f"fit_hmm: labels must be integers from 0 to {k - 1}, the index of one of {list(classes)}, "
            f"found {labels.dtype} from {labels.min()} to {labels.max()}"
        )
    if kind not in ("hybrid", "categorical"):
        raise ValueError(f"fit_hmm: no kind {kind!r}; known: ['categorical', 'hybrid']")
    counts = np.bincount(labels, minlength=k)
    if kind == "hybrid" and prior is None and not counts.all():
        raise ValueError(
            f"fit_hmm: no window is {[name for name, count in zip(classes, counts, strict=True) if not count]}, so the "
            "posteriors cannot be divided by its share; leave the class out, give the classifier's prior, or use "
            "kind='categorical'"
        )
    begins, _ = runs(sequences)
    follows = np.ones(n, bool)
    follows[begins] = False
    after = np.flatnonzero(follows)
    return Hmm(
        classes=tuple(classes),
        prior=_shares(counts) if prior is None else np.asarray(prior, float),
        start=_shares(np.bincount(labels[begins], minlength=k)),
        transition=_shares(_pairs(labels[after - 1], labels[after], k)),
        emission=_shares(_pairs(labels, probabilities.argmax(1), k)) if kind == "categorical" else None,
    )


def sequences_of(owners: np.ndarray, starts_s: np.ndarray, *, window_s: float) -> np.ndarray:
    """Number the stretches of windows of one person without a gap of more than one window.

    The gap is the time from the end of a window to the start of the next: one missing window is bridged, two are not.

    Args:
        owners: (n,), int: person of each window; windows of a person lie together.
        starts_s: (n,), seconds: start of each window, ascending within a person.
        window_s: Length of a window, seconds.

    Returns:
        (n,), int64, from 0, ascending.

    Raises:
        ValueError: lengths that differ, a length of window that is not positive, windows of a person that step back in
            time or do not lie together.
    """
    if owners.ndim != 1 or owners.shape != starts_s.shape or not window_s > 0:
        raise ValueError(
            f"sequences_of: expected (n,) owners, (n,) starts and a positive window, "
            f"found {owners.shape}, {starts_s.shape} and {window_s} s"
        )
    runs(owners, "owner")
    same = owners[1:] == owners[:-1]
    steps = np.diff(starts_s)
    back = np.flatnonzero(same & ~(steps > 0))
    if len(back):
        raise ValueError(
            f"sequences_of: window {back[0] + 1} of person {owners[back[0]]} does not start after the one before it "
            f"({starts_s[back[0] + 1]} s after {starts_s[back[0]]} s); sort the windows of each person by time"
        )
    breaks = ~same | (steps > (2 + _GAP_TOLERANCE) * window_s)
    return np.concatenate([np.zeros(min(1, len(owners)), np.int64), np.cumsum(breaks, dtype=np.int64)])


def smooth(hmm: Hmm, probabilities: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """The most likely course of classes of each sequence (Viterbi, in logarithms, all sequences at once).

    Windows are laid out by time, then by sequence, the longest first, so the loop over time sees whole blocks and no
    padding: memory is that of `probabilities`, however different the lengths are. Of equally likely classes the first
    one counts.

    Args:
        hmm: The model.
        probabilities: (n, k), posteriors of the classifier.
        sequences: (n,), int: number of the sequence of each window, windows of one in order of time.

    Returns:
        (n,), int64: a class for each window, in the order given.

    Raises:
        ValueError: shapes that do not fit, rows that are no probabilities, a sequence that is cut in two.
    """
    emission = hmm.log_emission(probabilities)
    if sequences.shape != (len(emission),):
        raise ValueError(f"smooth: {len(emission)} windows, but sequence numbers of shape {sequences.shape}")
    place, edges = _by_time(sequences)
    scores = np.empty(emission.shape[::-1])  # (k, n)
    scores[:, place] = emission.T
    blocks = [slice(first, last) for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    transition = _log(hmm.transition)
    before = np.empty((len(hmm.classes), 0))
    for number, block in enumerate(blocks):
        heard = scores[:, block]
        before = _advance(before[:, : heard.shape[1]], heard, transition) if number else _start(hmm, heard)
        scores[:, block] = before
    states = np.empty(len(place), np.int64)
    later = states[:0]
    for block in reversed(blocks):
        reached = scores[:, block].copy()
        reached[:, : len(later)] += transition[:, later]
        states[block] = later = reached.argmax(0)
    return np.asarray(states[place])


class Smoother:
    """The same smoothing as windows come in, on a device: fixed-lag Viterbi.

    The label of a window is told `lag` windows later, from all windows heard until then: it is what `smooth` gives for
    that window when the sequence ends at the newest one. With a lag of at least the length of the sequence less one,
    the labels are those of `smooth`. With lag 0 a label comes at once, and knows the past only.

    Source: Rabiner 1989, section III.B; the fixed lag is the truncated traceback of Forney, The Viterbi algorithm,
    Proceedings of the IEEE 61 (1973), section III.
    """

    def __init__(self, hmm: Hmm, *, lag: int) -> None:
        if lag < 0:
            raise ValueError(f"a smoother's lag is 0 windows or more, found {lag}")
        self._hmm, self._lag = hmm, lag
        self._transition = _log(hmm.transition)
        self._scores: deque[np.ndarray] = deque(maxlen=lag + 1)  # (k, 1) each, newest last
        self._n_heard = 0

    def step(self, probabilities: np.ndarray) -> int | None:
        """Hear one window.

        Args:
            probabilities: (k,), posteriors of the classifier.

        Returns:
            The class of the window that came `lag` windows before; None while there is none.

        Raises:
            ValueError: not (k,), or no probabilities; nothing was heard then.
        """
        heard = self._hmm.log_emission(np.asarray(probabilities)[None]).T
        self._scores.append(
            _advance(self._scores[-1], heard, self._transition) if self._scores else _start(self._hmm, heard)
        )
        self._n_heard += 1
        return self._course()[0] if self._n_heard > self._lag else None

    def finish(self) -> list[int]:
        """End the sequence (a gap, another person): classes of the windows not told yet; the next step begins anew."""
        untold = min(self._n_heard, self._lag)
        told = self._course()[-untold:] if untold else []
        self._scores.clear()
        self._n_heard = 0
        return told

    def _course(self) -> list[int]:
        """The most likely classes of the windows that are still held, oldest first."""
        newest_first = reversed(self._scores)
        course = [int(next(newest_first)[:, 0].argmax())]
        course.extend(int((scores[:, 0] + self._transition[:, course[-1]]).argmax()) for scores in newest_first)
        return course[::-1]


def _start(hmm: Hmm, heard: np.ndarray) -> np.ndarray:
    """(k, m) scores of the first windows of m sequences."""
    return _levelled(heard + _log(hmm.start)[:, None])


def _advance(before: np.ndarray, heard: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """(k, m) scores of the best course to each class, from those of the window before and what was heard now."""
    return _levelled((before[:, None] + transition[:, :, None]).max(0) + heard)


def _levelled(scores: np.ndarray) -> np.ndarray:
    """Best class at 0: only differences count, and a device that runs for years keeps its digits."""
    return np.asarray(scores - scores.max(0))


def _by_time(sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each window lies when they are sorted by time, then by sequence, the longest first.

    Returns:
        place (n,), and the edges (longest + 1,) of the blocks of equal time.
    """
    begins, lengths = runs(sequences)
    rank = np.empty(len(begins), np.int64)
    rank[np.argsort(-lengths, kind="stable")] = np.arange(len(begins))
    time = np.arange(len(sequences)) - np.repeat(begins, lengths)
    edges = np.concatenate([[0], np.cumsum(np.bincount(time))]).astype(np.int64)
    return edges[time] + np.repeat(rank, lengths), edges


def runs(numbers: np.ndarray, what: str = "sequence") -> tuple[np.ndarray, np.ndarray]:
    """Where each stretch of equal numbers begins, and its length: (n_runs,) each.

    Raises:
        ValueError: a number comes back after another one.
    """
    begins = np.flatnonzero(np.concatenate([[True] * min(1, len(numbers)), numbers[1:] != numbers[:-1]]).astype(bool))
    kinds, counts = np.unique(numbers[begins], return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"windows of {what} {kinds[counts > 1][0]} do not lie together; "
            f"sort the windows by {what}, then by time, and give a new number after every gap"
        )
    return begins, np.diff(np.append(begins, len(numbers)))


def _pairs(rows: np.ndarray, columns: np.ndarray, k: int) -> np.ndarray:
    return np.bincount(rows * k + columns, minlength=k * k).reshape(k, k)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Rows of probabilities from counts: add-one smoothing (Laplace), then the floor."""
    smoothed = counts + 1.0
    floored = np.maximum(smoothed / smoothed.sum(-1, keepdims=True), MIN_PROBABILITY)
    return np.asarray(floored / floored.sum(-1, keepdims=True))


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(probabilities, MIN_PROBABILITY)))


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"hmm: {name} must be rows of numbers, all of one length: {error}") from error


def _check_rows(name: str, rows: np.ndarray, shape: tuple[int, ...]) -> None:
    if rows.shape != shape:
        raise ValueError(f"hmm: {name} has the shape {rows.shape}, expected {shape}: one for each class")
    if not np.isfinite(rows).all() or (rows < 0).any():
        raise ValueError(f"hmm: {name} must hold probabilities, found {rows.min()} to {rows.max()}")
    sums = rows.sum(-1)
    if np.abs(sums - 1).max() > _SUM_TOLERANCE:
        raise ValueError(f"hmm: every row of {name} must sum to 1, found {np.round(sums, 6).tolist()}")


def _checked_posteriors(probabilities: np.ndarray, k: int) -> np.ndarray:
    """(n, k), float64, checked."""
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != k:
        raise ValueError(f"probabilities have the shape {probabilities.shape}, expected (n_windows, {k})")
    wrong = np.flatnonzero(~((probabilities >= 0).all(1) & (np.abs(probabilities.sum(1) - 1) <= _POSTERIOR_TOLERANCE)))
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {len(probabilities)} rows are no probabilities (not negative, sum 1), "
            f"the first is row {wrong[0]}: {np.round(probabilities[wrong[0]], 4).tolist()}; give softmax, not logits"
        )
    return probabilities
