"""Small logs in every format, and runs of the log pipeline on them."""

import csv
import dataclasses
import gzip
import json
import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from ncs4cvr.components.log.log_pipeline import write_examples
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import HISTORY_COLUMNS, Label, Log, Split, Tally

RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
DAY_MS = 86_400_000
FIRST_DAY = 18_993  # 2022-01-01
Row = dict[str, Any]

LABELS = (
    Label("click", "is_click"),
    Label("conversion", "long_view", given="click"),
    Label("completion", "played", over="duration"),
)
SPLITS = (Split("train", "2022-01-02", "2022-01-04"), Split("test", "2022-01-05", "2022-01-06"))
TALLIES = (
    Tally("user_n", "user"),
    Tally("user_clicks", "user", "click"),
    Tally("user_cvr", "user", "conversion", "click", prior=0.5, strength=2),
    Tally("user_long", "user", "conversion", "impression", prior=0.25, strength=4),
    Tally("video_n", "video"),
    Tally("video_ctr", "video", "click", "impression", prior=0.5, strength=2),
    Tally("video_long", "video", "conversion", "impression", prior=0.25, strength=4),
)
FEATURES = (
    Feature("tab"),
    Feature("duration", kind="number", dtype="float"),
    Feature("city", "user", dtype="string"),
    Feature("age", "user", kind="number"),
    Feature("tags", "video", "tags", "string"),
    Feature("author", "video"),
    *(Feature(t.name, "tally", "number", "float" if t.trials else "int") for t in TALLIES),
    *(Feature(name, "history", "sequence", length=4) for name in HISTORY_COLUMNS),
)


@dataclasses.dataclass
class SmallLog:
    """Rows of the four files, and a place to write them to."""

    folder: Path
    events: list[Row]
    users: list[Row]
    videos: list[Row]
    history: list[Row]

    def write(self, ending: str = "parquet", pieces: int = 1) -> Log:
        """Writes the files, the events in `pieces`, and describes them."""
        for kind in ("events", "users", "videos", "history"):
            rows = getattr(self, kind)
            many = pieces if kind == "events" else 1
            for i in range(many):
                write_rows(self.folder / f"{kind}-{i}.{ending}", rows[i::many])
        return self.log(ending)

    def log(self, ending: str = "parquet") -> Log:
        """The description of the files."""
        return Log(
            **{
                k: f"{self.folder}/{k}-*.{ending}" for k in ("events", "users", "videos", "history")
            },
            columns=(("time_ms", "ts"),),
            history_order="steps",
            history_length=4,
            history_actions=("click", "conversion"),
            labels=LABELS,
            tallies=TALLIES,
            splits=SPLITS,
        )


def write_rows(path: Path, rows: list[Row]) -> None:
    """Writes rows in the format of the path's ending."""
    name = path.name
    opened = gzip.open if name.endswith(".gz") else open
    if ".parquet" in name:
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ".csv" in name:
        with opened(path, "wt", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif ".jsonl" in name:
        with opened(path, "wt") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        packed = "GZIP" if name.endswith(".gz") else ""
        with tf.io.TFRecordWriter(str(path), packed) as writer:
            for row in rows:
                writer.write(tf_example(row).SerializeToString())


def tf_example(row: Row) -> tf.train.Example:
    example = tf.train.Example()
    for name, value in row.items():
        feature = example.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        elif value is not None:
            feature.int64_list.value.append(value)
    return example


def random_log(folder: Path, seed: int, rows: int = 60, words: bool = False) -> SmallLog:
    """Days 2022-01-01 to 01-06, of which the first belongs to no split; times often tie."""
    rng = random.Random(seed)

    def user(i: int) -> Any:
        return f"u{i}" if words else i

    def video(i: int) -> Any:
        return f"v{i}" if words else 100 + i

    events = []
    for i in range(rows):
        day = i % 6
        clicked = rng.randrange(2) if i >= 24 else 1  # every split has positives
        events.append(
            {
                "user_id": user(rng.randrange(5)),
                "video_id": video(rng.randrange(6)),
                "ts": (FIRST_DAY + day) * DAY_MS + 3_600_000 * rng.randrange(4),
                "is_click": clicked,
                "long_view": rng.randrange(2) if i >= 24 else 1,
                "played": rng.randrange(40),
                "duration": float(rng.randrange(-1, 30)),
                "tab": rng.randrange(3),
                "row": i,
            }
        )
    return SmallLog(
        folder,
        events,
        [{"user_id": user(i), "city": f"c{i % 2}", "age": 20 + i} for i in range(4)],
        [{"video_id": video(i), "tags": f"a,b{i}", "author": i % 3} for i in range(5)],
        [
            {
                "user_id": user(rng.randrange(5)),
                "video_id": video(rng.randrange(6)),
                "steps": i,
                "long_view": rng.randrange(2),
            }
            for i in range(12)
        ],
    )


@dataclasses.dataclass
class Result:
    """What a run wrote."""

    counts: dict[str, Any]
    splits: dict[str, list[Row]]
    dead: list[Row]
    shards: dict[str, bytes]

    @property
    def examples(self) -> list[Row]:
        """Those of all splits, in an order that does not depend on the files."""
        every = [{**row, "split": name} for name, rows in self.splits.items() for row in rows]
        return sorted(every, key=repr)


def run_log(
    log: Log,
    out: Path,
    features: tuple[Feature, ...] = FEATURES,
    bucket_rows: int = 1000,
    beam_args: tuple[str, ...] = (),
) -> Result:
    """Runs the pipeline and reads back what it wrote."""
    counts = write_examples(
        log,
        features,
        {split.name: str(out / f"Split-{split.name}") for split in log.splits},
        str(out / "dead_letters"),
        str(out / "temp"),
        lambda: beam.Pipeline(argv=[*(beam_args or (RUNNER,))]),
        bucket_rows,
    )
    assert not (out / "temp").exists()
    shards = {str(path.relative_to(out)): path for path in sorted(out.glob("Split-*/*"))}
    splits = {
        split.name: [
            row for name, path in shards.items() if split.name in name for row in read(path)
        ]
        for split in log.splits
    }
    letters = sorted((out / "dead_letters").glob("*.jsonl"))
    dead = [json.loads(line) for path in letters for line in path.read_text().splitlines()]
    return Result(counts, splits, dead, {n: path.read_bytes() for n, path in shards.items()})


def read(path: Path) -> list[Row]:
    """Examples of a gzip TFRecord: lists become tuples, and one value that value."""
    rows = []
    for data in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
        row = {}
        for name, feature in tf.train.Example.FromString(data).features.feature.items():
            values = tuple(getattr(feature, feature.WhichOneof("kind")).value)
            values = tuple(v.decode() if isinstance(v, bytes) else v for v in values)
            row[name] = values if name in HISTORY_COLUMNS else values[0]
        rows.append(dict(sorted(row.items())))
    return rows


@pytest.fixture
def logs():
    """Makes and runs small logs: logs.random(folder, seed), logs.run(log, out), ..."""

    class Logs:
        random = staticmethod(random_log)
        run = staticmethod(run_log)
        write_rows = staticmethod(write_rows)
        features = FEATURES

    return Logs
