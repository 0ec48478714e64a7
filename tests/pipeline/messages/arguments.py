"""Errors of what a command is given: options, a recipe's file, settings, days. Status 2."""

import json

from ncs4cvr.pipeline.recipes.kuairand import RECIPE

EXAMPLE = json.loads(RECIPE.to_json())


def cases(Case, FAULT, USAGE, **_):
    """All of them."""

    def given(about, command, *told, **files):
        return Case(about, command, USAGE, told, files)

    def data(about, change, *told):
        """A recipe in JSON."""
        text = json.dumps({**EXAMPLE, **change})
        return Case(about, "run mine.json", USAGE, ("mine.json: ", *told), {"mine.json": text})

    def setting(about, value, *told):
        return Case(about, f"run kuairand --set {value}", USAGE, told)

    def beam(about, value, *told):
        return Case(f"--beam: {about}", f"run kuairand --beam {value}", USAGE, told)

    portable = "runner=PortableRunner --beam environment_type=LOOPBACK"

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
            "a root that is a file",
            "run kuairand --root taken",
            FAULT,
            ("taken/kuairand cannot be made (Not a directory)", "give a folder to --root"),
            {"taken": ""},
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
            "a name that leaves its folder", "name=../x", "'../x'", "expected up to 63 letters"
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
