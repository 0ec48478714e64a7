"""The gate lets clean data through and says what is wrong with the rest."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import standard_artifacts

from ncs4cvr.components import data_gate
from ncs4cvr.components.artifacts import DeadLetters
from ncs4cvr.components.data_gate import DataBlessing, DataRefused, complaints
from ncs4cvr.components.log.report import RowsLost
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Task
from statistics_by_hand import number, statistics_of, words

RECIPE = Recipe(
    "r",
    Log(
        events="e.csv",
        labels=(Label("click", "click"), Label("buy", "buy", given="click")),
        splits=(
            Split("train", "2022-01-01", "2022-01-05"),
            Split("test", "2022-01-06", "2022-01-06"),
        ),
    ),
    features=(Feature("tab"),),
    tasks=(Task("ctr", "click"),),
)
OFF = RECIPE.replace(day_change=0.0, day_auc_change=0.0)
SCHEMA = """
feature { name: "tab" type: INT presence { min_fraction: 1 } value_count { min: 1 max: 1 }
  int_domain { min: 0 max: 14 } }
feature { name: "city" type: BYTES presence { min_fraction: 0.5 } value_count { min: 1 max: 1 }
  domain: "city" }
string_domain { name: "city" value: "Lima" value: "Oslo" }
"""


def schema():
    return text_format.Parse(SCHEMA, schema_pb2.Schema())


def found(*features, rows=10):
    return tfdv.validate_statistics(statistics_of(*features, rows=rows), schema())


def clean():
    return number("tab", [0, 14] * 5, 10), words("city", {"Lima": 4, "Oslo": 3}, 10)


def lines(anomalies):
    return list(complaints(anomalies, "in train", schema()))


def test_clean_data_passes():
    assert lines(found(*clean())) == []


def test_a_value_out_of_range_is_named_with_what_was_expected():
    (line,) = lines(found(number("tab", [0, 99] * 5, 10), clean()[1]))
    assert line.startswith("tab in train: expected int from 0 to 14 in 100% of the rows; came: ")
    assert "99" in line


def test_a_missing_column_is_named():
    (line,) = lines(found(clean()[0]))
    assert line.startswith("city in train: expected string one of Lima, Oslo in 50% of the rows")


def test_too_many_gaps_are_told_with_both_shares():
    (line,) = lines(found(clean()[0], words("city", {"Lima": 2}, 10)))
    assert "0.5" in line
    assert "0.2" in line


def test_a_column_that_the_schema_does_not_know_is_named():
    (line,) = lines(found(*clean(), number("age", [1] * 10, 10)))
    assert line.startswith("age in train: came: New column")


def test_an_unknown_word_is_named():
    (line,) = lines(found(clean()[0], words("city", {"Lima": 4, "Rome": 3}, 10)))
    assert "Rome" in line


def test_a_comparison_that_could_not_be_made_is_no_complaint():
    anomalies = anomalies_pb2.Anomalies()
    info = anomalies.anomaly_info["tab"]
    info.severity = anomalies_pb2.AnomalyInfo.ERROR
    info.reason.add(type=anomalies_pb2.AnomalyInfo.STATS_NOT_AVAILABLE, description="not done")
    assert lines(anomalies) == []


def test_a_refusal_shows_the_first_ten_and_counts_the_rest():
    text = data_gate.refusal([f"line {n}" for n in range(12)])
    assert "line 9" in text
    assert "line 10" not in text
    assert "and 2 more" in text


@pytest.fixture
def artifacts(tmp_path):
    """The gate's inputs and output, with no anomaly."""
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema/schema.pbtxt").write_text(SCHEMA)
    kinds = {
        "statistics": standard_artifacts.ExampleStatistics,
        "schema": standard_artifacts.Schema,
        "anomalies": standard_artifacts.ExampleAnomalies,
        "drift": standard_artifacts.ExampleAnomalies,
        "skew": standard_artifacts.ExampleAnomalies,
        "examples": standard_artifacts.Examples,
        "blessing": DataBlessing,
    }
    made = {name: kind() for name, kind in kinds.items()}
    for name, artifact in made.items():
        artifact.uri = str(tmp_path / name)
    made["statistics"].id = 7
    with_statistics(made["statistics"], {"train": 10})
    return {name: [artifact] for name, artifact in made.items()}


def with_statistics(artifact, rows):
    """Statistics of splits in which every row has a `tab`."""
    artifact.split_names = json.dumps(list(rows))
    for split, count in rows.items():
        folder = Path(artifact.uri) / f"Split-{split}"
        folder.mkdir(parents=True, exist_ok=True)
        made = statistics_of(number("tab", [0, 14], count), rows=count)
        (folder / "FeatureStats.pb").write_bytes(made.SerializeToString())


def run_gate(artifacts, recipe=OFF):
    inputs = {name: found for name, found in artifacts.items() if name != "blessing"}
    executor = data_gate.DataGate.EXECUTOR_SPEC.executor_class()
    executor.Do(
        inputs,
        {"blessing": artifacts["blessing"]},
        {"recipe": recipe.to_json(), "code_version": "1"},
    )


def write(artifact, folder, anomalies, tmp_path):
    where = tmp_path / artifact / folder
    where.mkdir(parents=True)
    (where / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())


def test_the_blessing_says_which_statistics_passed(artifacts, tmp_path):
    write("anomalies", "Split-train", found(*clean()), tmp_path)
    run_gate(artifacts)
    assert artifacts["blessing"][0].get_int_custom_property(data_gate.PASSED) == 7


def test_a_feature_without_any_value_is_named(artifacts):
    recipe = OFF.replace(features=(Feature("tab"), Feature("tag", column="tags"), Feature("tags")))
    told = "tags in all splits: expected values, for feature tag, tags; came: none in any row"
    with pytest.raises(DataRefused, match=told):
        run_gate(artifacts, recipe)


@pytest.mark.parametrize(
    ("artifact", "folder", "where"),
    [
        ("anomalies", "Split-test", "tab in test"),
        ("drift", "SplitPair-train_train", "tab against the run before, train_train"),
        ("skew", "SplitPair-test_train", "tab between splits, test_train"),
    ],
)
def test_the_gate_reads_every_validator(artifacts, tmp_path, artifact, folder, where):
    write(artifact, folder, found(number("tab", [99] * 10, 10), clean()[1]), tmp_path)
    with pytest.raises(DataRefused, match=where):
        run_gate(artifacts)
    assert not (tmp_path / "blessing").exists()


@pytest.fixture
def counted(artifacts, tmp_path):
    """The artifacts of a log of 4 rows: 3 examples of train and one dead letter."""
    with_statistics(artifacts["statistics"][0], {"train": 3})
    letters = DeadLetters()
    letters.uri = str(tmp_path / "letters")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dead_letters-events-00000.jsonl").write_text('{"row": 1}\n')
    counts = {
        "events": {
            "rows": 4,
            "dead": {"odd": 1},
            "examples": {"train": 3},
            "splits": {"train": {"rows": 3}},
            "split_orphans": {"train": {}},
        }
    }
    (tmp_path / "letters/counts.json").write_text(json.dumps(counts))
    return {**artifacts, "dead_letters": [letters]}


def test_the_gate_passes_what_was_counted(counted):
    run_gate(counted)
    assert counted["blessing"][0].get_int_custom_property(data_gate.PASSED) == 7


def test_a_dead_letter_that_is_gone_stops_the_run(counted, tmp_path):
    (tmp_path / "letters/dead_letters-events-00000.jsonl").unlink()
    with pytest.raises(RowsLost, match="events: 1 dead letters counted, 0 kept"):
        run_gate(counted)


# -- days ----------------------------------------------------------------------------------------


@pytest.fixture
def days(artifacts, tmp_path):
    """Six days of 200 rows, the last one in test; on that day `tab` is the row's click."""
    (tmp_path / "schema/schema.pbtxt").write_text(
        " ".join(
            f'feature {{ name: "{name}" type: INT }}'
            for name in ("day", "user_id", "video_id", "click", "buy", "tab")
        )
    )
    artifacts["examples"][0].split_names = '["train", "test"]'
    with_statistics(artifacts["statistics"][0], {"train": 1000, "test": 200})
    for split, dates in (("train", range(1, 6)), ("test", (6,))):
        (tmp_path / f"examples/Split-{split}").mkdir(parents=True)
        path = str(tmp_path / f"examples/Split-{split}/part-0.gz")
        with tf.io.TFRecordWriter(path, "GZIP") as out:
            for date in dates:
                for row in range(200):
                    out.write(example(date, row, row % 2 if date == 6 else row // 2 % 2))
    return artifacts


def example(date, row, tab, **more):
    values = {
        "day": 20220100 + date, "user_id": row % 50, "video_id": row + date, "click": row % 2,
        "buy": row % 4 // 3, "tab": tab, **more,
    }  # fmt: skip
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        for name, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def test_a_new_day_that_is_not_like_the_others_is_refused(days):
    told = "tab on 2022-01-06: expected to tell click with an AUC of 0.500 .*; came: 1.000"
    with pytest.raises(DataRefused, match=told):
        run_gate(days, RECIPE)


def test_a_new_day_that_did_not_arrive_is_refused(days):
    """Of a split of two days the second has no row: the split has rows, and so has every day."""
    train, _ = RECIPE.log.splits
    log = replace(RECIPE.log, splits=(train, Split("test", "2022-01-06", "2022-01-07")))
    told = "rows on 2022-01-07: expected 100 to 400; came: 0"
    with pytest.raises(DataRefused, match=told):
        run_gate(days, RECIPE.replace(log=log, day_auc_change=0.0))


def test_a_new_day_whose_clock_is_off_is_refused(days, tmp_path):
    """Rows come at 10:00 and 13:00; on the last day eight hours later."""
    schema = tmp_path / "schema/schema.pbtxt"
    schema.write_text(f'{schema.read_text()} feature {{ name: "time_ms" type: INT }}')
    for split, dates in (("train", range(1, 6)), ("test", (6,))):
        path = str(tmp_path / f"examples/Split-{split}/part-0.gz")
        with tf.io.TFRecordWriter(path, "GZIP") as out:
            for date in dates:
                for row in range(200):
                    hour = (10 if row < 100 else 13) + (8 if date == 6 else 0)
                    time = ((18_992 + date) * 24 + hour) * 3_600_000
                    out.write(example(date, row, row // 2 % 2, time_ms=time))
    told = "rows from 09:00 to 12:00 on 2022-01-06: expected 33.33% to 66.67%; came: 0.00%; is a"
    with pytest.raises(DataRefused, match=told):
        run_gate(days, RECIPE)


def test_days_are_looked_at_only_where_the_recipe_asks_for_it(days):
    run_gate(days, RECIPE.replace(day_auc_change=0.0))
    assert days["blessing"][0].get_int_custom_property(data_gate.PASSED) == 7


def test_examples_that_know_no_day_are_not_looked_at(artifacts):
    run_gate(artifacts, RECIPE)
    assert artifacts["blessing"][0].get_int_custom_property(data_gate.PASSED) == 7


def test_orphans_that_become_many_are_refused(counted, tmp_path):
    counts = json.loads((tmp_path / "letters/counts.json").read_text())
    counts["events"]["splits"]["test"] = {"rows": 1000}
    counts["events"]["splits"]["train"] = {"rows": 1000}
    counts["events"]["split_orphans"] = {"train": {"buy": 1}, "test": {"buy": 40}}
    (tmp_path / "letters/counts.json").write_text(json.dumps(counts))
    with pytest.raises(DataRefused, match="buy in test: expected at most"):
        run_gate(counted, RECIPE)
