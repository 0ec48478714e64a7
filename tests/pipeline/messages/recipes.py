"""Errors of commands and recipes: found before anything is read or written. Status 2."""

import json

from ncs4cvr.pipeline.recipes.kuairand import RECIPE

EXAMPLE = json.loads(RECIPE.to_json())


def cases(Case, recipe, USAGE, **_):
    """All of them."""

    def given(about, command, *told, **files):
        return Case(about, command, USAGE, told, files)

    def row(about, old, new, *told):
        """A recipe that its own rows refuse."""
        return Case(about, "run mine.py", USAGE, ("mine.py:", *told), {"mine.py": recipe(old, new)})

    def data(about, change, *told):
        """A recipe in JSON."""
        text = json.dumps({**EXAMPLE, **change})
        return Case(about, "run mine.json", USAGE, ("mine.json: ", *told), {"mine.json": text})

    def setting(about, value, *told):
        return Case(about, f"run kuairand --set {value}", USAGE, told)

    def beam(about, value, *told):
        return Case(f"--beam: {about}", f"run kuairand --beam {value}", USAGE, told)

    portable = "runner=PortableRunner --beam environment_type=LOOPBACK"
    feature = 'Feature("user_id")'
    task = 'Task("ctr", "click")'
    tail = "    patience=9,\n"

    def more(field):
        return tail, f"{tail}    {field},\n"

    def log_of(field):
        return '        events="events.csv",\n', f'        events="events.csv",\n        {field},\n'

    return [
        given("no command", "", "arguments are required: COMMAND", "`ncs4cvr --help` shows how"),
        given("a command that there is not", "frob", "COMMAND", "'frob'", "choose from"),
        given(
            "an option that there is not",
            "runs --lats 3",
            "--lats",
            "did you mean --last?",
            "`ncs4cvr runs --help`",
        ),
        given(
            "an option that is needed",
            "compile kuairand",
            "required: --image, --root",
            "`ncs4cvr compile --help`",
        ),
        given(
            "no number",
            "rollback runs/small --to ../..",
            "--to",
            "invalid int value: '../..'",
            "`ncs4cvr rollback --help`",
        ),
        given("no recipe of that name", "run kuairant", "'kuairant'", "did you mean 'kuairand'?"),
        given("no file of a recipe", "run mine.py", "'mine.py'", "ends in .py or .json", "init"),
        Case(
            "code of a recipe that fails",
            "run mine.py",
            USAGE,
            ("mine.py:2: NameError: name 'Recip' is not defined",),
            {"mine.py": "X = 1\nRECIPE = Recip()\n"},
        ),
        Case(
            "code without a recipe",
            "run mine.py",
            USAGE,
            ("mine.py must define RECIPE = Recipe(...)", "came None", "`ncs4cvr init` writes"),
            {"mine.py": "X = 1\n"},
        ),
        Case(
            "a recipe that is no JSON",
            "run mine.json",
            USAGE,
            ("mine.json: Expecting", "line 1 column 1", "Recipe.to_json writes such a file"),
            {"mine.json": "RECIPE = Recipe()"},
        ),
        data("a key that a recipe has not", {"roundz": 3}, "'roundz'", "did you mean 'rounds'?"),
        data("a value of another type", {"rounds": "3"}, "rounds: expected int", "came '3'"),
        data("a value that is no list", {"hidden": 3}, "hidden: expected a list", "came 3"),
        data(
            "a list of another length",
            {"log": {**EXAMPLE["log"], "columns": [["time_ms"]]}},
            "log.columns[0]: expected a list of 2",
            "came ['time_ms']",
        ),
        data(
            "a row that is no object", {"tasks": ["ctr"]}, "tasks[0]: expected an object with name"
        ),
        data(
            "a row that lacks a key", {"tasks": [{"name": "ctr"}]}, "tasks[0] lacks label; add it"
        ),
        # -- --set ---------------------------------------------------------------------------
        setting(
            "a setting without a value", "keep", "setting 'keep'", "key=value, such as keep=0.1"
        ),
        setting("a setting of no key", "hiden=32", "'hiden'", "did you mean 'hidden'?"),
        setting(
            "a setting of another type", "keep=much", "keep='much'", "float", "such as keep=0.2"
        ),
        setting("a setting that rows hold", "tasks=ctr", "tasks", "'ctr'", "in a recipe file"),
        setting("a number out of its range", "keep=2", "keep must lie in [0.001, 1.0]", "got 2.0"),
        setting(
            "a number of days below 0",
            "analyze_every_days=-1",
            "analyze_every_days (0 is every run) must lie in [0, 1000000000]",
            "got -1",
        ),
        setting("an unknown choice", "sharing=shared", "'shared'", "did you mean 'shared_bottom'?"),
        setting(
            "a name that leaves its folder", "name=../x", "'../x'", "expected up to 100 letters"
        ),
        setting(
            "workers that no distribution asks for",
            "workers=2",
            "workers=2 needs distribution='workers' or 'sharded'",
            "got 'one'",
        ),
        setting(
            "a batch that workers cannot divide",
            "distribution=workers --set workers=3",
            "batch_size=512",
            "cannot be divided among 3",
            "use a multiple of 3",
        ),
        setting("no hidden layer", "hidden=0", "hidden", "such as (256, 128)", "got (0,)"),
        setting(
            "blocks of a size that there is not",
            "ticket_block=7",
            "ticket_block must be 1 (single connections) or one of (16, 32, 64), got 7",
        ),
        setting(
            "blocks that do not divide a layer",
            "ticket_block=64 --set hidden=256,100",
            "ticket_block=64 must divide every size of hidden, got (256, 100)",
            "use such sizes, or ticket_block=1",
        ),
        setting("a tower without a size", "tower=0", "tower", "or () for none", "got (0,)"),
        setting(
            "no schema of that name",
            "data_schema=kuairant.pbtxt",
            "'kuairant.pbtxt'",
            "did you mean 'kuairand.pbtxt'?",
            'data_schema="" infers one',
        ),
        Case(
            "a schema that is none",
            "run kuairand --set data_schema=mine.pbtxt",
            USAGE,
            ("mine.pbtxt is no schema in protobuf text", "mend it, or infer one"),
            {"mine.pbtxt": "feature { name: "},
        ),
        setting("Beam's options", "beam=x", "beam='x'", "with --beam KEY=VALUE"),
        # -- --beam --------------------------------------------------------------------------
        beam("no option of Beam", "a-b=1", "'a-b=1' must read key=value"),
        beam(
            "an option that Beam has not",
            "direct_num_worker=2",
            "did you mean 'direct_num_workers'",
        ),
        beam("a runner that Beam has not", "runner=FlinkRuner", "did you mean 'FlinkRunner'?"),
        beam(
            "no job service", "runner=PortableRunner", "needs a job service: job_endpoint=HOST:PORT"
        ),
        beam(
            "no worker pool",
            "runner=FlinkRunner --beam environment_type=EXTERNAL",
            "needs environment_config=HOST:PORT",
        ),
        beam(
            "a setup file without its folder",
            "runner=FlinkRunner --beam setup_file=setup.py",
            "setup_file=setup.py must be an absolute path",
        ),
        beam(
            "a setup file that is none", "setup_file=/no/setup.py", "setup_file=/no/setup.py is no"
        ),
        beam(
            "workers without ncs4cvr",
            "runner=DataflowRunner",
            "DataflowRunner's workers would not have ncs4cvr",
            "give sdk_container_image=IMAGE",
        ),
        beam(
            "a job service without a port",
            f"{portable} --beam job_endpoint=here",
            "job_endpoint=here must read HOST:PORT",
        ),
        beam(
            "a job service that does not answer",
            f"{portable} --beam job_endpoint=127.0.0.1:1",
            "no job service answers at job_endpoint=127.0.0.1:1",
            "start it, or mend the address",
        ),
        # -- a recipe's rows -----------------------------------------------------------------
        row(
            "no task",
            "tasks=(" + task,
            "tasks=() and (" + task,
            "at least one task",
            "such as Task(",
        ),
        row("two features of a name", feature, f"{feature}, {feature}", "given twice: user_id"),
        row(
            "a vocabulary that is no feature",
            feature,
            'Feature("user_id", vocabulary="uid")',
            "vocabulary of feature 'user_id'",
            "'uid'",
            "Known: user_id, tab",
        ),
        row("a task of no label", task, 'Task("ctr", "clik")', "'clik'", "did you mean 'click'?"),
        row(
            "a product of no task",
            '("ctr", "cvr")',
            '("ctr", "cvrr")',
            "factor of 'ctcvr'",
            "did you mean 'cvr'?",
        ),
        row("a gate of no output", "ctr_auc", "ctrr_auc", "'ctrr'", "did you mean 'ctr'?"),
        row("a gate of no metric", "ctr_auc", "ctr_f1", "'ctr_f1'", "such as cvr_auc"),
        row(
            "a gate of the AUC of a ratio",
            '"is_click")',
            '"is_click", over="tab")',
            "gate 'ctr_auc'",
            "label 'click' is a ratio",
            "gate ctr_calibration",
        ),
        row(
            "a confidence below a half",
            "at_least=0.2",
            "confidence=0.2",
            "gate 'ctr_auc'",
            "confidence 0.2 must lie in [0.5, 1)",
        ),
        row(
            "a gate without positives",
            "min_positives=10",
            "min_positives=0",
            "gate 'ctr_auc'",
            "min_positives must be 1 or more, got 0",
        ),
        row(
            "a calibration that may fall",
            '"ctr_auc", at_least=0.2',
            '"ctr_calibration", worse_by=0.2',
            "gate 'ctr_calibration'",
            "worse_by and slice_worse_by are for <output>_auc",
        ),
        row(
            "a gate of no slice",
            "at_least=0.2",
            'at_least=0.2, slices=("tab",)',
            "slice of gate 'ctr_auc' 'tab'",
            "Known: none",
        ),
        row("Beam's options as text", *more('beam="a=1"'), "beam must be a tuple", "got a string"),
        row("a task without weight", task, 'Task("ctr", "click", weight=0)', "'ctr'", "got 0"),
        row("a loss that there is not", task, 'Task("ctr", "click", loss="mae")', "Known: bce"),
        row(
            "a label given none",
            'given="click")',
            'given="clik")',
            "label 'conversion'",
            "'clik'",
            "labels are ['click', 'conversion']",
        ),
        row(
            "a tally of no label",
            *log_of('tallies=(Tally("n", "user", "clik"),)'),
            "tally 'n'",
            "'clik'",
            "use 'impression' or one of",
        ),
        row(
            "a rate without strength",
            *log_of('tallies=(Tally("r", "user", "click", "impression"),)'),
            "rate 'r' needs strength > 0, got 0.0",
            "say how many trials",
        ),
        row(
            "history actions that are no labels",
            *log_of('history_actions=("like",)'),
            "['like'] are no labels",
            "labels are ['click', 'conversion']",
        ),
        row("a share beyond 1", *log_of("max_bad_share=2"), "max_bad_share", "[0, 1]", "got 2"),
        row(
            "a password in a file's name",
            '"events.csv"',
            '"hdfs://me:hunter2@host/events.csv"',
            "Log.events holds a secret",
            "hdfs://me:***@host",
            "in the environment",
        ),
        row(
            "a day of a split that is none",
            '"2022-01-06"',
            '"2022-02-30"',
            "split 'test'",
            "'2022-02-30'",
        ),
        row(
            "a split that ends before it begins",
            '"2022-01-01", "2022-01-04"',
            '"2022-01-04", "2022-01-01"',
            "split 'train'",
            "2022-01-04 lies after last day 2022-01-01",
            "swap them",
        ),
        row(
            "splits that overlap",
            '"2022-01-01", "2022-01-04"',
            '"2022-01-01", "2022-01-05"',
            "'train' and 'validate' overlap: 2022-01-05 <= 2022-01-05",
            "a day belongs to one split",
        ),
        row(
            "a last day before the splits' own",
            *log_of('until="2022-01-05"'),
            "until '2022-01-05' must be a day as YYYY-MM-DD",
            "none before 2022-01-06",
        ),
        row(
            "a feature of no kind",
            feature,
            'Feature("user_id", kind="categry")',
            "kind of feature 'user_id' 'categry'",
            "did you mean 'category'?",
        ),
        row(
            "a category of floats",
            feature,
            'Feature("user_id", dtype="float")',
            "feature 'user_id'",
            "cannot be float",
            "say dtype int or string",
        ),
        row(
            "tags that are no text",
            feature,
            'Feature("user_id", kind="tags")',
            "got dtype='int'",
            "set dtype='string'",
        ),
        row(
            "an index without a range",
            feature,
            'Feature("user_id", kind="index")',
            "bins=0",
            "give dtype='int' and bins",
        ),
        row(
            "zero apart without bins",
            feature,
            'Feature("user_id", zero_apart=True)',
            "not for 'category' with bins=0",
            "give bins or leave zero_apart out",
        ),
        row(
            "a logarithm of bins",
            feature,
            'Feature("user_id", kind="number", bins=4, log=True)',
            "not for 'number' with bins=4",
            "leave one of them out",
        ),
        row(
            "no bucket to hash into",
            feature,
            'Feature("user_id", hash_buckets=0)',
            "hash_buckets and length must be 1 or more",
            "got 0 and 8",
        ),
        Case(
            "no gate",
            "run mine.py",
            USAGE,
            ("mine.py: no gates", "add one, such as Gate("),
            {"mine.py": recipe('(Gate("ctr_auc", at_least=0.2, min_positives=10),)', "()")},
        ),
        Case(
            "not three splits",
            "run mine.py",
            USAGE,
            ("mine.py: a pipeline needs three splits", "log.splits has 2"),
            {"mine.py": recipe('            Split("test", "2022-01-06", "2022-01-06"),\n', "")},
        ),
        # -- days ----------------------------------------------------------------------------
        given("a day that is none", "run kuairand --date soon", "'soon'", "expected YYYY-MM-DD"),
        given(
            "a first day without a last",
            "run kuairand --from 2022-05-02",
            "--from '2022-05-02', --to ''",
            "both --from DAY and --to DAY",
        ),
        given(
            "a last day before the first",
            "run kuairand --from 2022-05-02 --to 2022-05-01",
            "--to 2022-05-01 lies before --from 2022-05-02",
            "swap them",
        ),
    ]
