"""What the Trainer records for the check of its export."""

import numpy as np
import tensorflow as tf

from ncs4cvr.components import serving_replay
from ncs4cvr.models.serving import recording


def load(path):
    return dict(np.load(path, allow_pickle=False))


def test_a_message_that_ends_with_zeros_comes_back_whole(tmp_path):
    examples = [b"a\0\0", b"", b"\0b"]
    path = str(tmp_path / "recorded.npz")
    recording.save(path, examples, {"ctr": np.zeros(3)}, {"ctr": np.ones(3)})
    assert list(serving_replay.examples(load(path))) == examples
    assert recording.examples_of(str(tmp_path)) == examples


def test_run_fn_records_raw_examples_with_the_models_predictions_and_labels(trained, world):
    found = load(f"{trained.folder}/run/{recording.FILE}")
    raw = tf.data.TFRecordDataset(f"{world.folder}/valid.gz", "GZIP")
    assert list(serving_replay.examples(found)) == list(raw.as_numpy_iterator())
    batch = next(iter(world.valid.in_order(len(world.valid_rows))))
    for name, expected in trained.model(batch).items():
        np.testing.assert_allclose(found[f"prediction/{name}"], expected, atol=1e-6)
    both = found["prediction/ctr"] * found["prediction/cvr"]
    np.testing.assert_allclose(found["prediction/ctcvr"], both, rtol=1e-6)


def test_a_post_click_label_is_known_on_clicked_rows_alone(trained, world):
    found = load(f"{trained.folder}/run/{recording.FILE}")
    click = np.array([row["click"][0] for row in world.valid_rows], np.float32)
    conversion = np.array([row["conversion"][0] for row in world.valid_rows], np.float32)
    np.testing.assert_array_equal(found["label/ctr"], click)
    np.testing.assert_array_equal(found["label/cvr"], np.where(click > 0, conversion, np.nan))
    np.testing.assert_array_equal(found["label/ctcvr"], conversion)
