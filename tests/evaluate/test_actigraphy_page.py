"""Pictures and the page of one person: drawn, complete, self-contained, and plain about what they are not."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from foresense.evaluate import actigraphy_plots
from foresense.evaluate.actigraphy import METRICS, Clinical, clinical_metrics
from foresense.evaluate.actigraphy_page import NOT_A_DEVICE, peers_of, write_person_page
from foresense.evaluate.actigraphy_plots import clock_text, days_of, plot_actogram, plot_mean_day
from foresense.signals.actigraphy import Minutes

MONDAY = 12058 * 1440 + 12 * 60  # noon of 2003-01-06, minutes since 1970


@pytest.fixture(scope="module")
def clinical() -> Clinical:
    """Seven people; the last one's device lay in a drawer, p<0>'s for one night."""
    rng = np.random.default_rng(0)
    minute = np.arange(5 * 1440)
    asleep = (minute % 1440 >= 11 * 60) & (minute % 1440 < 19 * 60)
    values = np.where(asleep, rng.poisson(1, (7, 5 * 1440)), rng.gamma(1, 300, (7, 5 * 1440)))
    values[0, 1440 + 660 : 1440 + 1140] = 0
    values[6] = 0
    people = ("p<0>", *(f"p{number}" for number in range(1, 7)))
    return clinical_metrics(Minutes(people, values, MONDAY + np.tile(minute, (7, 1)), "counts"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved."""
    figures: list[Figure] = []
    save: Callable[[Figure, Path], None] = actigraphy_plots.save_figure

    def keep(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(actigraphy_plots, "save_figure", keep)
    return figures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_the_days_of_a_person_are_laid_by_the_clock(clinical: Clinical) -> None:
    days = days_of(clinical, "p<0>")
    assert days.first_day.isoformat() == "2003-01-06"
    assert days.activity.shape == (6, 1440)
    assert np.isnan(days.activity[0, :720]).all()
    assert days.is_not_worn.sum() == 480
    assert days.is_not_worn[1, 23 * 60 :].all()
    n_rest = (clinical.nights.ends - clinical.nights.begins)[0].sum()
    assert days.is_rest.sum() == n_rest


def test_an_actogram_says_what_it_shows(clinical: Clinical, tmp_path: Path, drawn: list[Figure]) -> None:
    days = days_of(clinical, "p<0>")
    attention = np.where(np.arange(1440) < 720, 1.0, 0.0) * np.ones((6, 1))
    plot_actogram(tmp_path / "plain.png", "p0", days)
    plot_actogram(tmp_path / "attended.png", "p0", days, attention)
    plain, attended = drawn
    assert {"p0", "Mon 06 Jan", "Sat 11 Jan", "main rest period", "not worn"} <= set(texts(plain))
    assert "the model's attention" not in texts(plain)
    assert "the model's attention" in texts(attended)
    assert len(attended.axes[0].images) == 6
    strip = attended.axes[0].images[0].get_array()
    assert strip is not None
    assert strip[0, :144, 3].min() == 1
    assert strip[0, 144:288, 3].max() == 0
    assert imread(tmp_path / "attended.png").shape == imread(tmp_path / "plain.png").shape


def test_the_mean_day_marks_its_hours(clinical: Clinical, tmp_path: Path, drawn: list[Figure]) -> None:
    plot_mean_day(tmp_path / "day.png", "p1", clinical, "p1")
    plot_mean_day(tmp_path / "none.png", "p6", clinical, "p6")
    said = " ".join(texts(drawn[0]))
    values = {name: value for name, value, _, _ in clinical.of("p1")}
    assert f"L5: {values['l5']:.0f} counts a minute, from {clock_text(values['l5_onset'])}" in said
    assert "M10: " in said
    assert "mean of 5 days" in said or "mean of 6 days" in said
    assert "L5" not in " ".join(texts(drawn[1]))


def test_equal_people_are_equal_pictures_with_nothing_outside(
    clinical: Clinical, tmp_path: Path, drawn: list[Figure]
) -> None:
    for name in ("a", "b"):
        plot_actogram(tmp_path / name, "p1", days_of(clinical, "p1"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    box = drawn[0].get_tightbbox()
    assert box.x0 >= -0.02
    assert box.x1 <= drawn[0].get_figwidth() + 0.02
    assert box.y1 <= drawn[0].get_figheight() + 0.02


class Page(HTMLParser):
    """Text and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def written(clinical: Clinical, person: str, tmp_path: Path, **more: object) -> Page:
    picture = tmp_path / "day.png"
    plot_mean_day(picture, person, clinical, person)
    path = tmp_path / "page.html"
    facts = {"Device": "counter <left>"}
    write_person_page(path, clinical, person, facts=facts, pictures={"The mean day": picture}, **more)  # type: ignore[arg-type]
    page = Page()
    page.feed(path.read_text())
    return page


def test_a_page_is_whole_in_itself_and_says_what_it_is_not(clinical: Clinical, tmp_path: Path) -> None:
    page = written(clinical, "p<0>", tmp_path)
    text = "".join(page.text)
    assert text.count(NOT_A_DEVICE) == 2
    assert NOT_A_DEVICE.startswith("Not a medical device")
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert [address[:22] for address in page.addresses] == ["data:image/png;base64,"]
    assert "Rest and activity: p<0>" in text
    assert "counter <left>" in text
    assert "Mon 06 Jan 2003 12:00 to Sat 11 Jan 2003 11:59 (5.0 days)" in text
    assert "1 stretch(es), the longest 8 h 0 min" in text
    assert "not recorded or not worn" in text or "no rest of at least" in text
    for one in METRICS.values():
        assert one.label in text
        assert one.source in text
    assert "at least 85 %" in text
    assert "Ohayon et al., Sleep Health 3, 2017" in text


def test_a_value_outside_of_a_usual_range_is_marked_in_words(clinical: Clinical, tmp_path: Path) -> None:
    values = {name: value for name, value, _, _ in clinical.of("p1")}
    n_outside = sum(
        not (one.low is None or values[name] >= one.low) or not (one.high is None or values[name] <= one.high)
        for name, one in METRICS.items()
    )
    text = "".join(written(clinical, "p1", tmp_path).text)
    assert text.count("outside of the usual range") == n_outside


def test_a_person_without_metrics_gets_the_reasons(clinical: Clinical, tmp_path: Path) -> None:
    text = "".join(written(clinical, "p6", tmp_path).text)
    reason = "not available: 0 day(s) with at least 10 h of wear, at least 4 are needed"
    assert text.count(reason) == len(METRICS) - 1  # the number of nights is 0
    assert "nan" not in text.lower()


def test_peers_are_percentiles_of_people_measured_alike(clinical: Clinical, tmp_path: Path) -> None:
    peers = peers_of(clinical, np.arange(1, 7), "5 others")
    ratios = clinical.metrics["relative_amplitude"].values[1:6]
    np.testing.assert_allclose(peers.ranges["relative_amplitude"], np.quantile(ratios, [0.05, 0.5, 0.95]))
    assert "acrophase" not in peers.ranges
    assert peers_of(clinical, np.arange(4), "few").ranges.keys() == set()
    text = "".join(written(clinical, "p<0>", tmp_path, peers=peers).text)
    assert "5 others" in text


def test_hours_are_told_as_a_clock_shows_them() -> None:
    assert [clock_text(hour) for hour in (0, 6.5, 23.99, 23.999)] == ["00:00", "06:30", "23:59", "00:00"]
