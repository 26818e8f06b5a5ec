"""The unit cube of a design's free parameters: scales, grids, choices, words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3eda.design.space import Axis, Space, tidy
from m3eda.design.types import Design, Parameter

PARAMETERS = (
    Parameter("w", minimum=1e-7, maximum=1e-4, scale="log"),
    Parameter("m", minimum=1, maximum=99, step=1, scale="log"),
    Parameter("cc", minimum=1e-13, maximum=9.9e-12, step=1e-13, scale="log"),
    Parameter("v", minimum=-0.5, maximum=0.5),
    Parameter("s", minimum=1, maximum=10.5, step=2),
    Parameter("r", choices=(4.7e3, 1e3, 2.2e3)),
    Parameter("model", choices=("lvt", "svt", "hvt")),
    Parameter("same", minimum=2.0, maximum=2.0),
)


def space_of(*parameters):
    return Space(
        Design("space", Path("space.yaml"), {}, {p.name: p for p in parameters}, {}, specs={})
    )


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
@given(x=st.floats(0.0, 1.0))
def test_a_value_comes_back_from_its_unit_coordinate(parameter, x):
    axis = Axis(parameter)
    value = axis.value(x)
    assert axis.value(axis.unit(value)) == value


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
def test_snapping_many_points_equals_one_at_a_time(parameter):
    axis = Axis(parameter)
    x = np.random.default_rng(0).uniform(-0.1, 1.1, 500)
    one = [axis.unit(axis.value(u)) for u in x]
    np.testing.assert_allclose(axis.snap(x), one, atol=1e-9)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
def test_snapping_twice_changes_nothing(parameter):
    axis = Axis(parameter)
    once = axis.snap(np.linspace(0.0, 1.0, 301))
    np.testing.assert_allclose(axis.snap(once), once, atol=1e-12)
    np.testing.assert_array_equal(axis.label(axis.snap(once)), axis.label(once))


@pytest.mark.parametrize(
    ("name", "levels"),
    [("w", np.inf), ("m", 99), ("cc", 99), ("v", np.inf), ("s", 5), ("r", 3), ("same", 1)],
)
def test_the_number_of_values_of_an_axis(name, levels):
    [parameter] = [p for p in PARAMETERS if p.name == name]
    assert Axis(parameter).levels == levels


def test_a_log_axis_has_the_geometric_mean_at_its_centre():
    assert Axis(PARAMETERS[0]).value(0.5) == pytest.approx(10**-5.5)


def test_a_range_that_is_no_whole_number_of_steps_ends_at_its_last_grid_point():
    axis = Axis(PARAMETERS[4])
    assert sorted({axis.value(x) for x in np.linspace(0, 1, 200)}) == [1, 3, 5, 7, 9]


def test_numbers_to_choose_from_are_ordered_and_evenly_spread():
    axis = Axis(PARAMETERS[5])
    assert [axis.value(x) for x in (0.1, 0.5, 0.9)] == [1e3, 2.2e3, 4.7e3]


def test_values_on_a_grid_are_free_of_rounding_dust():
    assert Axis(PARAMETERS[2]).value(Axis(PARAMETERS[2]).unit(3.7e-12)) == 3.7e-12
    assert tidy(37 * 1e-13) == 3.7e-12


def test_a_value_outside_the_range_is_moved_to_its_end():
    assert (Axis(PARAMETERS[3]).unit(7.0), Axis(PARAMETERS[3]).unit(-7.0)) == (1.0, 0.0)


def test_a_word_that_is_not_a_choice_is_an_error():
    with pytest.raises(ValueError, match="not in"):
        Axis(PARAMETERS[6]).unit("ulvt")


def test_a_space_turns_points_into_sizings_and_back():
    space = space_of(*PARAMETERS)
    points = space.snap(np.random.default_rng(1).random((50, len(PARAMETERS))))
    back = np.array([space.unit(space.sizing(point)) for point in points])
    np.testing.assert_allclose(back, points, atol=1e-11)


def test_snapping_leaves_the_given_points_as_they_are():
    points = np.full((2, len(PARAMETERS)), 0.123)
    space_of(*PARAMETERS).snap(points)
    assert (points == 0.123).all()


def test_keys_are_equal_where_sizings_are():
    space = space_of(*PARAMETERS[1:3], *PARAMETERS[4:7])
    points = np.random.default_rng(2).random((3000, 5))
    keys, sizings = space.keys(points), [tuple(space.sizing(p).values()) for p in points]
    assert keys == space.keys(space.snap(points))
    assert len(set(keys)) == len(set(sizings)) == len(set(zip(keys, sizings, strict=True)))


def test_words_become_columns_at_unit_distance_and_numbers_stay():
    space = space_of(PARAMETERS[3], PARAMETERS[6], PARAMETERS[0])
    points = space.snap([[0.2, x, 0.7] for x in (0.1, 0.5, 0.9)])
    features = space.features(points)
    assert features.shape == (3, 5)
    np.testing.assert_array_equal(features[:, [0, 4]], points[:, [0, 2]])
    gaps = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.testing.assert_allclose(gaps, 1.0 - np.eye(3))


def test_the_size_of_a_space_is_the_number_of_its_points():
    assert space_of(PARAMETERS[4], PARAMETERS[5]).size == 15
    assert space_of(PARAMETERS[0], PARAMETERS[5]).size == np.inf
    assert space_of(Parameter("fixed", value=1.0)).size == 1


def test_the_start_of_the_designer_is_kept_and_the_rest_sits_in_the_centre():
    space = space_of(Parameter("w", minimum=1.0, maximum=9.0, start=3.0), PARAMETERS[3])
    np.testing.assert_allclose(space.start(), [0.25, 0.5])
    np.testing.assert_allclose(space.centre(), [0.25, 0.5])


@pytest.mark.parametrize("start", [1e-6, 2.2e-6, 3.3e-5])
def test_the_start_of_the_designer_keeps_its_digits(start):
    space = space_of(Parameter("w", minimum=1e-7, maximum=1e-4, scale="log", start=start))
    assert space.sizing(space.snap(space.start())[0]) == {"w": start}


def test_without_a_start_the_centre_is_that_of_the_cube():
    space = space_of(PARAMETERS[3])
    assert space.start() is None
    np.testing.assert_allclose(space.centre(), [0.5])


GOLDEN_PARAMETERS = (
    *PARAMETERS,
    Parameter("k", minimum=1, maximum=100, step=1),
    Parameter("l", minimum=1e-6, maximum=9e-6, start=3.3e-6),
    Parameter("g", minimum=1e-3, maximum=1.0, scale="log", start=0.025),
    Parameter("e6", choices=(1e3, 1.5e3, 2.2e3, 3.3e3, 4.7e3, 6.8e3), series="E6"),
)
GOLDEN_POINTS = [
    [0.0] * 12, [1.0] * 12, [-0.25, 1.25] * 6, [0.5] * 12,
    *([((7 * i + 3 * j + 1) * 37 % 101) / 101 for j in range(12)] for i in range(6)),
]  # fmt: skip
GOLDEN_SIZINGS = [
    [1e-07, 1.0, 1e-13, -0.5, 1.0, 1000.0, "lvt", 2.0, 1.0, 1e-06, 0.001, 1000.0],
    [0.0001, 99.0, 9.9e-12, 0.5, 9.0, 4700.0, "hvt", 2.0, 100.0, 9e-06, 1.0, 6800.0],
    [1e-07, 99.0, 1e-13, 0.5, 1.0, 4700.0, "lvt", 2.0, 1.0, 9e-06, 0.001, 6800.0],
    [3.16227766017e-06, 10.0, 1e-12, 0.0, 5.0, 2200.0, "svt", 2.0, 51.0, 5e-06, 0.0316227766017,
     3300.0],
    [1.25605859883e-06, 8.0, 1.3e-12, 0.163366336634, 9.0, 4700.0, "hvt", 2.0, 17.0,
     3.05940594059e-06, 0.0117302408872, 2200.0],
    [6.19554060888e-05, 1.0, 2e-13, -0.272277227723, 5.0, 2200.0, "svt", 2.0, 73.0,
     7.57425742574e-06, 0.578597080074, 1000.0],
    [3.05596597738e-06, 15.0, 2.4e-12, 0.292079207921, 9.0, 4700.0, "lvt", 2.0, 29.0,
     4.08910891089e-06, 0.0285394464009, 3300.0],
    [1.50736289929e-07, 2.0, 3e-13, -0.143564356436, 5.0, 2200.0, "svt", 2.0, 85.0,
     8.60396039604e-06, 0.00140771536691, 1000.0],
    [7.43510538726e-06, 28.0, 4.4e-12, 0.420792079208, 1.0, 1000.0, "lvt", 2.0, 42.0,
     5.11881188119e-06, 0.0694359142921, 4700.0],
    [3.66738441987e-07, 4.0, 6e-13, -0.0148514851485, 7.0, 4700.0, "hvt", 2.0, 98.0,
     1.63366336634e-06, 0.00342494392468, 1500.0],
]  # fmt: skip
"""What a run's sizings are made of: another digit here, and no run can be taken up again."""


def test_sizings_are_those_of_ever():
    space = space_of(*GOLDEN_PARAMETERS)
    one = [list(space.sizing(point).values()) for point in GOLDEN_POINTS]
    assert one == GOLDEN_SIZINGS
    assert [list(sizing.values()) for sizing in space.sizings(GOLDEN_POINTS)] == GOLDEN_SIZINGS


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_many_points_at_once_give_what_one_gives(count):
    space = space_of(*GOLDEN_PARAMETERS)
    points = np.random.default_rng(count).uniform(-0.1, 1.1, (count, space.dimension))
    assert space.sizings(points) == [space.sizing(point) for point in points]
    assert space.sizings(points) == [
        {axis.name: axis.value(x) for axis, x in zip(space.axes, point, strict=True)}
        for point in points
    ]
    np.testing.assert_array_equal(space.snap(points), [space.snap(p)[0] for p in points])
    assert space.keys(points) == [space.keys(point)[0] for point in points]


def test_a_point_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="2 coordinates, not 1"):
        space_of(PARAMETERS[0]).sizing([0.1, 0.2])


def test_points_of_a_space_without_axes_are_empty_sizings():
    assert space_of(Parameter("fixed", value=1.0)).sizings(np.empty((3, 0))) == [{}, {}, {}]
