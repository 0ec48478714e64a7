"""score.cc as seen from Python: built against the installed TensorFlow, given cases, run.

No Python is in the program's process, so its seconds are TensorFlow's alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SOURCE = Path(__file__).with_name("score.cc")
INSTALL = "install it, on Debian and Ubuntu with `apt-get install g++`"
Arrays = dict[str, np.ndarray]
#: glibc gives large blocks back to the system after every request and faults their pages in anew;
#: TF Serving's allocator keeps them.
KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A request to a SavedModel.

    Attributes:
      folder: of the SavedModel.
      feeds: {tensor of the graph: array of float32, int64 or bytes}.
      fetches: {output of the signature: tensor of the graph}.
      calls: in a row, in every round.
    """

    folder: str
    feeds: Mapping[str, np.ndarray]
    fetches: Mapping[str, str]
    calls: int = 1


@dataclasses.dataclass(frozen=True)
class Scores:
    """What came of the cases.

    Attributes:
      answers: {output: array} per case.
      seconds: [rounds, calls] per case.
      load_seconds: per folder.
      memory_kib: (resident, peak so far) at "start", when all models are "loaded", at the "end".
    """

    answers: list[Arrays]
    seconds: list[np.ndarray]
    load_seconds: dict[str, float]
    memory_kib: dict[str, tuple[int, int]]


def compiled(sources: Sequence[Path], stem: str, folder: Path, *flags: str) -> Path:
    """Compiles against TensorFlow's C API, unless `folder` holds just that already.

    Raises:
      RuntimeError: there is no g++, or it says no.
    """
    gxx = shutil.which("g++")
    if not gxx:
        raise RuntimeError(f"no g++ on PATH to build {stem} with: {INSTALL}")
    library = tf.sysconfig.get_lib()
    command = [gxx, "-O2", "-std=c++17", "-isystem", tf.sysconfig.get_include(), *flags]
    command += [*map(str, sources), f"-L{library}", f"-Wl,-rpath,{library}"]
    command += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    parts = [tf.__version__, *command, *(source.read_text() for source in sources)]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    built = folder / f"{digest}-{stem}"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        half = folder / f"{digest}-{os.getpid()}"
        done = subprocess.run([*command, "-o", str(half)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"g++ cannot build {stem}:\n{done.stderr[-3000:]}")
        half.replace(built)
    return built


def build(folder: Path) -> Path:
    """The program score, built into `folder`."""
    return compiled([SOURCE], "score", folder, "-Wall")


def case(folder: str, signature: str, inputs: Arrays, calls: int = 1) -> Case:
    """A request to one of the SavedModel's signatures, by the names of its inputs."""
    definition = signatures(folder)[signature]
    if sorted(inputs) != sorted(definition.inputs):
        wanted = sorted(definition.inputs)
        raise ValueError(f"{signature} of {folder} takes {wanted}, not {sorted(inputs)}")
    feeds = {definition.inputs[name].name: np.asarray(x) for name, x in inputs.items()}
    fetches = {name: info.name for name, info in sorted(definition.outputs.items())}
    return Case(folder, feeds, fetches, calls)


def signatures(folder: str) -> dict:
    """{name: SignatureDef} of a SavedModel, those for callers only."""
    found = _graph(folder).signature_def.items()
    return {name: each for name, each in found if each.method_name.endswith("/predict")}


def made_by(folder: str) -> str:
    """The version of the TensorFlow that wrote a SavedModel."""
    return _graph(folder).meta_info_def.tensorflow_version


def _graph(folder: str):
    saved = saved_model_pb2.SavedModel.FromString(Path(folder, "saved_model.pb").read_bytes())
    (graph,) = (g for g in saved.meta_graphs if "serve" in g.meta_info_def.tags)
    return graph


def run(
    program: Path,
    cases: Sequence[Case],
    rounds: int = 0,
    warmup: int = 0,
    threads: tuple[int, int] = (0, 0),
) -> Scores:
    """Answers every case once; then times them in turns, in a new order every round.

    Args:
      program: from `build`.
      cases: models are loaded in the order in which they first appear.
      rounds: timed ones.
      warmup: untimed rounds before.
      threads: within and between operations; 0 leaves it to TensorFlow.

    Raises:
      RuntimeError: the program failed; the message is its own.
    """
    with tempfile.TemporaryDirectory(prefix="score-") as scratch:
        folder = Path(scratch)
        folders = list(dict.fromkeys(c.folder for c in cases))
        plan = [("threads", *threads), *(("model", Path(f).absolute()) for f in folders)]
        for i, c in enumerate(cases):
            plan.append(("case", folders.index(c.folder), c.calls))
            for k, (tensor, values) in enumerate(c.feeds.items()):
                (folder / f"in-{i}-{k}").write_bytes(_encoded(values))
                plan.append(("feed", tensor, folder / f"in-{i}-{k}"))
            for k, tensor in enumerate(c.fetches.values()):
                plan.append(("fetch", tensor, folder / f"out-{i}-{k}"))
        plan += [("rounds", warmup, rounds), ("report", folder / "report")]
        lines = ["\t".join(map(str, line)) + "\n" for line in plan]
        (folder / "plan").write_text("".join(lines))
        done = subprocess.run(
            [str(program), str(folder / "plan")],
            capture_output=True,
            text=True,
            env={**os.environ, **KEEPS_MEMORY, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-3000:]}")
        answers = [
            {name: _decoded(folder / f"out-{i}-{k}") for k, name in enumerate(c.fetches)}
            for i, c in enumerate(cases)
        ]
        return _scores(answers, folders, (folder / "report").read_text())


def _scores(answers: list[Arrays], folders: list[str], report: str) -> Scores:
    seconds: list[list[list[float]]] = [[] for _ in answers]
    load: dict[str, float] = {}
    memory: dict[str, tuple[int, int]] = {}
    for line in report.splitlines():
        kind, subject, *values = line.split("\t")
        if kind == "load":
            load[folders[int(subject)]] = float(values[0])
        elif kind == "memory":
            memory[subject] = (int(values[0]), int(values[1]))
        else:
            seconds[int(subject)].append([float(v) for v in values])
    return Scores(answers, [np.array(s) for s in seconds], load, memory)


def _encoded(values: np.ndarray) -> bytes:
    """A tensor's file, as score.cc describes it. Strings: an object array of bytes."""
    shape = "".join(f" {n}" for n in values.shape)
    if values.dtype == object:
        strings = values.ravel().tolist()
        lengths = np.array([len(s) for s in strings], "<i8")
        return f"string{shape}\n".encode() + lengths.tobytes() + b"".join(strings)
    if values.dtype not in (np.float32, np.int64):
        # numpy's own strings drop zero bytes at their end, which serialized Examples may have.
        raise TypeError(f"an input is {values.dtype}: float32, int64 or object (bytes) is known")
    return f"{values.dtype}{shape}\n".encode() + values.tobytes()


def _decoded(path: Path) -> np.ndarray:
    head, _, data = path.read_bytes().partition(b"\n")
    kind, *shape = head.decode().split()
    return np.frombuffer(data, kind).reshape([int(n) for n in shape])
