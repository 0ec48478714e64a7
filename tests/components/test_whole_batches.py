"""Batches handed to TFMA whole give the metrics that their rows give, and stay whole."""

import json

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import text_format
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.public.tfxio import TFExampleBeamRecord

from ncs4cvr.components.whole_batches import custom_extractors, whole

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
CONFIG = text_format.Parse(
    """
    model_specs {
      signature_name: "serving_default"
      label_keys { key: "ctr" value: "click" }
      label_keys { key: "cvr" value: "bought" }
      label_keys { key: "watch" value: "share" }
      example_weight_keys { key: "cvr" value: "click" }
    }
    slicing_specs {}
    metrics_specs {
      output_names: "ctr"
      metrics {
        module: "ncs4cvr.components.batch_metrics" class_name: "BatchedAUC"
        config: '{"name": "ctr_auc"}'
      }
      metrics {
        module: "ncs4cvr.components.batch_metrics" class_name: "BatchedCalibration"
        config: '{"name": "ctr_calibration"}'
      }
    }
    metrics_specs {
      output_names: "cvr" example_weights { weighted: true }
      metrics {
        module: "ncs4cvr.components.batch_metrics" class_name: "BatchedAUC"
        config: '{"name": "cvr_auc"}'
      }
      metrics {
        module: "ncs4cvr.components.batch_metrics" class_name: "BatchedCalibration"
        config: '{"name": "cvr_calibration"}'
      }
    }
    metrics_specs {
      output_names: "watch"
      metrics { class_name: "MeanSquaredError" config: '{"name": "watch_mse"}' }
      metrics { class_name: "Calibration" config: '{"name": "watch_calibration"}' }
    }
    options { include_default_metrics { value: false } }
    """,
    config_pb2.EvalConfig(),
)
PREDICTIONS = ("p_ctr", "p_cvr", "p_watch")
ROWS = {
    "click": [1, 1, 1, 1, 0, 0],
    "p_ctr": [0.9, 0.8, 0.7, 0.2, 0.3, 0.1],
    "bought": [1, 0, 1, 0, 0, 0],
    "p_cvr": [0.6, 0.5, 0.3, 0.2, 0.9, 0.9],
    "share": [0.5, 1.0, 0.0, 0.0, 0.0, 0.0],
    "p_watch": [0.5, 0.5, 0.5, 0.0, 0.0, 0.0],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A SavedModel that predicts what its rows say."""
    folder = str(tmp_path_factory.mktemp("model"))
    predictions = {name: tf.io.FixedLenFeature([1], tf.float32) for name in PREDICTIONS}

    def predict(examples):
        found = tf.io.parse_example(examples, predictions)
        return {name[len("p_") :]: found[name] for name in PREDICTIONS}

    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="examples")
    module.predict = tf.function(predict, input_signature=[spec])
    tf.saved_model.save(module, folder, {"serving_default": module.predict})
    return folder


def rows():
    for row in range(6):
        example = tf.train.Example()
        for name, values in ROWS.items():
            example.features.feature[name].float_list.value.append(values[row])
        yield example.SerializeToString()


def metrics(model, batch_size, file):
    shared = tfma.default_eval_shared_model(model, eval_config=CONFIG)
    source = TFExampleBeamRecord("inmem", ["test"], raw_record_column_name=tfma.ARROW_INPUT_COLUMN)
    with beam.Pipeline(runner=RUNNER) as pipeline:
        result = (
            pipeline
            | beam.Create(list(rows()))
            | source.BeamSource(batch_size)
            | tfma.BatchedInputsToExtracts()
            | tfma.ExtractAndEvaluate(
                extractors=custom_extractors(shared, CONFIG, None),
                evaluators=tfma.default_evaluators(eval_config=CONFIG, eval_shared_model=shared),
            )
        )
        told = result[tfma.METRICS_KEY] | beam.MapTuple(
            lambda _, values: json.dumps(
                {k.name: float(v) for k, v in values.items() if not k.name.startswith("_")}
            )
        )
        _ = told | beam.io.WriteToText(str(file), shard_name_template="")
    return json.loads(file.read_text())


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_metrics_of_batches_are_those_of_all_their_rows(model, batch_size, tmp_path):
    found = metrics(model, batch_size, tmp_path / "metrics.json")
    # Of 4 x 2 pairs one is in the wrong order; of the clicked rows' 2 x 2, too.
    assert found["ctr_auc"] == pytest.approx(7 / 8, abs=1e-6)
    assert found["cvr_auc"] == pytest.approx(3 / 4, abs=1e-6)
    assert found["ctr_calibration"] == pytest.approx(3.0 / 4)
    assert found["cvr_calibration"] == pytest.approx(1.6 / 2)
    assert found["watch_mse"] == pytest.approx((0.25 + 0.25) / 6)
    assert found["watch_calibration"] == pytest.approx(1)  # TFMA's own, too


def extracts(label):
    rows = np.array([b"row"] * 3, object)
    return {
        tfma.INPUT_KEY: rows,
        tfma.FEATURES_KEY: {"age": np.ones(3)},
        tfma.LABELS_KEY: {"ctr": label},
        tfma.PREDICTIONS_KEY: {"candidate": {"ctr": np.array([[0.1], [0.2], [0.3]])}},
    }


def test_a_batch_becomes_one_example_without_its_features():
    (found,) = whole(extracts(np.array([0.0, 1.0, 1.0])))
    assert found.keys() == {tfma.LABELS_KEY, tfma.PREDICTIONS_KEY}
    assert found[tfma.LABELS_KEY]["ctr"].tolist() == [0, 1, 1]
    assert found[tfma.PREDICTIONS_KEY]["candidate"]["ctr"].size == 3


@pytest.mark.parametrize(
    "label",
    [
        np.array([np.array([0.0]), None, np.array([1.0])], object),
        np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]),
    ],
    ids=["a row without", "two a row"],
)
def test_labels_that_are_not_one_a_row_are_left_to_tfma_row_by_row(label):
    found = list(whole(extracts(label)))
    assert len(found) == 3
    for row, example in enumerate(found):
        prediction = example[tfma.PREDICTIONS_KEY]["candidate"]["ctr"]
        assert prediction.item() == pytest.approx(0.1 * (row + 1))
