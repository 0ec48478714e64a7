"""The reports of real small runs: their numbers against what the components left behind."""

import json
import shutil

import numpy as np
import pytest

from ncs4cvr.components import checksums, versions
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.run import history, run_folder
from ncs4cvr.pipeline.status import DATA_REFUSED, FAULT, NOT_BLESSED, PUSHED, USAGE
from tiny_log import write_tiny_log

pytestmark = pytest.mark.slow


def run(world, *arguments):
    """The exit status and the report of a run of the tiny recipe."""
    status = main(["run", str(world / "log/tiny.py"), "--root", str(world / "runs"), *arguments])
    return status, json.loads((world / "runs/tiny/report.json").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    write_tiny_log(folder / "log")
    return folder


@pytest.fixture(scope="module")
def first(world):
    status, facts = run(world)
    assert status == PUSHED
    kept = world / "kept"
    shutil.copytree(world / "runs/tiny", kept)
    return facts, kept


def artifact(first, output, file):
    return run_folder.newest_artifact(first[1], output, file) / file


def test_the_verdict_is_that_of_the_history_and_of_what_is_served(first):
    facts, folder = first
    noted = history.read(folder)[-1]
    assert facts["verdict"]["state"] == noted["verdict"] == "pushed"
    assert facts["verdict"]["version"] == noted["version"]
    served = facts["lineage"]["served"]
    assert str(served["version"]) == noted["version"]
    manifest = versions.manifest(str(folder / "serving"), served["version"])
    assert served["sha256"] == manifest.content


def test_rows_are_those_that_were_counted_and_add_up(first):
    counts = json.loads(
        artifact(first, "VideoLogExampleGen/dead_letters", "counts.json").read_text()
    )
    for one in first[0]["rows"]:
        assert one["read"] == counts[one["kind"]]["rows"]
        assert one["dead"] == counts[one["kind"]]["dead"]
        accounted = sum(one["written"].values()) + one["duplicates"] + sum(one["dead"].values())
        assert accounted == one["read"]
        assert one["holds"]


def test_tickets_are_the_masks_that_were_found(first):
    found = first[0]["sharing"]["tickets"]
    with np.load(artifact(first, "TicketSearch/tickets", "tickets.npz")) as arrays:
        for number, layer in enumerate(found["layers"]):
            size = int(np.prod(layer["shape"]))
            ctr, cvr = (
                np.unpackbits(arrays[f"mask_{task}_{number}"], count=size).astype(bool)
                for task in found["tasks"]
            )
            assert layer["connections"] == size
            assert layer["kept"]["ctr"] == pytest.approx(ctr.mean())
            assert layer["alone"]["cvr"] == pytest.approx((cvr & ~ctr).mean())
            assert layer["several"] == layer["all"] == pytest.approx((ctr & cvr).mean())
            assert layer["overlap"] == pytest.approx((ctr & cvr).sum() / (ctr | cvr).sum())
    told = json.loads(artifact(first, "TicketSearch/tickets", "tickets.json").read_text())
    assert found["chosen"] == told["chosen"]
    values = [one["ctr"]["value"] for one in found["rounds"]]
    assert values == [one["metrics"]["ctr_auc"] for one in told["rounds"]]
    assert found["total"]["overlap"] == pytest.approx(told["overlap"])


def test_metrics_and_serving_are_those_of_who_judged(first):
    facts = first[0]
    verdict = artifact(first, "ModelGate/blessing", "verdict.json")
    assert facts["model"] == json.loads(verdict.read_text())
    checked = artifact(first, "ServingCheck/blessing", "serving_check.json")
    assert facts["serving"] == json.loads(checked.read_text())


def test_labels_are_the_shares_of_the_log(first):
    (click,) = (x for x in first[0]["data"]["changes"]["labels"] if x["name"] == "click")
    lines = (first[1].parent / "log/events.csv").read_text().splitlines()
    column = lines[0].split(",").index("is_click")
    clicks = [int(line.split(",")[column]) for line in lines[1:]]
    shares = [np.mean(clicks[:2000]), np.mean(clicks[2000:2500]), np.mean(clicks[2500:])]
    assert [s["now"] for s in click["splits"]] == pytest.approx(shares)


def test_the_timeline_has_every_component_in_its_order_and_the_summary_the_same(first):
    facts, folder = first
    steps = facts["timeline"]
    begins = [step["began_s"] for step in steps]
    assert begins == sorted(begins)
    assert all(step["seconds"] >= 0 and step["sealed_s"] >= 0 for step in steps)
    last = steps[-1]
    assert last["began_s"] + last["seconds"] < facts["run"]["seconds"] + 0.1  # they are rounded
    assert {s["state"] for s in steps} == {"done"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["timeline"] == steps
    seconds = {s["name"]: s["seconds"] for s in steps if s["name"] != "Loading"}
    assert seconds == summary["seconds"]


def test_memory_of_a_component_is_the_most_that_was_seen_meanwhile(first):
    facts = first[0]
    most = max(mb for _, mb in facts["memory"])
    peaks = {step["name"]: step["peak_mb"] for step in facts["timeline"]}
    assert max(peaks.values()) == most
    # It runs in a process of its own, beside this one.
    assert peaks["ServingCheck"] > 300


def test_digests_are_those_of_the_files(first):
    facts, folder = first
    for told in facts["lineage"]["artifacts"]:
        files = checksums.of(str(folder / "artifacts" / told["artifact"]))
        assert told["sha256"] == versions.content(files)
    assert {a["component"] for a in facts["lineage"]["artifacts"]} >= {"Trainer", "TicketSearch"}
    sizes = {f["kind"]: f["bytes"] for f in facts["lineage"]["log"]["files"]}
    assert sizes["events"] == (folder.parent / "log/events.csv").stat().st_size


def test_the_page_is_one_small_file_and_the_card_has_the_metrics(first):
    _, folder = first
    assert 10_000 < (folder / "report.html").stat().st_size < 3_000_000
    cvr = first[0]["model"]["outputs"]["cvr"]["value"]
    assert f"| cvr AUC | {cvr:.4f} |" in (folder / "model_card.md").read_text()


def test_the_command_prints_where_the_report_is(world, first, capfd):
    capfd.readouterr()
    assert main(["report", str(world / "runs/tiny"), "--no-open"]) == PUSHED
    printed = capfd.readouterr()
    assert printed.out.strip() == str(world / "runs/tiny/report.html")
    assert not printed.err
    assert main(["report", str(world), "--no-open"]) == USAGE
    assert "no report in" in capfd.readouterr().err


def test_a_later_run_that_left_no_report_is_told_of(first, capfd, tmp_path):
    shutil.copytree(first[1], tmp_path / "tiny")
    history.add(tmp_path / "tiny", history.DIED, why="process 7 ended without a word")
    noted = history.read(tmp_path / "tiny")
    noted[-1]["ended"] = "2999-01-01T00:00:00+00:00"  # the clock counts whole seconds
    lines = "".join(f"{json.dumps(line)}\n" for line in noted)
    (tmp_path / "tiny" / history.FILE).write_text(lines)
    assert main(["report", str(tmp_path / "tiny"), "--no-open"]) == PUSHED
    assert "later than this report: died" in capfd.readouterr().err


def test_a_run_without_change_is_cached_and_still_has_all_sections(world, first):
    status, facts = run(world)
    assert status == PUSHED
    states = {s["name"]: s["state"] for s in facts["timeline"]}
    assert states["Trainer"] == states["TicketSearch"] == "cached"
    assert all(facts[section] for section in ("model", "serving", "rows"))


def test_a_model_that_is_too_large_is_not_pushed_and_the_report_says_why(world, first):
    status, facts = run(world, "--set", "max_model_mb=0.001")
    assert status == NOT_BLESSED
    assert facts["verdict"]["state"] == "not blessed"
    assert not facts["verdict"]["pushed"]
    page = (world / "runs/tiny/report.html").read_text()
    assert "Not pushed: the model did not pass" in page
    assert "max_model_mb allows 0.001" in page


def test_data_that_moved_too_far_is_refused_and_the_report_shows_where(world, first):
    log = world / "log/users.csv"
    kept = log.read_text()
    log.write_text(kept.replace("Lima", "Bergen"))
    try:
        status, facts = run(world, "--set", "drift_threshold=0.05")
    finally:
        log.write_text(kept)
    assert status == DATA_REFUSED
    assert facts["verdict"]["component"] == "DataGate"
    assert facts["data"]["gate"]["state"] == "refused"
    assert any("city" in line for line in facts["data"]["gate"]["complaints"])
    worst = facts["data"]["changes"]["drift"][0]
    shares = dict(zip(worst["shape"]["values"], worst["shape"]["now"], strict=True))
    before = dict(zip(worst["shape"]["values"], worst["shape"]["before"], strict=True))
    assert worst["column"] == "city"
    assert worst["value"] > worst["threshold"]
    assert (shares["Lima"], before["Bergen"]) == (0, 0)
    assert shares["Bergen"] == pytest.approx(before["Lima"], abs=0.05)
    assert facts["model"] is None
    assert facts["timeline"][-1]["state"] == "stopped"
    assert "Not pushed: the data was refused" in (world / "runs/tiny/report.html").read_text()


def test_a_log_that_is_not_there_leaves_a_report_that_says_so(world, first):
    log = world / "log/events.csv"
    log.rename(world / "away.csv")
    try:
        status, facts = run(world)
    finally:
        (world / "away.csv").rename(log)
    assert status in (FAULT, DATA_REFUSED)
    assert facts["rows"] is None
    assert "no file matches" in facts["verdict"]["message"]
