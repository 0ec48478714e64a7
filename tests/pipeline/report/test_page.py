"""What the page says of the facts, and that nothing of a log becomes markup."""

import re

import pytest

from ncs4cvr.pipeline.report import card
from ncs4cvr.pipeline.report.page import page
from ncs4cvr.pipeline.run import history


def words(markup: str) -> str:
    """The text that is seen, in one line."""
    body = markup[markup.index("<body>") :]
    return " ".join(re.sub(r"<title>.*?</title>|<[^>]*>", " ", body).split())


def test_the_verdict_is_the_first_heading_and_says_what_is_served(facts):
    seen = words(page(facts))
    assert seen.index("Pushed") < seen.index("Every row accounted for")
    assert "Version 1641524500 is what users get now." in seen
    assert "Blessed: all 2 gates hold; cvr_auc 0.6744 [0.6600, 0.6900]." in seen


@pytest.mark.parametrize(
    ("state", "headline"),
    [
        (history.NOT_BLESSED, "Not pushed: the model did not pass"),
        (history.NOT_PUSHED, "Not pushed, though it passed"),
        (history.REFUSED, "Not pushed: the data was refused"),
        (history.FAULT, "Not pushed: the run broke off"),
        (history.INTERRUPTED, "Not pushed: the run was interrupted"),
    ],
)
def test_a_run_that_pushed_nothing_says_so_and_what_users_still_get(facts, state, headline):
    facts["verdict"] |= {"state": state, "pushed": False}
    seen = words(page(facts))
    assert headline in seen
    assert "Users still get version 1641524500, pushed 2022-01-07 03:01 UTC." in seen


def test_every_reason_of_a_model_that_did_not_pass_is_listed(facts):
    facts["verdict"] |= {"state": history.NOT_BLESSED, "pushed": False}
    facts["model"]["reasons"] = ["cvr_auc is 0.5; it must be at least 0.6", "too few positives"]
    facts["serving"]["failures"] = ["load takes 99 s; max_load_s allows 5"]
    seen = words(page(facts))
    for reason in (*facts["model"]["reasons"], *facts["serving"]["failures"]):
        assert reason in seen


def test_a_run_that_the_data_gate_stopped_shows_what_there_is(facts):
    facts["verdict"] |= {
        "state": history.REFUSED, "pushed": False, "component": "DataGate",
        "message": "the data is not what the schema says:\n  city in test: came: Bergen",
    }  # fmt: skip
    facts["data"]["gate"] = {"state": "refused", "complaints": ["city in test: came: Bergen"]}
    facts |= {"model": None, "serving": None, "training": None}
    facts["sharing"]["tickets"] = None
    seen = words(page(facts))
    assert "Not pushed: the data was refused in DataGate" in seen
    assert "city in test: came: Bergen" in seen
    assert "The run ended before a model was judged." in seen
    assert "The run ended before tickets were found." in seen
    assert "3,010 = 2,000 train + 1,000 test + 7 duplicates + 3 dead letters" in seen


def test_a_run_that_read_nothing_has_a_page(facts):
    facts["verdict"] |= {"state": history.FAULT, "pushed": False, "message": "no file matches"}
    facts |= {"rows": None, "model": None, "serving": None, "training": None, "memory": []}
    facts["data"]["changes"] = None
    facts["sharing"]["tickets"] = None
    facts["lineage"] |= {"served": None, "artifacts": []}
    seen = words(page(facts))
    assert "nothing was counted" in seen
    assert "Nothing is served: no version has been pushed yet." in seen


def test_tasks_that_share_without_tickets_say_so(facts):
    facts["sharing"] |= {"kind": "single_task", "tickets": None}
    assert "The tasks share by single_task, which has no tickets." in words(page(facts))


def test_the_first_data_has_nothing_to_compare_with(facts):
    facts["data"]["changes"] |= {"earlier": None, "drift": []}
    assert "There is no earlier data that passed" in words(page(facts))


def test_a_column_near_its_limit_is_told_of(facts):
    seen = words(page(facts))
    assert "Largest drift 75 % of what is allowed: city" in seen
    assert "1 of 1 columns used up half of what is allowed or more" in seen


def test_rows_that_were_lost_are_told_of(facts):
    facts["rows"][0]["holds"] = False
    assert "Rows were lost" in words(page(facts))


def test_a_difference_to_the_last_model_has_its_interval(facts):
    before = {"value": 0.6784, "difference": -0.004, "interval": [-0.006, -0.002]}
    facts["model"]["outputs"]["cvr"]["before"] = before
    seen = words(page(facts))
    assert "−0.0040 to the last blessed model" in seen
    assert "−0.0060 to −0.0020" in seen


def test_cached_components_are_shown_as_cached(facts):
    seen = words(page(facts))
    assert "Transform cached" in seen
    assert "1 of 2 components were taken from the cache." in seen


def test_nothing_of_a_log_becomes_markup(hostile):
    made = page(hostile)
    assert "<script" not in made
    assert "<img" not in made
    assert "\x00" not in made
    assert "‮" not in made  # would turn the text after it around
    assert "&lt;script&gt;alert(1)" in made


def test_the_page_may_ask_for_nothing(facts):
    made = page(facts)
    assert "default-src 'none'" in made.replace("&#x27;", "'")
    assert not re.findall(r"""(?:src|href)="(?!#|data:)""", made)
    assert "url(" not in made
    assert "@import" not in made


def test_pictures_and_tables_are_for_those_who_do_not_see_them_too(facts):
    made = page(facts)
    svgs = re.findall(r"<svg[^>]*>.{0,8}", made)
    assert svgs
    assert all('role="img"' in svg and "<title>" in svg for svg in svgs)
    assert not re.findall(r"<th(?![a-z])(?![^>]*scope=)", made)
    assert len(re.findall(r"<h1", made)) == 1


def test_the_card_holds_metrics_with_intervals_and_limits(facts):
    told = card.card(facts)
    assert "| cvr AUC | 0.6744 | 0.6600 to 0.6900 |" in told
    assert "cvr has labels, and is judged, on rows with click alone" in told
    assert "the recipe's key `attribution`" in told


def test_the_card_says_what_a_warm_start_learned(facts):
    plain = card.card(facts)
    assert "It went on" not in plain
    assert "on all other rows it extrapolates" in plain
    start = {"from": "2022-05-01", "why": "", "rows": 100, "label_share": 0.25}
    told = card.card({**facts, "training": {**facts["training"], "start": start}})
    assert "It went on from the model of 2022-05-01. Of its losses 25.0 % are on labels" in told
    assert "on all other rows it learned what models extrapolated" in told


def test_nothing_of_a_log_becomes_markup_in_the_card(hostile):
    told = card.card(hostile)
    assert not re.findall(r"(?<!\\)<(?:script|img)", told)
    assert all(
        line.count("|") - line.count("\\|") == 7
        for line in told.splitlines()
        if line.startswith("| ctr | ")
    )
