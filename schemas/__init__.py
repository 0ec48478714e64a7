"""What a log looks like: features, labels, tasks, recipes and the curated data schema.

Every other package of `ncs4cvr` imports this one, so the one process-wide setting lives here:
tensorflow-recommenders, tensorflow-model-optimization and tensorflow-transform all need Keras 2,
which current TensorFlow offers as the package `tf_keras` when this variable is set before
`tf.keras` is first used.
"""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
