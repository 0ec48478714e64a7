"""Where the time of one process goes: what its main thread is at, many times a second."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import FrameType

PERIOD_S = 0.02
RUNNING = "TensorFlow: running graphs"
BUILDING = "TensorFlow: building, loading and saving graphs"
FILES = "reading and writing files"
BEAM = "Beam: pipelines built, pickled and translated"
BUNDLE = "Beam: coders and calls inside of bundles"
OTHER = "anything else"
#: In a path -> what it is; the first that fits the innermost frame that fits any. What is in none,
#: such as NumPy and the standard library, counts for whoever called it.
PLACES = (
    ("/tensorflow/python/lib/io/", FILES),
    ("/tensorflow/python/eager/execute.py", RUNNING),
    ("/tensorflow/python/client/session.py", RUNNING),
    ("/tensorflow_transform/", "tensorflow-transform's Python"),
    ("/tensorflow_data_validation/", "TFDV's Python"),
    ("/tensorflow_metadata/", "TFDV's Python"),
    ("/tfx_bsl/", "tfx-bsl: examples to and from Arrow"),
    ("/tensorflow/", BUILDING),
    ("/tf_keras/", BUILDING),
    ("/apache_beam/io/", FILES),
    ("/gzip.py", FILES),
    ("/apache_beam/runners/portability/", "Beam: the runner and its shuffle"),
    ("/apache_beam/", BEAM),
    ("/ncs4cvr/", "ncs4cvr's steps"),
    ("/tfx/", "TFX and its metadata"),
    ("/ml_metadata/", "TFX and its metadata"),
)


def place(files: Iterable[str]) -> str:
    """What a thread is at, by its frames' files, the innermost first.

    >>> place(["/p/numpy/core.py", "/p/tensorflow_data_validation/a.py", "/p/apache_beam/b.py"])
    "TFDV's Python"
    """
    every = list(files)
    for file in every:
        for part, what in PLACES:
            if part in file:
                inside = what == BEAM and any("/apache_beam/runners/worker/" in f for f in every)
                return BUNDLE if inside else what
    return OTHER


def files_of(frame: FrameType | None) -> list[str]:
    """The files of a frame and of those that called it."""
    files = []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files


def shares(counts: Counter[str]) -> list[tuple[str, float]]:
    """What, and its share of all looks; the largest first."""
    total = sum(counts.values())
    return [(what, n / total) for what, n in counts.most_common()]


class Sampler:
    """Counts by what is going on (`now`, a name) where the main thread is.

    Frames of compiled code are not seen: it counts for the Python that called it.
    """

    def __init__(self, now: Callable[[], str]):
        self.counts: dict[str, Counter[str]] = {}
        self._now = now
        self._main = threading.main_thread().ident
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._stop.wait(PERIOD_S):
            name = self._now()
            frame = sys._current_frames().get(self._main or 0)
            if name:
                self.counts.setdefault(name, Counter())[place(files_of(frame))] += 1

    def of(self, names: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
        """name -> shares."""
        return {name: shares(self.counts[name]) for name in names if name in self.counts}
