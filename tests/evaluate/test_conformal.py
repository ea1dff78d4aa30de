"""Half widths against order statistics, the law of coverage in closed form, and errors that say what is needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, ecdf

from foresense.evaluate.conformal import coverage, fit_conformal, rank_of, read_conformal, windows_needed


def draw(n: int, *, seed: int = 0, horizon: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, size=(n, horizon, 2))


@given(n=st.integers(1, 400), level=st.floats(0.02, 0.98))
@settings(deadline=None)
def test_a_half_width_is_numpys_higher_quantile_of_the_finite_sample_level(n: int, level: float) -> None:
    residuals = draw(n, seed=n)
    if rank_of(n, level) > n:
        with pytest.raises(ValueError, match="validation windows"):
            fit_conformal(residuals, channels=("a", "b"), level=level)
        return
    found = fit_conformal(residuals, channels=("a", "b"), level=level).half_width
    # the inverse of the empirical distribution function, at ceil((n + 1) level) / n
    share = (rank_of(n, level) - 0.5) / n
    np.testing.assert_array_equal(found, np.quantile(np.abs(residuals), share, axis=0, method="inverted_cdf"))


def test_a_half_width_is_where_scipys_empirical_distribution_reaches_the_level() -> None:
    residuals = draw(99)
    found = fit_conformal(residuals, channels=("a", "b"), level=0.9)
    for step in range(3):
        law = ecdf(np.abs(residuals[:, step, 1])).cdf
        width = found.half_width[step, 1]
        assert law.evaluate(width) == pytest.approx(90 / 99)
        assert law.evaluate(width - 1e-9) < 90 / 99


@given(n=st.integers(9, 60), level=st.sampled_from([0.5, 0.8, 0.9]))
@settings(deadline=None, max_examples=15)
def test_exchangeable_residuals_are_covered_as_the_law_says(n: int, level: float) -> None:
    # Of m new values the number inside is beta-binomial with parameters rank and n + 1 - rank (Vovk 2012).
    rank = rank_of(n, level)
    n_trials, n_new = 800, 40
    rng = np.random.default_rng([n, round(level * 100)])
    inside = np.empty(n_trials)
    for trial in range(n_trials):
        found = fit_conformal(rng.standard_cauchy((n, 1, 1)), channels=("a",), level=level)
        inside[trial] = coverage(found, rng.standard_cauchy((n_new, 1, 1)))[0]
    law = betabinom(n_new, rank, n + 1 - rank)
    assert law.mean() / n_new >= level - 1e-12
    assert inside.mean() == pytest.approx(law.mean() / n_new, abs=5 * law.std() / n_new / n_trials**0.5)
    assert inside.std() == pytest.approx(law.std() / n_new, rel=0.2)


def test_widths_are_by_step_and_channel_and_coverage_is_measured_by_channel() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    validation, test = (rng.normal(size=(4000, 3, 2)) * scale for _ in range(2))
    found = fit_conformal(validation, channels=("a", "b"), level=0.9)
    np.testing.assert_allclose(found.half_width, 1.6449 * scale, rtol=0.06)
    np.testing.assert_allclose(coverage(found, test), 0.9, atol=0.01)
    np.testing.assert_allclose(coverage(found, test * [2.0, 1.0]), [0.589, 0.9], atol=0.015)  # P(|N| < 1.645 / 2)


def test_too_few_windows_are_refused_with_the_number_that_is_needed() -> None:
    assert (windows_needed(0.9), windows_needed(0.5), windows_needed(0.99)) == (9, 1, 99)
    fit_conformal(draw(9), channels=("a", "b"), level=0.9)
    with pytest.raises(ValueError, match=r"level 0\.9 needs 9 validation windows, found 8; make window\.split"):
        fit_conformal(draw(8), channels=("a", "b"), level=0.9)


def test_what_does_not_fit_is_refused() -> None:
    residuals = draw(20)
    with pytest.raises(ValueError, match=r"between 0 and 1, found 1\b"):
        fit_conformal(residuals, channels=("a", "b"), level=1.0)
    with pytest.raises(ValueError, match=r"\(n_windows, horizon, 3\) for the channels"):
        fit_conformal(residuals, channels=("a", "b", "c"))
    residuals[3, 1, 0] = np.nan
    with pytest.raises(ValueError, match="1 residuals are no numbers"):
        fit_conformal(residuals, channels=("a", "b"))
    found = fit_conformal(draw(20), channels=("a", "b"))
    with pytest.raises(ValueError, match=r"shape \(1 or more, 3, 2\), found \(5, 4, 2\)"):
        coverage(found, draw(5, horizon=4))
    with pytest.raises(ValueError, match=r"found \(0, 3, 2\)"):
        coverage(found, draw(0))


def test_written_widths_are_read_back_to_the_bit(tmp_path) -> None:
    found = fit_conformal(draw(50), channels=("a", "b"), level=0.8)
    found.write(tmp_path / "conformal.json")
    again = read_conformal(tmp_path / "conformal.json")
    np.testing.assert_array_equal(again.half_width, found.half_width)
    assert (again.level, again.n_windows, again.channels) == (0.8, 50, ("a", "b"))
