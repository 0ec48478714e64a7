"""Errors of commands but `run` and `init`, and of runs that went through; serving.py has others."""

import shutil


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


def cases(Case, recipe, FAULT, USAGE, NOT_BLESSED, REFUSED, **_):
    """All of them."""

    def case(about, command, status, *told, files=None, world="nothing", **more):
        return Case(about, command, status, told, files or {}, world, **more)

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
        case("export: a model that has changed", "export runs/small --output o", REFUSED,
             "runs/small/artifacts/Trainer/model_run/3 is damaged: weights.npz has changed",
             "`ncs4cvr run` makes it anew", world="trained",
             files={"runs/small/artifacts/Trainer/model_run/3/weights.npz": "noise"}),
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
