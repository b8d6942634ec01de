"""The time that a run of cells says it still needs."""

import pytest

from metaiqa_plugin.benchmark.plan import Cell
from metaiqa_plugin.benchmark.time_left import TimeLeft

PRIOR = Cell('shared/a', {'kind': 'prior'}, {})
FIRST = Cell('x/1', {'kind': 'trained', 'method': 'first'}, {})
SECOND = Cell('x/2', {'kind': 'trained', 'method': 'second'}, {})


def test_each_kind_and_method_takes_as_long_as_its_like():
    left = TimeLeft([PRIOR, PRIOR, *[FIRST] * 10, *[SECOND] * 10], at_a_time=2)
    assert left.seconds(1) is None
    left.ended(PRIOR, 1000)
    left.ended(FIRST, 100)
    assert left.seconds(1000) == (1000 + 9 * 100 + 10 * 550) / 2
    left.ended(SECOND, 10)
    assert left.seconds(1000) == (1000 + 9 * 100 + 9 * 10) / 2


def test_a_cell_that_failed_waits_no_more_and_tells_nothing():
    left = TimeLeft([FIRST] * 4, at_a_time=1)
    left.ended(FIRST, None)
    assert left.seconds(5) is None
    left.ended(FIRST, 60)
    assert left.seconds(65) == 120


def test_the_last_cells_do_not_fill_all_places():
    left = TimeLeft([FIRST] * 5, at_a_time=4)
    for _ in range(4):
        left.ended(FIRST, 60)
    assert left.seconds(60) == 60
    left.ended(FIRST, 60)
    assert left.seconds(120) == 0


def test_without_a_number_of_places_it_is_what_was_done_in_the_time():
    left = TimeLeft([FIRST] * 40, at_a_time=None)
    for _ in range(8):
        left.ended(FIRST, 60)
    assert left.seconds(120) == pytest.approx(32 * 60 / 4)
