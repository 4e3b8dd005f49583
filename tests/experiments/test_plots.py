"""Plots show the numbers that they are given."""

import matplotlib as mpl
import numpy as np
import pytest

from sensorium.core.pages import figure
from sensorium.experiments import plots
from sensorium.experiments.plots import Interval, Line

NONE = float("nan")


def test_dots_stand_at_the_means_between_the_ends_of_their_intervals():
    values = {"first": Interval(0.4, 0.35, 0.45), "second": Interval(0.3, NONE, NONE)}
    axes = plots.dots(values, "recall@20").axes[0]
    lines = [line.get_xdata().tolist() for line in axes.lines]
    assert [0.35, 0.45] in lines
    assert [0.4] in lines
    assert [0.3] in lines
    assert len(lines) == 3  # no whisker without an interval
    low, high = axes.get_ylim()
    assert low > high  # the first label stands on top
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]


def test_curves_of_one_label_share_a_colour_and_mark_the_selected_epoch():
    series = {"bpr": [Line([1, 2, 3], [0.1, 0.3, 0.2], 2), Line([1, 2], [0.2, 0.1], 1)], "vbpr": [Line([1], [0.4])]}
    axes = plots.curves(series, x="epoch", y="recall@20", title="Learning").axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1]
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert curves[0].get_color() == curves[1].get_color()
    assert marks == [(2, 0.3), (1, 0.2)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["bpr", "vbpr"]


def test_bars_have_the_heights_and_the_intervals_of_their_group():
    series = {"bpr": [Interval(0.1, 0.05, 0.2), Interval(0.3, NONE, NONE)], "vbpr": [Interval(0.2, 0.1, 0.3)] * 2}
    axes = plots.bars(["cold", "warm"], series, y="recall@20", title="Buckets").axes[0]
    heights = [patch.get_height() for patch in axes.patches]
    assert heights == [0.1, 0.3, 0.2, 0.2]
    left = [patch.get_x() for patch in axes.patches]
    assert left[0] < left[2] < left[1] < left[3]  # side by side within a group, groups apart


def test_a_histogram_keeps_users_without_a_hit_apart():
    values = np.array([0.0] * 6 + [0.5, 0.5, 1.0, 0.01])
    axes = plots.histogram(values, x="recall@20", title="Users").axes[0]
    heights = {round(patch.get_x() + patch.get_width() / 2, 3): patch.get_height() for patch in axes.patches}
    assert heights[-0.05] == pytest.approx(60)
    assert heights[0.025] == pytest.approx(10)
    assert heights[0.525] == pytest.approx(20)
    assert sum(heights.values()) == pytest.approx(100)


def test_points_stand_where_they_are_put():
    axes = plots.points({"a": (0.1, 0.5), "b": (0.2, 0.4)}, x="coverage", y="recall", title="Trade-off").axes[0]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines] == [(0.1, 0.5), (0.2, 0.4)]


def test_plots_leave_the_global_style_alone_and_repeat_byte_by_byte():
    before = dict(mpl.rcParams)
    one, two = (figure(plots.dots({"a": Interval(0.4, 0.3, 0.5)}, "recall"), description="x") for _ in range(2))
    assert dict(mpl.rcParams) == before
    assert one == two
    assert "&lt;b&gt;" in figure(plots.dots({"<b>": Interval(0.4, 0.3, 0.5)}, "recall"), description="x")


def test_a_curve_over_bins_has_a_point_for_each_and_a_band():
    values = [Interval(0.1, 0.05, 0.2), Interval(0.3, 0.2, 0.4), Interval(0.2, 0.1, 0.3)]
    axes = plots.frequency_curve(["0", "1", "2-3"], {"sasrec": values}, y="hit_rate@10", title="Often").axes[0]
    assert axes.lines[0].get_ydata().tolist() == [0.1, 0.3, 0.2]
    assert len(axes.collections) == 1
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2-3"]


def test_a_matrix_prints_its_numbers_and_leaves_gaps_empty():
    axes = plots.matrix(["a", "b"], ["x", "y"], np.array([[0.1, np.nan], [0.25, 0.5]]), title="Transfer").axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.1000", "0.2500", "0.5000"]
