"""Pictures of a classifier: they are drawn, say what they were given, and are equal for equal numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from foresense.evaluate import class_plots
from foresense.evaluate.class_plots import Bars, StageCost, plot_confusions, plot_costs, plot_scores

CLASSES = ("walk", "sit", "stand")
RAW = np.array([[199, 1, 0], [2, 6, 0], [0, 0, 0]])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved."""
    figures: list[Figure] = []
    save: Callable[[Figure, Path], None] = class_plots.save_figure

    def keep(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(class_plots, "save_figure", keep)
    return figures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_confusion_matrices_stand_side_by_side(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_confusions(tmp_path / "cm.png", "who is who", CLASSES, {"raw": RAW, "smoothed": np.diag([4, 4, 0])})
    (figure,) = drawn
    said = texts(figure)
    assert {"who is who", "raw: 98.6% of 208 windows right", "smoothed: 100.0% of 8 windows right"} <= set(said)
    assert {">99 %\n199", "<1 %\n1", "75 %\n6", "25 %\n2", "0 %\n0"} <= set(said)
    assert said.count("no windows") == 2
    raw, smoothed = (axes.images[0].get_array() for axes in figure.axes[:2])
    assert raw is not None
    assert smoothed is not None
    np.testing.assert_allclose(raw.filled(np.nan)[:2], [[0.995, 0.005, 0], [0.25, 0.75, 0]])
    assert np.isnan(raw.filled(np.nan)[2]).all()
    height, width, _ = imread(tmp_path / "cm.png").shape
    assert width > 1.5 * height


def test_nothing_lies_outside_of_the_picture(tmp_path: Path, drawn: list[Figure]) -> None:
    names = ("moderate-vigorous", "sedentary", "walking up the stairs")
    plot_confusions(tmp_path / "cm.png", "long names", names, {"raw": RAW, "smoothed": RAW})
    plot_scores(tmp_path / "f1.png", "long names", names, {"raw": Bars(np.array([0.9, 0.8, 1.0]))}, "F1")
    plot_costs(tmp_path / "c.png", "costs", [StageCost("topological features", 7.0, 10.0), StageCost("model", 1, 2)])
    for figure in drawn:
        box = figure.get_tightbbox()
        assert box.x0 >= -0.02
        assert box.y0 >= -0.02
        assert box.x1 <= figure.get_figwidth() + 0.02
        assert box.y1 <= figure.get_figheight() + 0.02


def test_bars_have_the_heights_and_lines_of_the_scores(tmp_path: Path, drawn: list[Figure]) -> None:
    raw = Bars(np.array([0.5, 0.75, -0.1]), np.array([[0.4, 0.6], [0.7, 0.8], [np.nan, np.nan]]))
    plot_scores(tmp_path / "f1.png", "F1 by class", CLASSES, {"raw": raw, "smoothed": Bars(np.array([1, 1, 0]))}, "F1")
    axes = drawn[0].axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.5, 0.75, -0.1, 1, 1, 0]
    (lines,) = axes.collections
    np.testing.assert_array_equal([path.vertices[:, 1] for path in lines.get_paths()][:2], [[0.4, 0.6], [0.7, 0.8]])
    assert {"0.50", "0.75", "-0.10", "1.00", "raw", "smoothed", "F1"} <= set(texts(drawn[0]))
    assert axes.get_ylim()[0] < -0.1


def test_costs_name_the_share_of_each_stage_and_mark_the_slowest(tmp_path: Path, drawn: list[Figure]) -> None:
    stages = [StageCost("features", 3.0, 4.5), StageCost("model", 1.0, 1.2), StageCost("smoothing", 0.01, 0.02)]
    plot_costs(tmp_path / "c.png", "what a label costs", stages, limit_ms=20)
    axes = drawn[0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == [3.0, 1.0, 0.01]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] != colours[1] == colours[2]
    assert {
        "3 ms (75 %), p95 4.5 ms",
        "0.01 ms (<1 %), p95 0.02 ms",
        "ms a window, medians add up to 4.01 ms; limit of a label 20 ms at p95",
    } <= set(texts(drawn[0]))


def test_equal_numbers_make_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_confusions(tmp_path / name, "who is who", CLASSES, {"raw": RAW})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
