"""Errors of all commands but `run` and `init`, and of runs that went through."""

import datetime as dt
import json
import shutil

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


def one_row(**columns):
    """What writes a shard, which nobody sealed, of one row with these bytes."""

    def write(path):
        import tensorflow as tf

        from ncs4cvr.components import checksums
        from ncs4cvr.components.log.log_steps import GZIP

        row = tf.train.Example()
        for name, value in columns.items():
            row.features.feature[name].bytes_list.value.append(value)
        with tf.io.TFRecordWriter(str(path), GZIP) as out:
            out.write(row.SerializeToString())
        checksums.unseal(str(path.parents[1].resolve()))

    return write


def cut_off(path):
    """Takes the end off a shard that nobody sealed."""
    from ncs4cvr.components import checksums

    path.write_bytes(path.read_bytes()[:-30])
    checksums.unseal(str(path.parents[1].resolve()))


def cases(Case, recipe, report, FAULT, USAGE, NOT_BLESSED, REFUSED, **_):
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

    def compiled(about, options, *told):
        return case(f"compile: {about}", f"compile kuairand {options}", USAGE, *told)

    def submit(about, options, status, *told, world="kubeflow", command="submit", where="{host}"):
        command = f"{command} pipeline.yaml --host {where} {options}"
        return case(about, command.strip(), status, *told, world=world)

    def rows(about, options, status, *told, files=None, world="judged"):
        command = f"rows runs/small {options}"
        return case(f"rows: {about}", command, status, *told, files=files, world=world)

    artifacts = "runs/small/artifacts"
    shard = f"{artifacts}/VideoLogExampleGen/examples/1/Split-test/data_tfrecord-00000-of-00002.gz"
    row = "user,city,price,history\n1,Oslo,2.5,[3]\n"
    when = pa.table(
        {"user": [dt.datetime(2022, 5, 6)], "city": [""], "history": [[3]], "price": [2.5]}
    )
    days = pa.table({"user": [1], "city": [""], "history": [[3]], "price": [dt.date(2022, 5, 6)]})
    times = "runs/small/serving/7/assets.extra/times.json"
    replay = "--requests runs/small/serving --duration 0.1"
    where = "--image i:1 --root /r"
    return [
        # -- runs ----------------------------------------------------------------------------
        case("no report", "report elsewhere", USAGE, "no report in elsewhere",
             "give the folder of a run"),
        case("no runs", "runs elsewhere", USAGE, "no runs in elsewhere", "--root of a run named"),
        case("somebody at work", "run mine.py", FAULT, "runs/small is in use: `ncs4cvr run small`",
             "process", "wait for its end, or stop it", world="locked",
             files={"mine.py": recipe()}),
        case("metadata that is locked", "run mine.py", FAULT,
             "runs/small/metadata.sqlite is locked or cannot be opened (database is locked)",
             "was left as it is", "close what uses it", world="busy", files={"mine.py": recipe()}),
        case("a version that rotted", "doctor runs", FAULT, "version 2, which is served",
             "saved_model.pb has changed", "cure: the next `ncs4cvr run` that is blessed pushes a",
             world="rotten", stderr=False),
        case("a list of a kit's versions that rotted", "doctor runs", FAULT, "runs/small: kit",
             "pinned.json does not say which versions a kit labels", "cure: write the kit anew",
             world="versions", stderr=False, files={"runs/small/serving/pinned.json": "{"}),
        case("a model of an earlier day than what is served", "run mine.py", NOT_BLESSED,
             "not pushed: it is older than what is served: trained to 2022-01-03, served is "
             "2022-01-04", "`ncs4cvr rollback --to`", world="finished", slow=True, stderr=False,
             files={"mine.py": recipe('"2022-01-04"', '"2022-01-03"')}),
        case("a model below its gate", "run mine.py", NOT_BLESSED, "ctr_auc is ", "nothing pushed",
             "it must be at least 0.99", world="finished", slow=True, stderr=False,
             files={"mine.py": recipe("at_least=0.2", "at_least=0.99")}),
        case("a model that is too large to serve", "run mine.py --set max_model_mb=0.01",
             NOT_BLESSED, "max_model_mb allows 0.01", "nothing pushed", world="finished", slow=True,
             stderr=False, files={"mine.py": recipe()}),
        case("tickets for another network", "run mine.py --set hidden=8 --tickets runs/small",
             FAULT, "Trainer: these tickets belong to another model: hidden was (4,), is (8,)",
             "Search again", "All that was logged: runs/small/run.log", world="finished", slow=True,
             files={"mine.py": recipe()}),
        case("tickets for other tasks", "run mine.py --tickets runs/small", FAULT,
             "Trainer: these tickets are for tasks ['ctr', 'cvr'], the recipe has ['ctr', 'cvrs']",
             "search again for this recipe", world="finished", slow=True,
             files={"mine.py": recipe('Task("cvr"', 'Task("cvrs"').replace('"cvr")', '"cvrs")')}),
        # -- rollback ------------------------------------------------------------------------
        case("rollback: no run", "rollback runs/none", USAGE, "runs/none", "no folder `serving`"),
        case("rollback: no version", "rollback runs/small", USAGE, "serving holds no version",
             "the first `ncs4cvr run` that is blessed", files={"runs/small/serving/x": ""}),
        case("rollback: no such version", "rollback runs/small --to 9", USAGE,
             "version 9 is not there", "--to: 1, 2", world="versions"),
        case("rollback: what is served", "rollback runs/small --to 2", USAGE, "version 2",
             "holds the same as 2", "name another: --to", world="versions"),
        case("rollback: a damaged version", "rollback runs/small --to 2", USAGE,
             "version 2 is damaged", "--to: 1", world="rotten"),
        case("rollback: nothing before", "rollback runs/small", USAGE, "no whole version",
             "lies before 7", "whole ones", world="model"),
        # -- clean ---------------------------------------------------------------------------
        case("clean: no run", "clean mine.py --root elsewhere", USAGE, "elsewhere/small",
             "it has no folder `artifacts`", "--root of the runs named",
             files={"mine.py": recipe()}),
        case("clean: no run to keep", "clean mine.py --keep 0", USAGE, "--keep 0",
             "the next run needs the last one", "keep 1 or more", files={"mine.py": recipe()}),
        case("clean: somebody at work", "clean mine.py", FAULT,
             "runs/small is in use: `ncs4cvr run small`", "process", "wait for its end, or stop it",
             world="locked", files={"mine.py": recipe(), "runs/small/artifacts/x": ""}),
        case("clean: metadata that are damaged", "clean mine.py", FAULT,
             "runs/small/metadata.sqlite is damaged (file is not a database)",
             "nothing was removed", "`ncs4cvr run` puts it in order",
             files={"mine.py": recipe(), "runs/small/artifacts/x": "",
                    "runs/small/metadata.sqlite": "noise" * 1000}),
        case("clean: metadata that are locked", "clean mine.py", FAULT,
             "runs/small/metadata.sqlite is locked or cannot be opened (database is locked)",
             "was left as it is", "close what uses it", world="busy",
             files={"mine.py": recipe(), "runs/small/artifacts/x": ""}),
        # -- what a run left -----------------------------------------------------------------
        case("tickets without soft labels", "run mine.py --tickets runs/small "
             "--set soft_labels=rounds", FAULT, "Trainer: the tickets in", "have no soft labels",
             "search with soft_labels=rounds", world="finished", slow=True,
             files={"mine.py": recipe()}),
        case("no tickets", "tickets runs/none", USAGE, "no tickets in runs/none", "tickets.json"),
        case("broken tickets", "tickets t", REFUSED, "the tickets in", "t are broken",
             "search again", files={"t/tickets.json": "{}", "t/tickets.npz": "noise"}),
        case("half of the tickets", "tickets t", REFUSED, "t holds no tickets", "tickets.npz",
             "name the folder of a TicketSearch output", files={"t/tickets.json": "{}"}),
        case("export: a folder that exists", "export runs/small --output out", USAGE, "out exists",
             "name a new folder", files={"out/x": ""}),
        case("export: plain and packed", "export runs/small --output o --plain --weights bf16",
             USAGE, "--plain packs nothing", "leave out --weights"),
        case("export: a choice that there is not", "export runs/small --output o --weights f16",
             USAGE, "--weights", "'f16'", "choose from"),
        case("export: no run", "export runs/none --output o", USAGE,
             "no model_run with weights.npz in runs/none/artifacts/Trainer/model_run",
             "a finished run"),
        case("inspect: no model", "inspect runs/none", REFUSED, "runs/none holds no SavedModel",
             "give a run's serving folder"),
        case("inspect: a model that is cut off", "inspect m", REFUSED,
             "m/saved_model.pb is no SavedModel",
             "pushes a whole one", files={"m/saved_model.pb": "noise"}),
        case("inspect: packed weights that are broken", "inspect runs/small/serving", REFUSED,
             "assets/weights.ncs: no packed weights: it begins with", "export again", world="model",
             files={"runs/small/serving/7/assets/weights.ncs": "noise"}),
        # -- rows ----------------------------------------------------------------------------
        rows("no run", "--output r.csv", USAGE, "no run in runs/small has finished",
             "give the folder of a finished run", world="nothing"),
        rows("metadata that are locked", "--output r.csv", FAULT,
             "runs/small/metadata.sqlite is locked or cannot be opened", "was left as it is",
             "close what uses it", world="busy"),
        rows("no split of that name", "--output r.csv --split eval", USAGE,
             f"{artifacts}/VideoLogExampleGen/examples/1 has no split 'eval'",
             "give --split one of test, train"),
        rows("examples that were removed", "--output r.csv", USAGE,
             f"{artifacts}/VideoLogExampleGen/examples/1, of the last finished run, was removed",
             "`ncs4cvr run` makes it anew",
             files={f"{artifacts}/VideoLogExampleGen/examples/1": shutil.rmtree}),
        rows("examples that have changed", "--output r.csv", REFUSED,
             f"{artifacts}/VideoLogExampleGen/examples/1 is damaged", "00000-of-00002.gz has chang",
             "`ncs4cvr run` makes it anew", files={shard: "noise"}),
        rows("examples that are cut off", "--output r.csv", REFUSED,
             f"{shard} cannot be read to its end", "`ncs4cvr run` makes it anew",
             files={shard: cut_off}),
        rows("metadata that are damaged", "--output r.csv", REFUSED,
             "runs/small/metadata.sqlite is damaged (file is not a database)",
             "nobody can tell which examples are the run's", "`ncs4cvr run` puts it in order",
             files={"runs/small/metadata.sqlite": "noise" * 1000}),
        rows("bytes that are no text", "--output r.parquet", REFUSED,
             "column 'city' of the examples does not hold string in every row",
             "`predict` would refuse", files={shard: one_row(city=b"\xff")}),
        rows("a NUL character for CSV", "--output r.csv", REFUSED,
             "column 'city' holds text with a NUL character", "write .parquet or .jsonl",
             files={shard: one_row(city=b"a\0")}),
        rows("an output that exists", "--output r.csv", USAGE, "r.csv exists",
             "remove it or give another --output", files={"r.csv": ""}),
        rows("an output of no known kind", "--output r.txt", REFUSED,
             "r.txt: the output must end in .parquet or .csv or .jsonl"),
        rows("an output in no folder", "--output no/r.csv", REFUSED,
             "no/r.csv: there is no folder no", "make it"),
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
        # -- Kubeflow ------------------------------------------------------------------------
        compiled("resources that cannot be read", f"{where} --resources Trainer=cpu",
                 "'Trainer=cpu'", "expected STEP=cpu:4,memory:16,gpu:1"),
        compiled("resources that are none", f"{where} --resources Trainer=cpu:0", "came cpu:0",
                 "write such as cpu:4"),
        compiled("resources without bounds", f"{where} --resources Trainer=memory:nan",
                 "--resources 'Trainer=memory:nan'", "positive and finite", "memory:nan",
                 "write such as cpu:4"),
        compiled("resources of no step", f"{where} --resources Trainr=cpu:1", "['Trainr']",
                 "name one of ['DataGate'"),
        compiled("a volume that cannot be read", f"{where} --volume logs", "'logs'",
                 "expected CLAIM:/PATH"),
        compiled("a root that steps cannot share", "--image i:1 --root runs", "'runs'",
                 "gs://BUCKET/FOLDER"),
        compiled("no image", "--image '' --root /r", "needs an image and a root", "give --image"),
        compiled("fewer than no retries", f"{where} --retries -1", "--retries", "0 or more",
                 "came -1"),
        compiled("a name that Kubernetes refuses", f"{where} --set name=__", "'__'",
                 "no letter or digit", "give it another"),
        compiled("a password", f"{where} --beam db_password=hunter2", "--beam holds a secret",
                 "db_password=***", "an identity of their own"),
        submit("two days", "--date 2022-05-06 --param date=2022-05-07", USAGE,
               "--param date=2022-05-07 and --date 2022-05-06 name two days", "leave one out"),
        submit("submit: no address", "", USAGE, "'ftp://h'", "such as http://localhost:8080",
               where="ftp://h"),
        submit("submit: no pipeline", "--date 2022-05-06", USAGE, "pipeline.yaml is no pipeline",
               "`ncs4cvr compile` writes one"),
        submit("submit: a parameter without a value", "--param date", USAGE, "'date'",
               "NAME=VALUE"),
        submit("submit: no parameter of that name", "--param dat=x", USAGE, "no parameter 'dat'",
               "name one of", "date", world="pipeline"),
        submit("submit: a parameter that is no JSON", "--param settings=seed", USAGE,
               "parameter settings must be JSON such as", "came 'seed'", world="pipeline"),
        submit("submit: no server", "", FAULT, "http://127.0.0.1:1 does not answer", "check --host",
               "kubectl port-forward", world="gone"),
        submit("submit: a token that is refused", "", FAULT, "answered 401", "KFP_TOKEN",
               world="unauthorized"),
        submit("submit: a server of many users", "", USAGE, "serves many users", "--namespace NAME",
               world="many"),
        submit("submit: no kfp", "", USAGE, "kfp is not installed", "make kubeflow",
               world="no_kfp"),
        case("schedule: no pipeline", "schedule --host http://h --cron '0 3 * * *'", USAGE,
             "name the pipeline's file", "`ncs4cvr compile` wrote"),
        submit("schedule: a time that is none", "--cron daily", USAGE, "--cron 'daily'",
               "expected 5 fields", "'0 3 * * *'", command="schedule"),
        case("bench: no benchmark of that name", "bench speed", USAGE, "no benchmark 'speed'",
             "there are:", "example_gen"),
    ]  # fmt: skip
