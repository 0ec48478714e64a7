"""Messages in the code that are not on the page, each with its reason and its own test, if any."""

TRAINING = "of a component that trains; the tests of the model provoke it"
DEFECT = "an invariant: only a defect of ncs4cvr would show it"
EVALUATOR = "of TFMA's metrics: tests/components/test_batch_metrics.py"
INSIDE = "caught, or told as part of another message"
DISK = "a disk that fails; tests/components/test_versions.py"
CLIENT = "of the kit's client, a script by itself: tests/pipeline/kit/test_client.py"
WORKERS = "of one worker of several: tests/models/together, and pruning/test_soft_labels.py"
KUBEFLOW = "of a step on Kubeflow, or needs kfp: tests/pipeline/kubeflow"

#: The longest fixed piece of a message -> why it is not on the page.
EXEMPT = {
    "ncs4cvr needs Keras 2 but TensorFlow already uses Keras 3: import ncs4cvr before anything "
    "that touches tf.keras, or set TF_USE_LEGACY_KERAS=1": "of an import in a program of one's own",
    "labels must be from 0 to 1 for an AUC; they are from": EVALUATOR,
    "predictions; a label's column must hold one value a row": EVALUATOR,
    "are NaN or infinite; lower learning_rate, or look for NaN and huge values in unbinned number "
    "features": EVALUATOR,
    "; was VideoLogExampleGen run?": DEFECT,
    ": the tickets are for tasks": TRAINING,
    "; search again, or use the recipe the ticket was found with": "of tickets that do not tell "
    "their recipe: tests/models/layers/test_sharing.py",
    ": their hash_buckets or bins have changed since; search again and train from a fresh start, "
    "or use the recipe of then": "of tickets that do not tell their recipe: "
    "tests/models/layers/test_keys.py",
    "is for the weights that tickets keep, and sharing": TRAINING,
    "are damaged, or not of these rows;": TRAINING,
    "rows have soft labels, the training split has": TRAINING,
    "train; let as many search as train, or set soft_labels=off": WORKERS,
    "differs from the trained model by": DEFECT,
    "takes no tickets; use sharing='ncs4cvr'": TRAINING,
    "has 0 rows; widen the split's days": TRAINING,
    "rows; AUC needs both: widen the split's days": TRAINING,
    "bytes, their header tells": "of packed weights: tests/models/packed/test_asset.py",
    "of the packed weights cannot be unpacked:": "tests/models/packed/test_asset.py",
    "the header of the packed weights is broken:": "of packed weights: tests/models/packed",
    "holds no saved_model.pb; give a version, such as runs/kuairand/serving/1": INSIDE,
    "weights are more than a packed model can index (2^31)": TRAINING,
    "a history is the sequences history_video and history_action (the latter with bins), got": (
        TRAINING
    ),
    "learns pCTCVR = pCTR * pCVR: it needs a task whose `given` is another task's label; use "
    "another sharing": TRAINING,
    "connections of the": DEFECT,
    "; compute=sparse or compute=dense does without):": "a process that fails: "
    "tests/models/packed/test_served.py",
    ": the code has changed since; do `ncs4cvr run` again": "of an export by newer code",
    ", expected <component>/<output>/<number>; do `ncs4cvr run` again": INSIDE,
    ": the training split has no rows; widen its days": TRAINING,
    ", which these examples do not have; expected those of VideoLogExampleGen. Set warm_rows=all": (
        TRAINING
    ),
    ", up to which the last pushed model was trained; look at the log, or set warm_rows=all": (
        TRAINING
    ),
    "(9 is also what a machine out of memory sends); run again, training goes on after its last "
    "finished epoch": WORKERS,
    "and said nothing; see above": WORKERS,
    ": it is the batch of all together; use a multiple of": WORKERS,
    ", the same cluster in every worker, each with an index of its own": WORKERS,
    "; only 'chief' and 'worker' train here: leave the others out": WORKERS,
    "TF_CONFIG must list one chief, or workers of whom the first is the chief; got": WORKERS,
    "TF_CONFIG lists an address twice:": WORKERS,
    ": start a worker for each, with CUDA_VISIBLE_DEVICES of its own, or use "
    "distribution='workers'": WORKERS,
    "rows of a table that is cut among workers were not fetched": DEFECT,
    "; set task.type and task.index to this process's place in it": WORKERS,
    ": leave `workers` out where TF_CONFIG is set, or unset TF_CONFIG to start them on this "
    "machine": WORKERS,
    "TF_CONFIG cannot be read (": WORKERS,
    ") than it was compiled with; compile it with these settings": KUBEFLOW,
    "), or look for NaN and huge values in unbinned number features": TRAINING,
    ", which a label, the user or a slice of the recipe names; they have": DEFECT,
    "a log needs at least one split and one label; add Log.splits, Log.labels": "recipes that "
    "commands take have three splits and tasks with labels; of VideoLogExampleGen used by itself",
    "a name twice": INSIDE,
    ". A file was changed, or lost, or this is a defect of ncs4cvr; run again, and report it if it "
    "comes back": DEFECT,
    "; this is a defect of ncs4cvr, please report it": DEFECT,
    "dropped as duplicates; this is a defect of ncs4cvr, please report it": DEFECT,
    "cannot be served: a process without ncs4cvr ended with status": DEFECT,
    ", which predict does not have": DEFECT,
    "no recorded request fits the signature": DEFECT,
    "has no manifest (": INSIDE,
    "has no readable manifest (": INSIDE,
    "), expected files; copy them in": DISK,
    "; look at the disk, then run again": DISK,
    ": they come with the source, not with the package; run this in an environment that `make env` "
    "made in a checkout": "of an installed wheel",
    "replace": INSIDE,
    "to rank by; there are:": CLIENT,
    ": HTTP": CLIENT,
    "has no schedule; `ncs4cvr schedule FILE --cron ...` makes one": KUBEFLOW,
    ": expected one node that makes a": DEFECT,
    "gates: the recipe has no gate": KUBEFLOW,
    "has no bound": KUBEFLOW,
    "cannot run on Kubeflow; expected a component, a schema or a look-up (tickets of another run "
    "are for the local runner only)": DEFECT,
    "starts its job service with java, which is not on PATH; install it, or start a job service "
    "and give job_endpoint=HOST:PORT": "of a machine without Java: tests/pipeline/test_beam.py",
    "; docs/production.md names some": "where nothing is near: tests/pipeline/test_beam.py",
    "argument --": "of Beam's own parser: tests/pipeline/test_beam.py",
    "did not run: an input is missing": DEFECT,
    "; the log file says why": DEFECT,
}
