"""The component on real SavedModels and files of examples."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from ncs4cvr.components import model_gate
from ncs4cvr.components.artifacts import MODEL_ID
from ncs4cvr.schemas.log import Label, Log
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Task

SCHEMA = """
feature { name: "user_id" type: BYTES } feature { name: "tab" type: INT }
feature { name: "click" type: INT } feature { name: "good" type: FLOAT }
feature { name: "bad" type: FLOAT }
"""
RECIPE = Recipe(
    "r",
    Log(events="e.csv", labels=(Label("click", "click"),)),
    features=(),
    tasks=(Task("ctr", "click"),),
    gates=(Gate("ctr_auc", at_least=0.9, worse_by=0.01, min_positives=5),),
    slices=("tab",),
)


class Column(tf.Module):
    """A model that answers with a column."""

    def __init__(self, column):
        super().__init__()
        self.column = column

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def score(self, examples):
        spec = {self.column: tf.io.FixedLenFeature([], tf.float32)}
        return {"ctr": tf.io.parse_example(examples, spec)[self.column]}

    def predict(self, columns):
        """A signature that takes other columns, with their types."""
        specs = {name: tf.TensorSpec([None], dtype, name) for name, dtype in columns.items()}

        def answer(**values):
            return {"ctr": tf.cast(tf.zeros_like(next(iter(values.values()))), tf.float32)}

        return tf.function(answer).get_concrete_function(**specs)


def example(row):
    """Twenty rows: `good` ranks them right, `bad` the other way round; row 0 has no tab."""
    values = {
        "user_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"u%d" % (row // 2)])),
        "click": tf.train.Feature(int64_list=tf.train.Int64List(value=[row % 2])),
        "good": tf.train.Feature(float_list=tf.train.FloatList(value=[row % 2 + row / 100])),
        "bad": tf.train.Feature(float_list=tf.train.FloatList(value=[-(row % 2)])),
    }
    if row:
        values["tab"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[row // 10]))
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    for part in range(2):
        (folder / "examples/Split-test").mkdir(parents=True, exist_ok=True)
        name = str(folder / f"examples/Split-test/part-{part}.gz")
        with tf.io.TFRecordWriter(name, "GZIP") as out:
            for row in range(part, 20, 2):
                out.write(example(row))
    (folder / "schema").mkdir()
    (folder / "schema/schema.pbtxt").write_text(SCHEMA)
    for name, column, columns in (
        ("good", "good", {"tab": tf.int64, "age": tf.float32}),
        ("bad", "bad", {"tab": tf.int64, "age": tf.float32}),
        ("narrow", "bad", {"tab": tf.int64}),
        ("text", "bad", {"tab": tf.int64, "age": tf.int64}),
    ):
        model = Column(column)
        signatures = {"serving_default": model.score, "predict": model.predict(columns)}
        tf.saved_model.save(model, f"{folder}/{name}/Format-Serving", signatures=signatures)
    return folder


def gate(world, out, model="good", baseline=None, evaluated=1, recipe=RECIPE):
    """Runs the component; its blessing and its verdict."""
    kinds = standard_artifacts
    made = {
        "examples": kinds.Examples(),
        "schema": kinds.Schema(),
        "model": kinds.Model(),
        "evaluated": kinds.ModelBlessing(),
    }
    for name, artifact in made.items():
        artifact.uri = str(world / (model if name == "model" else name))
    made["examples"].split_names = '["test"]'
    made["model"].id = 11
    if evaluated is not None:
        made["evaluated"].set_int_custom_property(MODEL_ID, 11)
        made["evaluated"].set_int_custom_property("blessed", evaluated)
    if baseline:
        made["baseline"] = kinds.Model()
        made["baseline"].uri = str(world / baseline)
    blessing = kinds.ModelBlessing()
    blessing.uri = str(out)
    model_gate.ModelGate.EXECUTOR_SPEC.executor_class().Do(
        {name: [artifact] for name, artifact in made.items()},
        {"blessing": [blessing]},
        {"split": "test", "recipe": recipe.to_json(), "code_version": "1"},
    )
    return blessing, json.loads((out / model_gate.FILE).read_text())


def test_a_first_good_model_is_blessed(world, tmp_path):
    blessing, found = gate(world, tmp_path)
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property(MODEL_ID) == 11
    assert (found["verdict"], found["split"], found["rows"], found["users"]) == (
        "first model", "test", 20, 10,
    )  # fmt: skip
    assert found["outputs"]["ctr"]["value"] == 1


def test_rows_without_a_value_are_a_slice_of_their_own(world, tmp_path):
    slices = gate(world, tmp_path)[1]["outputs"]["ctr"]["slices"]
    assert {each["slice"]: each["rows"] for each in slices} == {"1": 10, "0": 9, "missing": 1}


def test_a_model_below_the_blessed_one_on_the_same_rows_is_not_blessed(world, tmp_path):
    low = RECIPE.replace(gates=(Gate("ctr_auc", worse_by=0.01, min_positives=5),))
    blessing, found = gate(world, tmp_path, "bad", baseline="good", recipe=low)
    assert blessing.get_int_custom_property("blessed") == 0
    assert found["compared"]
    assert found["outputs"]["ctr"]["before"]["value"] == 1
    assert found["outputs"]["ctr"]["before"]["difference"] == -1
    assert "ctr_auc is 1.0000 below the last blessed model's" in found["why"]


def test_the_same_model_twice_is_blessed(world, tmp_path):
    assert gate(world, tmp_path, baseline="good")[1]["verdict"] == "blessed"


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("narrow", "the last blessed model reads 'age', which this one does not"),
        ("text", "the last blessed model reads 'age' as float32, this one as int64"),
    ],
)
def test_a_model_of_other_columns_is_no_measure(world, tmp_path, model, why):
    """The last blessed model would find nothing in a column that the examples do not have."""
    recipe = RECIPE.replace(gates=(Gate("ctr_auc", worse_by=0.01, min_positives=5),))
    _, found = gate(world, tmp_path, model, baseline="good", recipe=recipe)
    assert (found["verdict"], found["compared"]) == ("first model", False)
    assert found["why"].startswith(f"first model: {why}, its gate holds")
    assert found["outputs"]["ctr"]["before"] is None


def test_a_model_of_more_columns_is_compared(world, tmp_path):
    recipe = RECIPE.replace(gates=(Gate("ctr_auc", worse_by=0.01, min_positives=5),))
    assert gate(world, tmp_path, "good", baseline="narrow", recipe=recipe)[1]["compared"]


def test_what_the_evaluator_did_not_bless_is_not_blessed(world, tmp_path):
    blessing, found = gate(world, tmp_path, evaluated=0)
    assert blessing.get_int_custom_property("blessed") == 0
    assert found["why"].startswith("not blessed: the Evaluator did not bless it")


def test_an_evaluator_without_thresholds_has_no_say(world, tmp_path):
    assert gate(world, tmp_path, evaluated=None)[1]["blessed"]


def test_batches_are_put_together_in_order(world, tmp_path, monkeypatch):
    whole = gate(world, tmp_path)[1]["outputs"]
    monkeypatch.setattr(model_gate, "BATCH_ROWS", 3)
    assert gate(world, tmp_path)[1]["outputs"] == whole


def test_a_column_that_is_not_there_is_named(world, tmp_path):
    with pytest.raises(ValueError, match="no column 'hour', which a label, the user or a slice"):
        gate(world, tmp_path, recipe=RECIPE.replace(slices=("hour",)))


def test_a_number_is_the_same_slice_in_batches_with_gaps_and_without():
    whole = model_gate._first(tf.sparse.from_dense(tf.constant([[0.1], [0.5]])))
    gaps = model_gate._first(tf.sparse.from_dense(tf.constant([[0.1], [0.0]])))
    assert whole.astype(str).tolist() == ["0.1", "0.5"]
    assert gaps.astype(str).tolist() == ["0.1", model_gate.MISSING]


def test_users_are_told_apart_whatever_their_type():
    sparse = tf.sparse.from_dense([[7], [9], [7]])
    assert np.array_equal(model_gate._first(sparse), [7, 9, 7])
