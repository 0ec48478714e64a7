"""Tensors: interests x interactions x sharing x heads, ticket search, training and export.

TFX calls preprocessing.py and trainer.py; a further worker of a training is worker.py. The rooms,
each of which may import those above it:

    together    several processes and devices that train one model
    layers      what a model is made of
    evaluation  metrics, their intervals, and the verdict on a model
    learning    batches, steps, the training loop
    pruning     the ticket search, and tickets; the arithmetic of masks is sparsity.py
    packed      tickets over one value table, decoded at load
    days        from an earlier day's model to today's
    serving     the exported model
"""

import tensorflow as tf
import tf_keras

import ncs4cvr.schemas  # noqa: F401  (asks for Keras 2 before TensorFlow is used)

if tf.keras.Model is not tf_keras.Model:
    raise ImportError(
        "ncs4cvr needs Keras 2 but TensorFlow already uses Keras 3: import ncs4cvr before anything "
        "that touches tf.keras, or set TF_USE_LEGACY_KERAS=1"
    )
