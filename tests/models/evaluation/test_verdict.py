"""Every verdict, on scores made by hand."""

import json

import numpy as np
import pytest

from ncs4cvr.models.evaluation.verdict import Rows, verdict
from ncs4cvr.schemas.log import Label, Log
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Product, Task

LOG = Log(
    events="e.csv",
    labels=(
        Label("click", "click"),
        Label("conversion", "conversion", given="click"),
        Label("watched", "played", over="duration"),
    ),
)


def recipe(*gates, **changes):
    options = {
        "tasks": (Task("ctr", "click"), Task("cvr", "conversion", given="click")),
        "products": (Product("ctcvr", ("ctr", "cvr"), "conversion"),),
        "slices": ("tab",),
        **changes,
    }
    return Recipe("r", LOG, features=(), gates=gates, **options)


def gate(metric="ctr_auc", **bounds):
    return Gate(metric, **{"min_positives": 1, **bounds})


#: Clicks on rows 0, 2, 4, 6; conversions on 0 and 4. Four users of two rows, two tabs.
ROWS = Rows(
    labels={
        "click": np.array([1, 0] * 4, np.float32),
        "conversion": np.array([1, 0, 0, 0] * 2, np.float32),
    },
    users=np.repeat(np.arange(4), 2),
    slices={"tab": np.array(["a"] * 4 + ["b"] * 4)},
)
#: One of the 16 pairs of a click and none is in the wrong order: .55 lies above .5.
CTR = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.5, 0.55])
SCORES = {"ctr": CTR, "cvr": np.array([0.9, 0, 0.2, 0, 0.8, 0, 0.1, 0]), "ctcvr": CTR / 2}
BEST = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4])


def of(found, output="ctr"):
    return found["outputs"][output]


# -- measured ------------------------------------------------------------------------------------


def test_an_auc_is_the_share_of_pairs_in_order_and_comes_with_an_interval():
    ctr = of(verdict(recipe(gate(at_least=0.5)), ROWS, SCORES, None))
    assert ctr["value"] == pytest.approx(15 / 16)
    assert ctr["interval"][0] <= 15 / 16 <= ctr["interval"][1]
    assert (ctr["rows"], ctr["positives"], ctr["share"]) == (8, 4, 0.5)


def test_a_post_click_output_is_judged_on_clicked_rows():
    cvr = of(verdict(recipe(gate(at_least=0.5)), ROWS, SCORES, None), "cvr")
    assert (cvr["rows"], cvr["positives"], cvr["given"]) == (4, 2, "click")
    assert cvr["value"] == 1
    assert cvr["calibration"] == {
        "predicted": pytest.approx(0.5),
        "observed": 0.5,
        "ratio": pytest.approx(1.0),
    }


def test_deciles_are_equal_parts_in_the_order_of_the_predictions():
    p, y = np.arange(40) / 40, (np.arange(40) % 4 == 0).astype(np.float32)
    rows = Rows({"click": y, "conversion": y}, np.arange(40), {})
    scores = {"ctr": p, "cvr": p, "ctcvr": p}
    parts = of(verdict(recipe(gate(at_least=0.0), slices=()), rows, scores, None))["deciles"]
    assert [part["rows"] for part in parts] == [4] * 10
    assert [part["observed"] for part in parts] == [0.25] * 10
    assert [p["predicted"] for p in parts] == pytest.approx([(4 * k + 1.5) / 40 for k in range(10)])


def test_gauc_asks_every_user_alone():
    # Within users 0 to 2 the click is on top, within user 3 it is not: 3 of 4 users of two rows.
    assert of(verdict(recipe(gate(at_least=0.5)), ROWS, SCORES, None))["gauc"] == 0.75


def test_slices_have_an_auc_of_their_own():
    a, b = of(verdict(recipe(gate(at_least=0.5)), ROWS, SCORES, None))["slices"]
    assert (a["column"], a["slice"], a["rows"], a["positives"]) == ("tab", "a", 4, 2)
    assert a["value"] == 1.0
    assert b["value"] == 0.75
    assert a["allowed"] is None
    assert a["interval"] is None  # of two positives: it would say nothing


def test_a_ratio_is_measured_by_its_squared_error():
    watched = np.array([0, 0.5, 1, 1, 0, 0.5, 1, 1])
    rows = Rows({"watched": watched}, ROWS.users, {})
    one = recipe(
        gate("watch_calibration", at_most=2),
        tasks=(Task("watch", "watched", loss="mse"),),
        products=(),
        slices=(),
    )
    found = verdict(one, rows, {"watch": np.full(8, 0.5)}, None)
    assert of(found, "watch")["metric"] == "mse"
    assert of(found, "watch")["value"] == pytest.approx(6 * 0.25 / 8)
    assert of(found, "watch")["positives"] is None
    assert found["verdict"] == "first model"


def test_the_file_is_json_without_nan():
    found = verdict(recipe(gate(at_least=0.5)), ROWS, SCORES, SCORES)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# -- the verdicts --------------------------------------------------------------------------------


def test_without_a_blessed_model_a_good_one_is_the_first():
    found = verdict(recipe(gate(at_least=0.9, worse_by=0.0)), ROWS, SCORES, None)
    assert (found["verdict"], found["blessed"], found["compared"]) == ("first model", True, False)
    assert found["why"].startswith("first model: no blessed model to compare with, its gate holds")
    assert of(found)["before"] is None


def test_a_model_compared_with_itself_is_blessed_and_differs_by_nothing():
    gates = (gate(at_least=0.9, worse_by=0.0), gate("cvr_auc", worse_by=0.0, slice_worse_by=0.0))
    found = verdict(recipe(*gates), ROWS, SCORES, SCORES)
    assert (found["verdict"], found["blessed"], found["reasons"]) == ("blessed", True, [])
    assert of(found)["before"] == {"value": 15 / 16, "difference": 0, "interval": [0, 0]}
    assert "all 2 gates hold; ctr_auc 0.9375" in found["why"]
    assert "+0.0000 [0.0000, 0.0000] to before" in found["why"]


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ({"at_least": 0.95}, "ctr_auc is 0.9375 [{low:.4f}, {high:.4f}]; it must be at least 0.95"),
        ({"at_most": 0.9}, "it must be at most 0.9"),
        ({"metric": "ctr_calibration", "at_most": 1.0}, "ctr_calibration is 1.0125; it must be"),
    ],
)
def test_a_value_out_of_its_bounds_is_not_blessed(bounds, told):
    found = verdict(recipe(gate(**bounds)), ROWS, SCORES, None)
    low, high = of(found)["interval"]
    assert (found["verdict"], found["blessed"]) == ("not blessed", False)
    assert told.format(low=low, high=high) in found["reasons"][0]
    assert found["why"] == f"not blessed: {found['reasons'][0]}"
    assert found["gates"][0]["holds"] is False
    assert found["gates"][0]["why"] == found["reasons"]


@pytest.mark.parametrize(("margin", "word"), [(0.0626, "blessed"), (0.0624, "not blessed")])
def test_the_difference_must_keep_the_margin(margin, word):
    """The best scores have an AUC of 1; ours are 1 / 16 below."""
    before = {**SCORES, "ctr": BEST}
    found = verdict(recipe(gate(worse_by=margin)), ROWS, SCORES, before)
    assert found["verdict"] == word
    if word != "blessed":
        assert "ctr_auc is 0.0625 below the last blessed model's" in found["reasons"][0]
        assert "it may be 0.0624 below" in found["reasons"][0]


def test_at_a_confidence_the_end_of_the_interval_must_keep_the_margin():
    """Where user 3 is drawn three or four times, the difference is larger than 1 / 16."""
    before = {**SCORES, "ctr": BEST}
    found = verdict(recipe(gate(worse_by=0.07, confidence=0.95)), ROWS, SCORES, before)
    assert found["verdict"] == "not blessed"
    assert "at confidence 0.95 (difference -0.0625" in found["reasons"][0]
    # Whoever is drawn, no replicate can lose more than every pair.
    assert verdict(recipe(gate(worse_by=1.0, confidence=0.95)), ROWS, SCORES, before)["blessed"]


def many(users=400):
    """Two tabs of `users` users each; the new scores are noise in tab b."""
    rng = np.random.default_rng(3)
    labels = np.tile([1.0, 0.0], 2 * users).astype(np.float32)
    tab = np.repeat(["a", "b"], 2 * users)
    old = labels + rng.normal(size=len(labels))
    new = np.where(tab == "b", rng.normal(size=len(labels)), old)
    rows = Rows(
        {"click": labels, "conversion": labels}, np.repeat(np.arange(2 * users), 2), {"tab": tab}
    )
    return rows, *({"ctr": s, "cvr": s, "ctcvr": s} for s in (new, old))


def test_a_slice_that_surely_fell_is_named_with_what_was_allowed():
    rows, new, old = many()
    found = verdict(recipe(gate(slice_worse_by=0.1)), rows, new, old)
    assert found["verdict"] == "not blessed"
    (reason,) = found["reasons"]
    assert "ctr_auc of tab=b is 0.2" in reason
    assert "it may be 0.1 below" in reason
    a, b = of(found)["slices"]
    assert (a["holds"], b["holds"]) == (True, False)
    assert b["allowed"] == pytest.approx(b["before"]["value"] - 0.1)


def test_a_slice_that_may_have_fallen_by_chance_is_no_reason():
    rows, new, old = many(users=20)
    found = verdict(recipe(gate(slice_worse_by=0.2)), rows, new, old)
    assert of(found)["slices"][1]["before"]["difference"] < -0.2
    assert found["verdict"] == "blessed"


def test_a_large_slice_has_an_interval_and_a_paired_difference():
    rows, new, old = many()
    a, b = of(verdict(recipe(gate(at_least=0.1)), rows, new, old))["slices"]
    assert a["before"]["interval"] == [0, 0]
    assert a["interval"][0] < a["value"] < a["interval"][1]
    assert b["before"]["interval"][1] < 0


@pytest.mark.parametrize("bounds", [{"slices": ("tab",)}, {"min_positives": 401}])
def test_only_chosen_and_large_enough_slices_are_held_to_something(bounds):
    rows, new, old = many()
    other = recipe(gate(slice_worse_by=0.1, **bounds), slices=("tab", "hour"))
    tabs = {"tab": np.full(len(rows.users), "x"), "hour": rows.slices["tab"]}
    found = verdict(other, Rows(rows.labels, rows.users, tabs), new, old)
    hours = [each for each in of(found)["slices"] if each["column"] == "hour"]
    assert [each["allowed"] for each in hours] == [None, None]


def test_too_few_positives_are_a_verdict_of_their_own():
    found = verdict(recipe(gate("cvr_auc", at_least=0.5, min_positives=3)), ROWS, SCORES, SCORES)
    assert (found["verdict"], found["blessed"]) == ("too few to judge", False)
    assert "cvr has 2 positive rows; 3 are needed" in found["reasons"][0]
    assert "cvr has 2 negative rows; 3 are needed" in found["reasons"][1]
    assert found["why"].endswith("(and 1 more)")


def test_too_few_positives_do_not_hide_a_gate_that_failed():
    gates = (gate("cvr_auc", at_least=0.5, min_positives=3), gate(at_least=0.95))
    found = verdict(recipe(*gates), ROWS, SCORES, None)
    assert found["verdict"] == "not blessed"
    assert found["reasons"][0].startswith("ctr_auc is 0.9375")
    assert len(found["reasons"]) == 3


def test_an_output_that_the_blessed_model_lacks_is_not_compared():
    found = verdict(recipe(gate(worse_by=0.0)), ROWS, SCORES, {"cvr": SCORES["cvr"]})
    assert found["verdict"] == "blessed"
    assert of(found)["before"] is None
    assert of(found, "cvr")["before"]["difference"] == 0
