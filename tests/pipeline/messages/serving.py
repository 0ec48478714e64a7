"""Errors of what asks a model: `predict`, `kit`, `loadtest`."""

import datetime as dt
import json

import pyarrow as pa
import pyarrow.parquet as pq


def requests(path):
    """A warm-up file that asks for a signature that no model has."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "regress"
    log.predict_log.request.inputs["user"].CopyFrom(tf.make_tensor_proto([1]))
    with tf.io.TFRecordWriter(str(path)) as out:
        out.write(log.SerializeToString())


def other_model(path):
    """A SavedModel whose only signature is not one of ours."""
    import tensorflow as tf

    module = tf.Module()
    module.score = tf.function(lambda x: {"y": x}, [tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(module, str(path), signatures={"score": module.score})


def cases(Case, report, FAULT, USAGE, REFUSED, **_):
    """All of them."""

    def case(about, command, status, *told, files=None, world="nothing", **more):
        return Case(about, command, status, told, files or {}, world, **more)

    def kit(about, options, *told, files=None, world="model"):
        found = {"runs/small/artifacts/ServingCheck/blessing/1/serving_check.json": report()}
        command = f"kit runs/small --output kit {options}"
        return case(about, command, USAGE, *told, files=files or found, world=world)

    def predict(about, content, *told, name="rows.csv", options="", more=None):
        files = ({} if content is None else {name: content}) | (more or {})
        command = f"predict runs/small/serving --input {name} {options}"
        return case(f"predict: {about}", command, REFUSED, *told, files=files, world="model")

    def load(about, options, status, *told, where="{grpc}", world="endpoint_of_model", **more):
        command = f"loadtest {where} {options}"
        return case(f"loadtest: {about}", command, status, *told, world=world, **more)

    row = "user,city,price,history\n1,Oslo,2.5,[3]\n"
    when = pa.table(
        {"user": [dt.datetime(2022, 5, 6)], "city": [""], "history": [[3]], "price": [2.5]}
    )
    days = pa.table({"user": [1], "city": [""], "history": [[3]], "price": [dt.date(2022, 5, 6)]})
    times = "runs/small/serving/7/assets.extra/times.json"
    replay = "--requests runs/small/serving --duration 0.1"
    return [
        # -- predict -------------------------------------------------------------------------
        case("predict: no model", "predict runs/none --input r.csv", REFUSED,
             "runs/none holds no SavedModel", "give a run's serving folder"),
        case("predict: a model that is cut off", "predict m --input rows.csv", REFUSED,
             "m cannot be loaded", "pushes a whole model",
             files={"m/saved_model.pb": "noise", "rows.csv": row}),
        case("predict: a model that takes no columns", "predict m --input rows.csv", REFUSED,
             "m has no signature 'predict'", "it has score", "give a model that ncs4cvr pushed",
             files={"m": other_model, "rows.csv": row}),
        predict("no file", None, "rows.csv: no such file", "check the path"),
        predict("a file of no known kind", row, "rows.txt: expected a file that ends in .parquet",
                name="rows.txt"),
        predict("a file of another kind than its ending says", row,
                "rows.parquet cannot be read as parquet", "write it again", name="rows.parquet"),
        predict("a file without rows", "user,city,price,history\n", "rows.csv holds no row",
                "expected at least one"),
        predict("a column that is missing", row.replace("city", "citi"),
                "rows.csv lacks 1 of the model's 4 columns: city (is it citi?)", "add or rename"),
        predict("a cell of another type", row.replace("1,Oslo", "one,Oslo"),
                "rows.csv: column 'user' must hold int; row 1 holds 'one'", "correct the cell"),
        predict("a line that is no JSON object", "[1]\n",
                "rows.jsonl: line 1 must hold one JSON object, it is '[1]'", "correct it",
                name="rows.jsonl"),
        predict("a list where one value is wanted",
                '{"user": 1, "city": ["Oslo", "Bergen"], "price": 2.5, "history": [3]}\n',
                "rows.jsonl: column 'city' must hold one value a row; row 1 holds",
                "join its values", name="rows.jsonl"),
        predict("a column of another kind", lambda path: pq.write_table(days, path),
                "rows.parquet: column 'price' must hold float, it holds date32", "convert it",
                name="rows.parquet"),
        predict("a time where a number is wanted", lambda path: pq.write_table(when, path),
                "rows.parquet: column 'user' must hold int, it holds timestamp[us]",
                "convert it to milliseconds", name="rows.parquet"),
        predict("a time that is none", row.replace("1,Oslo", "soon,Oslo"),
                "rows.csv: column 'user' must hold a time in s since 1970, or an ISO time",
                "row 1 holds 'soon'", "correct the cell", more={times: json.dumps(
                    {"column": "user", "unit": "s", "utc_offset_hours": 0})}),
        predict("an export that does not tell how times are written", row,
                "7/assets.extra/times.json does not tell how times are written (", "unit",
                "pushes a whole model", more={times: '{"column": "user", "unit": "min", '
                                                     '"utc_offset_hours": 0}'}),
        predict("a cell that is no list", row.replace("[3]", "3"),
                "rows.csv: column 'history' must hold lists; row 1 holds", "such as [3, 5]"),
        predict("an output of no known kind", row,
                "out.txt: the output must end in .csv or .parquet", options="--output out.txt"),
        predict("an output in no folder", row, "no/out.csv: there is no folder no", "make it",
                options="--output no/out.csv"),
        # -- kit -----------------------------------------------------------------------------
        kit("kit: no model", "", "serving holds no numbered version", "such as runs/kuairand",
            world="nothing"),
        kit("kit: a version that there is not", "--stable 9", "no version 9 to label stable",
            "give one of 7 to --stable"),
        kit("kit: a name that Kubernetes refuses", "--name My_Model", "'My_Model'",
            "52 lower-case letters"),
        kit("kit: no processor", "--cpus 0",
            "--cpus and --latency-ms must be positive, not 0 and 20"),
        kit("kit: a budget that no batch keeps", "--latency-ms 1", "no batch stays within 1 ms",
            "64 rows take 6 ms at p99", "raise --latency-ms"),
        kit("kit: no latencies", "", "holds no report of a ServingCheck", "--measured",
            files={"x": ""}),
        kit("kit: a report that is none", "--measured x", "x is no report of ServingCheck",
            "KeyError: 'calls'", "leave out --measured", files={"x": "{}"}),
        kit("kit: latencies that cannot be", "--measured x", "no latency of a batch", "p50_ms=7",
            "expected batch >= 1, 0 < p50 <= p99", files={"x": report(calls=[
                {"signature": "serving_default", "batch": 1, "p50_ms": 7, "p99_ms": 6}])}),
        # -- loadtest ------------------------------------------------------------------------
        load("no address", replay, USAGE, "no endpoint: 'localhost'", "host:port",
             where="localhost"),
        load("no rows a request", f"{replay} --batch 0", USAGE, "--batch must be positive"),
        load("no seconds", f"{replay} --duration 0", USAGE, "--duration", "not 0"),
        load("no folder for the result", f"{replay} --output gone/load.json", USAGE,
             "gone/load.json: there is no folder gone", "make it, or name another"),
        load("no server", f"{replay} --timeout 0.2", FAULT, "no server at 127.0.0.1:1",
             "ncs4cvr kit", where="127.0.0.1:1"),
        load("no HTTP server", f"{replay} --timeout 0.2", FAULT, "no server at http://127.0.0.1:1",
             "no HTTP server answers there", where="http://127.0.0.1:1"),
        load("no model of that name", f"{replay} --model other", FAULT,
             "has no model 'other'", "see --model and --label"),
        load("another model's requests", "--requests warm", FAULT, "refuses the request", "regress",
             "give --requests of this very model", files={"warm": requests}),
        load("a server that fails", replay, FAULT, "does not answer the first request",
             "the disk is on fire", "the server's own log", world="failing"),
        load("no signature of that name", "--requests rows.csv --signature regress", USAGE,
             "no signature 'regress'", "--signature: predict, rank", files={"rows.csv": row}),
        load("no requests", "--requests none", USAGE, "none: no such file", "give a serving"),
        load("a file of no requests", "--requests noise", USAGE,
             "noise is no file of TF Serving warm-up requests", "give a serving folder or rows",
             files={"noise": "this is not a file of records"}),
        load("no request of that signature", f"{replay} --signature predict", USAGE,
             "holds no request for the signature 'predict'",
             "it has some for: rank, serving_default"),
    ]  # fmt: skip
