"""What is measured of a served model, against its bounds and its trainer's answers."""

import numpy as np
import pytest

from formula_model import OFF, ROWS
from ncs4cvr.components import serving_replay
from ncs4cvr.components.serving_check import compared, judged

# -- bounds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "value", "told"),
    [
        ("max_load_s", lambda m: m["load_s"], "load takes {:.2f} s; max_load_s allows {:g}"),
        (
            "max_model_mb",
            lambda m: m["model_bytes"] / 1e6,
            "the model's files take {:.2f} MB; max_model_mb allows {:g}",
        ),
        (
            "max_serving_mb",
            lambda m: m["memory_mb"],
            "memory after load is {:.2f} MB; max_serving_mb allows {:g}",
        ),
        (
            "max_p99_ms",
            lambda m: next(
                c["p99_ms"]
                for c in m["calls"]
                if c["signature"] == "serving_default" and c["batch"] == 64
            ),
            "serving_default at batch 64 takes {:.2f} ms (p99); max_p99_ms allows {:g}",
        ),
    ],
)
def test_a_bound_that_does_not_hold_is_named_with_the_value(measured, bound, value, told):
    came = value(measured)
    report = judged(measured, {**OFF, bound: came / 2})
    assert report["failures"] == [told.format(came, came / 2)]
    assert report["blessed"] is False
    assert judged(measured, {**OFF, bound: came})["blessed"] is True


def test_all_bounds_that_do_not_hold_are_named(measured):
    tight = dict.fromkeys(OFF, 1e-9)
    assert len(judged(measured, tight)["failures"]) == 4  # the tolerance is for lossy exports


# -- other answers than the trainer's ------------------------------------------------------


def lossy(measured, served, tolerance):
    """The report on a lossy export whose CTR has these answers."""
    label = np.repeat([0.0, 1.0], 50)
    trainer = np.linspace(0, 1, 100)
    outputs = {"ctr": compared(served(trainer), trainer, label)}
    changed = {**measured, "exact": False, "outputs": outputs}
    return judged(changed, {**OFF, "serving_auc_tolerance": tolerance})


def test_a_lossy_export_may_differ_as_long_as_its_auc_holds(measured):
    assert lossy(measured, np.sqrt, 0.0)["blessed"] is True


def test_a_lossy_export_may_lose_no_more_auc_than_the_tolerance(measured):
    def swapped(trainer):  # the best negative and the worst positive: 1 of 2,500 pairs
        served = trainer.copy()
        served[[49, 50]] = served[[50, 49]]
        return served

    assert lossy(measured, swapped, 0.0005)["blessed"] is True
    assert lossy(measured, swapped, 0.0003)["failures"] == [
        "ctr has an auc of 0.99960, the trainer's 1.00000; "
        "serving_auc_tolerance allows a difference of 0.0003"
    ]


def test_an_answer_that_is_no_number_is_refused(measured):
    def broken(trainer):
        return np.where(trainer > 0.99, np.nan, trainer)

    assert lossy(measured, broken, 1.0)["failures"] == [
        f"ctr is NaN or infinite in 1 of {ROWS} rows"
    ]


def test_an_output_of_one_class_cannot_be_judged_by_its_auc(measured):
    some = np.array([0.1, 0.2])
    outputs = {"ctr": compared(some, some, np.array([1.0, np.nan]))}
    report = judged({**measured, "exact": False, "outputs": outputs}, OFF)
    assert "ctr cannot be judged: its 1 recorded rows are of one class" in report["failures"][0]


def test_a_ratio_is_judged_by_its_squared_error():
    found = compared(np.array([0.5, 0.25]), np.array([0.5, 0.5]), np.array([0.5, 0.75]))
    assert found["metric"] == "mse"
    assert found["served"] == pytest.approx(0.5**2 / 2)
    assert found["trainer"] == pytest.approx(0.25**2 / 2)


@pytest.mark.parametrize("difference", [2e-6, serving_replay.sys.float_info.max])
def test_a_call_that_differs_from_the_other_calls_is_named(measured, difference):
    calls = [dict(call) for call in measured["calls"]]
    calls[3].update(difference=difference, output="cvr")
    (line,) = judged({**measured, "calls": calls}, OFF)["failures"]
    assert line.startswith(f"{calls[3]['signature']} at batch {calls[3]['batch']} differs")
    assert "in cvr; 1e-06 is allowed" in line


@pytest.mark.parametrize(("difference", "passes"), [(0.01, True), (0.1, False)])
def test_ways_to_round_to_bfloat16_may_differ_from_each_other(measured, difference, passes):
    calls = [{**call, "difference": difference, "output": "ctr"} for call in measured["calls"]]
    report = judged({**measured, "exact": False, "bf16": True, "outputs": {}, "calls": calls}, OFF)
    assert report["blessed"] is passes
    assert passes or "in ctr; 0.05 is allowed" in report["failures"][0]
