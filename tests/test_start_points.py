"""The common start points, and settings by their position in a space."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from study_examples import PAPER, SPACE

from harness.plan.start_points import (
    at_unit,
    distinct_settings,
    setting_at,
    start_count,
    start_point,
)


def test_every_setting_of_a_finite_space_has_a_position_of_its_own():
    steps = {
        "K": IntDistribution(2, 10, step=4),
        "flag": CategoricalDistribution(["x", "y"]),
        "rate": FloatDistribution(0.1, 0.7, step=0.2),
    }
    held = [setting_at(position, steps) for position in range(int(distinct_settings(steps)))]
    assert len(held) == 3 * 2 * 4
    assert len({tuple(setting.values()) for setting in held}) == len(held)
    assert {setting["K"] for setting in held} == {2, 6, 10}
    assert {setting["flag"] for setting in held} == {"x", "y"}
    assert sorted({setting["rate"] for setting in held}) == pytest.approx([0.1, 0.3, 0.5, 0.7])


@pytest.mark.parametrize(("trials", "starts"), [(1, 1), (3, 1), (4, 2), (30, 10), (40, 14)])
def test_about_a_third_of_the_trials_are_common_start_trials(trials, starts):
    assert start_count(trials) == starts


def test_start_points_fill_the_space_and_do_not_depend_on_how_many_there_are():
    points = [start_point(i, SPACE, PAPER, 0) for i in range(33)]
    assert points == [start_point(i, SPACE, PAPER, 0) for i in range(33)]
    ks = [point["K"] for point in points[1:]]
    assert min(ks) <= 3
    assert max(ks) >= 40
    assert all(2 <= k <= 50 for k in ks)
    assert all(0.05 <= point["tau"] <= 0.5 for point in points)


def test_a_paper_value_outside_the_range_is_cut_to_it():
    assert start_point(0, SPACE, {"K": 65, "tau": 0.2}, 0)["K"] == 50


def test_units_map_to_the_ends_of_a_distribution():
    assert at_unit(0.0, SPACE["K"]) == 2
    assert at_unit(0.999999, SPACE["K"]) == 50
    assert distinct_settings({"K": IntDistribution(2, 4)}) == 3
    assert distinct_settings(SPACE) == float("inf")
