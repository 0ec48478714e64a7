"""The encoder against TensorFlow's own parser."""

import numpy as np
import pyarrow as pa
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ncs4cvr.components.log.tf_example import encode

ints = st.integers(-(2**63), 2**63 - 1)
rows = st.lists(
    st.tuples(
        st.none() | ints,
        st.none() | st.floats(width=32, allow_nan=False),
        st.none() | st.text(alphabet="aé\n日", max_size=200),
        st.lists(ints, max_size=30),
        st.lists(st.text(max_size=3), max_size=4),
    ),
    min_size=1,
    max_size=20,
)
TYPES = [pa.int64(), pa.float32(), pa.string(), pa.list_(pa.int64()), pa.list_(pa.string())]


def decoded(data):
    example = tf.train.Example.FromString(data)
    return {
        name: [v.decode() if isinstance(v, bytes) else v for v in values]
        for name, feature in example.features.feature.items()
        for values in [getattr(feature, feature.WhichOneof("kind")).value]
    }


@given(rows)
def test_tensorflow_reads_back_every_value_and_no_missing_one(table):
    names = "int", "float", "text" * 50, "ints", "texts"
    columns = {name: pa.array([row[i] for row in table], TYPES[i]) for i, name in enumerate(names)}
    encoded = encode(columns).to_pylist()
    assert encoded == encode(columns).to_pylist()
    for data, row in zip(encoded, table, strict=True):
        want = {n: v if isinstance(v, list) else [v] for n, v in zip(names, row) if v is not None}
        assert decoded(data) == want


def test_a_slice_of_a_longer_table_is_encoded_alone():
    lists = pa.array([[1, 2], [3], [], [4, 5, 6]]).slice(1, 3)
    assert [decoded(data)["a"] for data in encode({"a": lists}).to_pylist()] == [[3], [], [4, 5, 6]]
    assert len(encode({"a": pa.array(np.arange(5)).slice(3)})) == 2
