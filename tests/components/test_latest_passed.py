"""A run compares itself with what passed before, never with itself unless asked to."""

import pytest
from tfx.types import standard_artifacts

from ncs4cvr.components.latest_passed import LatestPassed


@pytest.fixture
def model(tmp_path):
    def make(number, exists=True):
        artifact = standard_artifacts.Model()
        artifact.id, artifact.uri = number, str(tmp_path / str(number))
        if exists:
            (tmp_path / str(number)).mkdir()
        return artifact

    return make


def blessing(number, about, passed=1):
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("about", about)
    artifact.set_int_custom_property("passed", passed)
    return artifact


def latest(candidate, earlier, blessings, **options):
    strategy = LatestPassed("about", "passed", **options)
    channels = {"candidate": [candidate], "earlier": [candidate, *earlier], "blessing": blessings}
    return [a.id for a in strategy.resolve_artifacts(None, channels)["earlier"]]


def test_the_latest_blessed_one_is_found(model):
    models = [model(1), model(2)]
    assert latest(model(3), models, [blessing(10, 1), blessing(11, 2)]) == [2]


def test_order_is_that_of_the_blessings(model):
    models = [model(1), model(2)]
    assert latest(model(3), models, [blessing(10, 2), blessing(11, 1)]) == [1]


def test_the_candidate_is_not_compared_with_itself(model):
    assert latest(model(3), [model(1)], [blessing(10, 1), blessing(11, 3)]) == [1]
    assert latest(model(4), [], [blessing(11, 4)]) == []


def test_what_did_not_pass_is_no_baseline(model):
    assert latest(model(3), [model(1), model(2)], [blessing(10, 1), blessing(11, 2, 0)]) == [1]


def test_what_was_deleted_is_no_baseline(model):
    models = [model(1), model(2, exists=False)]
    assert latest(model(3), models, [blessing(10, 1), blessing(11, 2)]) == [1]


def test_the_candidate_stands_in_where_asked(model):
    assert latest(model(3), [], [], else_itself=True) == [3]
