"""A C++ program over TensorFlow's C API: it answers as Python does, and takes the time right."""

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def cpp():
    from serving_parts import cpp

    return cpp


@pytest.fixture(scope="module")
def doubler(tmp_path_factory):
    """A SavedModel of one signature: y = 2 x, z = -x."""
    folder = str(tmp_path_factory.mktemp("doubler"))
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, "x")
    module.double = tf.function(lambda x: {"y": 2 * x, "z": -x}, input_signature=[spec])
    tf.saved_model.save(module, folder, signatures={"double": module.double})
    return folder


def test_it_answers_every_recorded_request_as_python_does(cpp, score, recorded, agree):
    requests = recorded.requests
    cases = [cpp.case(recorded.folder, name, inputs) for name, inputs, _ in requests]
    found = cpp.run(score, cases)
    for (_, _, expected), answer in zip(requests, found.answers, strict=True):
        agree(recorded, answer, expected)


def test_every_signature_is_asked(cpp, recorded):
    assert {name for name, *_ in recorded.requests} == set(cpp.signatures(recorded.folder))


def test_every_case_is_timed_in_every_round_by_a_clock_that_fits_into_the_run(
    cpp, score, doubler, recorded
):
    name, inputs, _ = recorded.requests[0]
    cases = [
        cpp.case(doubler, "double", {"x": np.float32([1, 2])}, calls=3),
        cpp.case(recorded.folder, name, inputs),
        cpp.case(doubler, "double", {"x": np.float32([3])}, calls=2),
    ]
    found = cpp.run(score, cases, rounds=4, warmup=1, threads=(1, 1))
    assert [s.shape for s in found.seconds] == [(4, 3), (4, 1), (4, 2)]
    assert all((s > 0).all() for s in found.seconds)
    assert list(found.load_seconds) == [doubler, recorded.folder]
    np.testing.assert_array_equal(found.answers[0]["y"], [2, 4])
    np.testing.assert_array_equal(found.answers[2]["z"], [-3])


def test_memory_is_resident_and_peak_and_grows_with_a_model(cpp, score, doubler):
    found = cpp.run(score, [cpp.case(doubler, "double", {"x": np.float32([1])})])
    assert list(found.memory_kib) == ["start", "loaded", "end"]
    assert all(0 < now <= peak for now, peak in found.memory_kib.values())
    assert found.memory_kib["start"][0] < found.memory_kib["loaded"][0]


def test_an_unknown_input_names_those_that_there_are(cpp, doubler):
    with pytest.raises(ValueError, match=r"double of .* takes \['x'\], not \['y'\]"):
        cpp.case(doubler, "double", {"y": np.float32([1])})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": "/nowhere"}, "loading /nowhere"),
        ({"fetches": {"y": "nothing:0"}}, "the graph has no nothing:0"),
        ({"feeds": {}}, "scoring"),
    ],
)
def test_what_the_program_cannot_do_is_an_error(cpp, score, doubler, change, message):
    good = cpp.case(doubler, "double", {"x": np.float32([1])})
    with pytest.raises(RuntimeError, match=message):
        cpp.run(score, [cpp.dataclasses.replace(good, **change)])


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"float32 3\n" + bytes(8), "8 bytes of values, its shape wants 12"),
        (b"float64 1\n" + bytes(8), "float64; known: float32, int64, string"),
        (b"string 1\n" + np.int64(5).tobytes() + b"four", "does not hold the bytes"),
    ],
)
def test_a_broken_tensor_file_is_an_error(cpp, score, doubler, file, message, monkeypatch):
    monkeypatch.setattr(cpp, "_encoded", lambda values: file)
    with pytest.raises(RuntimeError, match=message):
        cpp.run(score, [cpp.case(doubler, "double", {"x": np.float32([1])})])


def test_a_missing_compiler_is_named_with_its_remedy(cpp, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"no g\+\+ on PATH .*apt-get install g\+\+"):
        cpp.build(tmp_path)
