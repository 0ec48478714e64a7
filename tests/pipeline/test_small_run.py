"""One small run from raw logs to a pushed model, and what can be done with it afterwards."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf

from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.status import DATA_REFUSED, FAULT, NOT_BLESSED, PUSHED, USAGE
from tiny_log import write_tiny_log

pytestmark = pytest.mark.slow

LABEL_FREE = ["user_id", "video_id", "tab", "time_ms", "duration_ms", "city", "author_id"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with the tiny log, its recipe, and the first run of it."""
    folder = tmp_path_factory.mktemp("world")
    recipe = write_tiny_log(folder / "log")
    assert main(["run", str(recipe), "--root", str(folder / "runs")]) == PUSHED
    return folder


def again(world, *arguments):
    """Runs once more; the exit status and the summary."""
    status = main(["run", str(world / "log/tiny.py"), "--root", str(world / "runs"), *arguments])
    return status, json.loads((world / "runs/tiny/summary.json").read_text())


@pytest.fixture(scope="module")
def first(world):
    return json.loads((world / "runs/tiny/summary.json").read_text())


@pytest.fixture(scope="module")
def cached(world, first):
    return again(world)


def test_the_summary_has_every_field(first):
    assert first["recipe"] == "tiny"
    assert first["stack"] in ("1.16", "1.21")
    assert first["blessed"] is True
    assert first["verdict"] == "first model"
    assert first["why"].startswith("first model: no blessed model to compare with")
    outputs, kinds = ("ctr", "cvr", "ctcvr"), ("auc", "calibration")
    assert set(first["metrics"]) == {f"{o}_{k}" for o in outputs for k in kinds}
    assert first["test_rows"] == 500
    assert first["bytes"]["savedmodel"] > 0
    assert first["peak_rss_mb"] > 100
    assert {
        "VideoLogExampleGen",
        "Transform",
        "TicketSearch",
        "Trainer",
        "Evaluator",
        "ModelGate",
        "ServingCheck",
        "Pusher",
    } <= set(first["seconds"])
    assert set(first["slices"]) == {f"tab={tab}" for tab in range(4)}
    for metrics in first["slices"].values():
        assert set(metrics) == {"ctr_auc", "cvr_auc", "ctcvr_auc"}


def test_the_gate_measures_what_the_evaluator_measures(first):
    """TFMA's AUC has bins; the gate's is exact."""
    for name, found in first["intervals"].items():
        low, high = found["interval"]
        assert low < first["metrics"][name] < high
        assert found["before"] is None


def test_the_verdict_lies_with_the_run(first, world):
    (file,) = (world / "runs/tiny/artifacts/ModelGate/blessing").glob("*/verdict.json")
    found = json.loads(file.read_text())
    assert (found["verdict"], found["why"]) == (first["verdict"], first["why"])
    assert found["rows"] == first["test_rows"]
    for name, output in found["outputs"].items():
        assert output["value"] == first["metrics"][f"{name}_auc"]
        calibration = first["metrics"][f"{name}_calibration"]
        assert output["calibration"]["ratio"] == pytest.approx(calibration, abs=1e-4)


def test_every_row_of_the_log_is_shown(first):
    events = first["rows"]["events"]
    assert events["examples"] == {"train": 2000, "validate": 500, "test": 500}
    assert events["rows"] == 3000
    assert events["duplicates"] == events["history_only"] == sum(events["dead"].values()) == 0
    assert first["rows"]["users"]["rows"] == 60


def test_tickets_of_a_search_keep_one_half_or_all(first):
    """keep=0.5 after one round; a task whose dense round was better keeps everything."""
    for removed in first["sparsity"].values():
        assert removed == pytest.approx(0.5, abs=0.01) or removed == 0
    assert 0 <= first["overlap"] <= 1


def test_the_pushed_model_lies_in_a_numbered_version(first, world):
    pushed = Path(first["pushed_to"])
    assert pushed.parent == world / "runs/tiny/serving"
    assert pushed.name.isdigit()
    assert (pushed / "saved_model.pb").is_file()


def test_a_product_is_the_product_of_its_factors(world):
    scores = score(world, "products.csv", pd.DataFrame.to_csv)
    assert scores["ctcvr"].to_numpy() == pytest.approx((scores["ctr"] * scores["cvr"]).to_numpy())


def test_a_second_run_only_looks_at_what_is_served(cached, first):
    status, summary = cached
    assert status == PUSHED
    assert set(summary["seconds"]) - set(summary["cached"]) == {"Pusher"}
    assert summary["metrics"] == first["metrics"]
    assert summary["pushed_to"] == first["pushed_to"]
    assert len(list(Path(first["pushed_to"]).parent.iterdir())) == 1


def test_a_gate_set_too_tight_pushes_nothing_and_says_why(world, cached, capfd):
    recipe = world / "log/tiny.py"
    text = recipe.read_text()
    recipe.write_text(
        text.replace('Gate("ctr_auc", at_least=0.55)', 'Gate("ctr_auc", at_least=0.999)')
    )
    try:
        status, summary = again(world)
    finally:
        recipe.write_text(text)
    told = capfd.readouterr().out
    assert status == NOT_BLESSED
    assert summary["blessed"] is False
    assert summary["pushed_to"] is None
    low, high = summary["intervals"]["ctr_auc"]["interval"]
    (line,) = summary["failures"]
    assert f"not blessed: {line}" in told
    value, rest = line.removeprefix("ctr_auc is ").split(" ", 1)
    assert rest == f"[{low:.4f}, {high:.4f}]; it must be at least 0.999"
    assert value == f"{summary['metrics']['ctr_auc']:.4f}"
    assert len(list((world / "runs/tiny/serving").iterdir())) == 1
    assert {"Transform", "TicketSearch", "Trainer"} <= set(summary["cached"])


def test_the_summary_says_how_the_model_serves(first):
    serving = first["serving"]
    assert serving["blessed"] is True
    assert serving["rows"] == 500
    assert set(serving["outputs"]) == {"ctr", "cvr", "ctcvr"}
    assert {"serving_default", "predict"} <= {call["signature"] for call in serving["calls"]}
    assert (Path(first["pushed_to"]) / "assets.extra/tf_serving_warmup_requests").is_file()


def test_a_bound_on_serving_set_too_tight_pushes_nothing_and_says_why(world, cached, capfd):
    status, summary = again(world, "--set", "max_load_s=0.001")
    told = capfd.readouterr().out
    assert status == NOT_BLESSED
    assert summary["blessed"] is False
    assert summary["pushed_to"] is None
    load = summary["serving"]["load_s"]
    assert f"load takes {load:.2f} s; max_load_s allows 0.001" in told
    assert len(list((world / "runs/tiny/serving").iterdir())) == 1
    assert set(summary["seconds"]) - set(summary["cached"]) == {"ServingCheck", "Pusher"}


def test_tickets_of_another_run_take_the_place_of_a_search(world, cached, tmp_path):
    tickets = next((world / "runs/tiny/artifacts/TicketSearch/tickets").iterdir())
    status, summary = again(world, "--tickets", str(tickets))
    assert status in (PUSHED, NOT_BLESSED)
    assert "TicketSearch" not in summary["seconds"]
    assert summary["sparsity"]


def test_tickets_that_do_not_fit_are_refused(world, cached, capfd):
    arguments = ["--tickets", str(world / "runs/tiny"), "--set", "hidden=16,4", "--root"]
    status = main(["run", str(world / "log/tiny.py"), *arguments, str(world / "runs")])
    assert status == FAULT
    assert "Trainer" in capfd.readouterr().err


def test_a_folder_without_tickets_is_a_usage_error(world, capfd):
    assert main(["tickets", str(world / "log")]) == USAGE
    assert "no tickets in" in capfd.readouterr().err


def test_tickets_are_printed(world, first, capfd):
    assert main(["tickets", str(world / "runs/tiny")]) == PUSHED
    told = capfd.readouterr().out
    assert "ctr" in told
    assert "cvr" in told


def test_a_changed_log_is_read_anew_and_bad_data_is_refused(world, cached, capfd):
    """The second run's drift: every city becomes one."""
    users, recipe = world / "log/users.csv", world / "log/tiny.py"
    before, text = users.read_text(), recipe.read_text()
    users.write_text(before.replace("Lima", "Oslo"))
    recipe.write_text(
        text.replace("embedding_dim=4,", "embedding_dim=4,\n    drift_threshold=0.2,")
    )
    try:
        status = main(["run", str(recipe), "--root", str(world / "runs")])
    finally:
        users.write_text(before)
        recipe.write_text(text)
    assert status == DATA_REFUSED
    told = capfd.readouterr().err
    assert "city against the run before" in told
    assert "0.2" in told


def test_a_missing_file_is_refused_data(world, capfd):
    recipe = world / "log/lost.py"
    recipe.write_text((world / "log/tiny.py").read_text().replace("events.csv", "lost.csv"))
    assert main(["run", str(recipe), "--root", str(world / "lost")]) == DATA_REFUSED
    assert "lost.csv" in capfd.readouterr().err


# -- predict -------------------------------------------------------------------------------


def records_of_test(world):
    """Test rows as VideoLogExampleGen wrote them."""
    split = min(world.glob("runs/tiny/artifacts/VideoLogExampleGen/examples/*/Split-test"))
    shards = [str(path) for path in sorted(split.iterdir())]
    return list(tf.data.TFRecordDataset(shards, "GZIP").as_numpy_iterator())


def raw_rows(world, number=20):
    """The first of them, without their labels."""
    rows = []
    for record in records_of_test(world)[:number]:
        example = tf.train.Example.FromString(record)
        row = {}
        for name, feature in example.features.feature.items():
            values = list(getattr(feature, feature.WhichOneof("kind") or "int64_list").value)
            values = [v.decode() if isinstance(v, bytes) else v for v in values]
            row[name] = values if name.startswith("history") else (values or [None])[0]
        rows.append(row)
    return pd.DataFrame(rows).drop(columns=["click", "conversion", "day"])


def score(world, name, write):
    rows, source, out = raw_rows(world), world / name, world / f"{name}.out.csv"
    if write is pd.DataFrame.to_json:
        rows.to_json(source, orient="records", lines=True)
    else:
        write(rows, source, index=False)
    arguments = ["--input", str(source), "--output", str(out)]
    assert main(["predict", str(world / "runs/tiny/serving"), *arguments]) == PUSHED
    return pd.read_csv(out)


def test_three_formats_give_the_same_scores_beside_the_keys(world, first):
    as_csv = score(world, "rows.csv", pd.DataFrame.to_csv)
    as_parquet = score(world, "rows.parquet", pd.DataFrame.to_parquet)
    as_json = score(world, "rows.jsonl", pd.DataFrame.to_json)
    assert len(as_csv) == 20
    assert set(LABEL_FREE) < set(as_csv)
    for name in ("ctr", "cvr", "ctcvr"):
        assert as_csv[name].between(0, 1).all()
        assert as_parquet[name].to_numpy() == pytest.approx(as_csv[name].to_numpy(), abs=1e-6)
        assert as_json[name].to_numpy() == pytest.approx(as_csv[name].to_numpy(), abs=1e-6)


def joined(world, ending, *options):
    """The test split as `rows` writes it."""
    path = world / f"joined{ending}"
    path.unlink(missing_ok=True)
    arguments = ["rows", str(world / "runs/tiny"), "--output", str(path), *options]
    assert main(arguments) == PUSHED
    return path


def pair_auc(label, score):
    """The share of pairs of a positive and a negative in the right order; ties are half of one."""
    ahead = score[label == 1][:, None] - score[label == 0][None, :]
    return ((ahead > 0) + 0.5 * (ahead == 0)).mean()


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_rows_of_the_test_split_are_scored_as_the_run_was_judged(world, cached, first, ending):
    """Bit for bit what the model says of the examples; so with the metrics of the summary."""
    path, out = joined(world, ending), world / "joined_scores.parquet"
    arguments = ["--input", str(path), "--output", str(out)]
    assert main(["predict", first["pushed_to"], *arguments]) == PUSHED
    rows = pd.read_parquet(out)
    assert len(rows) == first["test_rows"]
    signature = tf.saved_model.load(first["pushed_to"]).signatures["serving_default"]
    expected = signature(tf.constant(records_of_test(world)))
    click, conversion = (rows[name].astype(int).to_numpy() for name in ("click", "conversion"))
    for name, label, counted in (
        ("ctr", click, click >= 0),
        ("cvr", conversion, click == 1),
        ("ctcvr", conversion, click >= 0),
    ):
        score = rows[name].to_numpy()
        assert score.tobytes() == expected[name].numpy().tobytes()
        auc = pair_auc(label[counted], score[counted])
        assert auc == pytest.approx(first["metrics"][f"{name}_auc"], abs=1e-12)
        calibration = score[counted].mean(dtype=float) / label[counted].mean()
        assert calibration == pytest.approx(first["metrics"][f"{name}_calibration"], rel=1e-6)


def test_rows_of_every_split_hold_what_the_log_holds(world, first):
    """A city is missing for a third of the users, and for nobody else."""
    for name, count in first["rows"]["events"]["examples"].items():
        rows = pd.read_parquet(joined(world, ".parquet", "--split", name))
        assert len(rows) == count
        assert (rows["city"].isna() == (rows["user_id"] % 3 == 2)).all()
        assert rows["city"].isna().any()


def test_rows_into_a_file_that_exists_or_of_no_split_are_usage_errors(world, first, capfd):
    path = joined(world, ".csv")
    before = path.read_bytes()
    arguments = ["rows", str(world / "runs/tiny"), "--output"]
    assert main([*arguments, str(path)]) == USAGE
    assert "joined.csv exists; remove it or give another --output" in capfd.readouterr().err
    assert path.read_bytes() == before
    assert main([*arguments, str(world / "x.csv"), "--split", "eval"]) == USAGE
    told = "no split 'eval'; give --split one of test, train, validate"
    assert told in capfd.readouterr().err
    assert not (world / "x.csv").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.drop(columns="tab"), "tab"),
        (lambda rows: rows.rename(columns={"author_id": "author"}), "author_id (is it author?)"),
        (lambda rows: rows.assign(tab="x"), "column 'tab' must hold int; row 1 holds 'x'"),
        (lambda rows: rows.assign(tab=0.5), "column 'tab' must hold int; row 1 holds"),
        (lambda rows: rows.assign(history_video="x"), "'history_video' must hold lists"),
        (lambda rows: rows.head(0), "holds no row"),
    ],
)
def test_odd_columns_are_named(world, first, change, told, capfd):
    source = world / "odd.csv"
    change(raw_rows(world)).to_csv(source, index=False)
    serving = str(world / "runs/tiny/serving")
    assert main(["predict", serving, "--input", str(source)]) == DATA_REFUSED
    assert told in capfd.readouterr().err


def test_a_folder_without_a_model_is_named(world, capfd):
    assert main(["predict", str(world), "--input", "rows.csv"]) == DATA_REFUSED
    assert "holds no SavedModel" in capfd.readouterr().err


def test_the_pushed_model_answers_where_ncs4cvr_is_not_installed(first):
    code = """
import sys, tensorflow as tf
signature = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
print(sorted(signature(tf.constant([b""]))))
assert not [name for name in sys.modules if name.startswith("ncs4cvr")]
"""
    done = subprocess.run(
        [sys.executable, "-c", code, first["pushed_to"]],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "['ctcvr', 'ctr', 'cvr']", done.stderr


# -- export, inspect -----------------------------------------------------------------------


def exported(world, capfd, name, *options):
    """Exports the run's model once more; what `inspect --json` says of it."""
    out = world / name
    arguments = ["export", str(world / "runs/tiny"), "--output", str(out), *options]
    assert main(arguments) == PUSHED
    capfd.readouterr()
    assert main(["inspect", str(out), "--json"]) == PUSHED
    return out, json.loads(capfd.readouterr().out)


def answers(folder, rows):
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return signature(tf.constant(rows))["ctcvr"].numpy()


def test_a_model_is_exported_again_packed_otherwise(world, cached, first, capfd):
    out, found = exported(world, capfd, "again", "--weights", "bf16", "--compute", "sparse")
    assert found["packed"]["weights"] == "bf16"
    assert found["packed"]["compute"]["asked"] == "sparse"
    assert answers(out, [b""]) == pytest.approx(answers(first["pushed_to"], [b""]), abs=0.02)
    kept = found["packed"]["tickets"]["all"]["kept"]
    assert kept == pytest.approx({t: 1 - gone for t, gone in first["sparsity"].items()})
    assert found["packed"]["tickets"]["all"]["overlap"] == pytest.approx(first["overlap"])


def test_a_plain_export_has_no_packed_weights(world, cached, first, capfd):
    out, found = exported(world, capfd, "plain", "--plain")
    assert "packed" not in found
    assert answers(out, [b""]) == pytest.approx(answers(first["pushed_to"], [b""]), abs=1e-6)


def test_what_is_in_a_model_is_told_and_adds_up(world, cached, first, capfd):
    assert main(["inspect", first["pushed_to"]]) == PUSHED
    told = capfd.readouterr().out
    assert "information limit" in told
    assert "serving_default: examples string[n]" in told
    assert main(["inspect", first["pushed_to"], "--json"]) == PUSHED
    sizes = json.loads(capfd.readouterr().out)["bytes"]
    files = [f for f in Path(first["pushed_to"]).rglob("*") if f.is_file()]
    assert sizes.pop("all") == sum(f.stat().st_size for f in files) == sum(sizes.values())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runs/tiny", "--output", "log"], "exists; name a new folder"),
        (["runs/tiny", "--plain", "--weights", "bf16", "--output", "x"], "leave out --weights"),
        (["log", "--output", "x"], "no model_run with weights.npz in"),
    ],
)
def test_an_export_that_cannot_be_is_a_usage_error(world, cached, arguments, told, capfd):
    paths = [str(world / a) if a in ("runs/tiny", "log", "x") else a for a in arguments]
    assert main(["export", *paths]) == USAGE
    assert told in capfd.readouterr().err
    assert not (world / "x").exists()


def test_inspecting_what_is_no_model_is_refused(world, capfd):
    assert main(["inspect", str(world / "log")]) == DATA_REFUSED
    assert "holds no SavedModel" in capfd.readouterr().err


def test_a_recipe_with_another_output_is_compared_in_what_both_have(world, cached):
    """The model that was pushed last has no `like`."""
    file = world / "log/tiny.py"
    before = file.read_text()
    after = before.replace('Task("cvr",', 'Task("like", "click"), Task("cvr",')
    assert after != before
    file.write_text(after)
    try:
        status, found = again(world)
    finally:
        file.write_text(before)
    assert (status, found["verdict"]) == (PUSHED, "blessed")
    assert found["intervals"]["like_auc"]["before"] is None
    assert found["intervals"]["ctr_auc"]["before"]["value"] is not None
