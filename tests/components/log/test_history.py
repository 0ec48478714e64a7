"""Histories and tallies against one-row-at-a-time definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncs4cvr.components.log.history import (
    Timeline,
    actions,
    before_day,
    hits_and_trials,
    tally_value,
)
from ncs4cvr.schemas.log import Tally

events = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(0, 1)), min_size=1)
pasts = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 1)), max_size=9)


def columns(rows, width=3):
    return [np.array([row[i] for row in rows], np.int64) for i in range(width)]


@given(events, pasts, st.integers(0, 6))
def test_a_past_is_what_lies_strictly_before_and_newest_first(event_rows, past_rows, length):
    event_user, time, hit = columns(event_rows)
    past_user, order, past_hit = columns(past_rows)
    line = Timeline.merge(event_user, time, past_user, order)
    offsets, positions = line.last(np.arange(len(time)), length)
    totals = line.before(np.concatenate([past_hit, hit]))
    for i, (user, now, _) in enumerate(event_rows):
        mine = [(t, h) for u, t, h in event_rows if u == user and t < now]
        old = [(o, h) for u, o, h in past_rows if u == user]
        assert totals[i] == sum(h for _, h in mine) + sum(h for _, h in old)
        newest = [t for t, _ in sorted(mine, reverse=True)] + [0] * len(old)
        taken = positions[offsets[i] : offsets[i + 1]]
        assert line.time[taken].tolist() == newest[:length]
        sources = [s for s in line.source[taken].tolist() if s < len(past_rows)]
        orders = sorted(o for o, _ in old)
        assert [past_rows[s][1] for s in sources] == orders[: len(sources)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 3)), min_size=1))
def test_a_day_is_told_only_what_happened_on_earlier_days(rows):
    key, day, counted = columns(rows)
    assert before_day(key, day, counted).tolist() == [
        sum(c for k2, d2, c in rows if k2 == k and d2 < d) for k, d, _ in rows
    ]


def test_actions_set_bit_i_for_label_i_and_none_for_unknown_ones():
    labels = {"a": np.array([1, 0, -1]), "c": np.array([1, 1, 1])}
    assert actions(labels, ("a", "b", "c"), 3).tolist() == [0b101, 0b100, 0b100]


def test_a_row_whose_label_is_unknown_is_neither_hit_nor_trial():
    labels = {"click": np.array([1, 1, 0, -1]), "conversion": np.array([1, 0, 0, 1])}
    rate = Tally("r", "user", "conversion", "click", prior=0.5, strength=2)
    hits, trials = hits_and_trials(rate, labels, 4)
    assert hits.tolist() == [1, 0, 0, 0]
    assert trials.tolist() == [1, 1, 0, 0]
    per_view = Tally("r", "user", "conversion", "impression", prior=0.5, strength=2)
    assert hits_and_trials(per_view, labels, 4)[0].tolist() == [1, 0, 0, 1]
    assert hits_and_trials(rate, {}, 2)[1].tolist() == [0, 0]


def test_a_rate_starts_at_its_prior_and_moves_to_what_is_counted():
    rate = Tally("r", "user", "click", "impression", prior=0.25, strength=4)
    zero, many = np.array([0]), np.array([10**9])
    assert tally_value(rate, zero, zero).tolist() == [0.25]
    assert tally_value(rate, many, many)[0] == pytest.approx(1)
    assert tally_value(Tally("n", "user"), np.array([3]), zero).tolist() == [3]
