"""Where a step that was cut off goes on: a folder of checkpoints of its inputs and recipe alone."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tfx import types

from ncs4cvr.components import checksums

KEY = re.compile("[0-9a-f]{16}")  # a folder's name
UNUSED_DAYS = 7  # after which nobody goes on from a checkpoint

log = logging.getLogger("ncs4cvr")


def checkpoint(
    checkpoints: str,
    input_dict: Mapping[str, Sequence[types.Artifact]],
    exec_properties: Mapping[str, Any],
) -> str:
    """The folder of a step's own: the same inputs and properties give the same again."""
    uris = {key: [a.uri for a in artifacts] for key, artifacts in input_dict.items()}
    what = json.dumps([uris, exec_properties], sort_keys=True, default=str)
    return os.path.join(checkpoints, hashlib.sha256(what.encode()).hexdigest()[:16])


def forget(checkpoints: str) -> None:
    """Removes what steps left that were cut off and not taken up again for UNUSED_DAYS.

    Of younger ones another run may be at work. What cannot be removed stays: the step went well.
    """
    gfile = tf.io.gfile
    try:
        names = gfile.listdir(checkpoints) if gfile.exists(checkpoints) else []
        for name in (each.rstrip("/") for each in names):  # a bucket's folders end so
            path = os.path.join(checkpoints, name)
            if KEY.fullmatch(name) and time.time() - _written(path) > UNUSED_DAYS * 86_400:
                checksums.remove(path)
                log.info("removed %s, of a step that was cut off", path)
    except (OSError, tf.errors.OpError) as error:
        log.warning("old checkpoints in %s stay: %s", checkpoints, error)


def _written(folder: str) -> float:
    """When something in a folder, or its list of files, last changed; seconds since 1970."""
    files = (os.path.join(at, name) for at, _, names in tf.io.gfile.walk(folder) for name in names)
    return max(tf.io.gfile.stat(path).mtime_nsec for path in (folder, *files)) / 1e9
