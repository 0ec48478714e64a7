"""The benchmark of warm starts: rows by day, what is chosen, and the page."""

import dataclasses
from types import SimpleNamespace

import pytest
import tensorflow as tf

from ncs4cvr.pipeline.recipes.kuairand import RECIPE

DAYS = {"train": [20220101, 20220102, 20220101], "validate": [20220103]}


def example(day, number):
    of = {"day": day, "number": number}
    int64 = {n: tf.train.Feature(int64_list=tf.train.Int64List(value=[v])) for n, v in of.items()}
    return tf.train.Example(features=tf.train.Features(feature=int64)).SerializeToString()


@pytest.fixture
def data(tmp_path):
    """Training and validation rows; a test split that cannot be read."""
    from quality_parts.data import Data

    raw = tmp_path / "raw"
    for split, days in DAYS.items():
        (raw / f"Split-{split}").mkdir(parents=True)
        with tf.io.TFRecordWriter(str(raw / f"Split-{split}" / "data.gz"), "GZIP") as out:
            for number, day in enumerate(days):
                out.write(example(day, number))
    (raw / "Split-test").mkdir()
    (raw / "Split-test" / "data.gz").write_bytes(b"not to be read")

    @dataclasses.dataclass(frozen=True)
    class Examples(Data):
        spec: dict

        def transform_graph(self):
            return SimpleNamespace(raw_feature_spec=lambda: self.spec)

    spec = {"day": tf.io.FixedLenFeature([], tf.int64)}
    return Examples(tmp_path, raw, tmp_path / "rows", "", spec)


def numbers(file):
    records = tf.data.TFRecordDataset(str(file), "GZIP")
    parsed = [tf.train.Example.FromString(record.numpy()) for record in records]
    return [row.features.feature["number"].int64_list.value[0] for row in parsed]


def test_every_row_lies_once_with_its_day(data, tmp_path):
    from warm_start_parts.days import by_day

    for _ in range(2):  # the second time from what is kept
        days = by_day(RECIPE, data, tmp_path / "kept")
        found = {day: numbers(file) for day, file in days.files.items()}
        assert found == {20220101: [0, 2], 20220102: [1], 20220103: [0]}


def test_examples_without_days_are_refused(data, tmp_path):
    from quality_parts.data import NoRun
    from warm_start_parts.days import by_day

    with pytest.raises(NoRun, match="no column day"):
        by_day(RECIPE, dataclasses.replace(data, spec={}), tmp_path / "kept")


def row(arm, seed, day, watched, **settings):
    metrics = {"ctr_auc": watched, "cvr_auc": watched, "watched": watched}
    return {"seed": seed, "arm": arm, **settings, "day": day, "metrics": metrics}


def warm(share, rate, seed, watched):
    return row("warm", seed, 20220104, watched, warm_label_share=share, warm_learning_rate=rate)


ROWS = [
    row("stale", 1, 20220104, 0.5),
    row("stale", 2, 20220104, 0.5),
    *(warm(1.0, 0.001, seed, 0.6) for seed in (1, 2)),
    *(warm(0.2, 0.002, seed, 0.625) for seed in (1, 2)),
    *(warm(0.2, 0.001, seed, watched) for seed, watched in ((1, 0.625), (2, 0.75))),
    row("fresh", 1, 20220104, 0.75),
    row("fresh", 2, 20220104, 0.5),
]


def test_the_highest_mean_over_seeds_is_chosen():
    from warm_start_parts.page import chosen

    assert chosen(ROWS) == (0.2, 0.001)


def test_arms_are_compared_seed_by_seed():
    from warm_start_parts.page import differences

    fresh = ("fresh", None, None)
    assert differences(ROWS, ("warm", 0.2, 0.001), fresh) == [-0.125, 0.25]


def about(base):
    told = {"date": "2022-02-01", "machine": "2 x some", "recipe": "kuairand", "set": []}
    days = [20220101, 20220102, 20220103, 20220104]
    return {
        **told,
        "run_date": "2022-01-06",
        "seeds": [1, 2],
        "base": days[:base],
        "days": days[2:],
    }


def test_the_page_names_what_was_read_and_what_was_chosen():
    from warm_start_parts.page import section

    text = section(about(2), ROWS)
    assert "The first model is of 2022-01-01 to 2022-01-02" in text.replace("\n", " ")
    assert "`warm_label_share=0.2`, `warm_learning_rate=0.001`" in text
    assert "| `warm` | 0.2 | 0.001 | **0.6875** |" in text
    assert "+0.0625 ± 0.2652" in text  # of -1/8 and 2/8: mean 1/16, deviation 3/8 / sqrt 2


def test_a_command_replaces_what_it_found_before_and_nothing_else(tmp_path):
    from warm_start_parts import page

    for base in (2, 1, 2):
        page.write_json(tmp_path, {"about": about(base), "rows": ROWS})
    page.write(tmp_path)
    text = (tmp_path / "warm_start.md").read_text()
    assert [text.count(f"a first model of {base} days") for base in (1, 2)] == [1, 1]
