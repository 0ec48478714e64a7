"""Tensors: interests x interactions x sharing x heads, ticket search, training and export."""

import tensorflow as tf
import tf_keras

import ncs4cvr.schemas  # noqa: F401  (asks for Keras 2 before TensorFlow is used)

if tf.keras.Model is not tf_keras.Model:
    raise ImportError(
        "ncs4cvr needs Keras 2 but TensorFlow already uses Keras 3: import ncs4cvr before anything "
        "that touches tf.keras, or set TF_USE_LEGACY_KERAS=1"
    )
