"""Errors of a recipe's rows: found before anything is read or written. Status 2."""


def cases(Case, recipe, USAGE, **_):
    """All of them."""

    def row(about, old, new, *told):
        """A recipe that its own rows refuse."""
        return Case(about, "run mine.py", USAGE, ("mine.py:", *told), {"mine.py": recipe(old, new)})

    feature = 'Feature("user_id")'
    task = 'Task("ctr", "click")'
    tail = "    patience=9,\n"

    def more(field):
        return tail, f"{tail}    {field},\n"

    def log_of(field):
        return '        events="events.csv",\n', f'        events="events.csv",\n        {field},\n'

    return [
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
        row(
            "a vocabulary of a feature without words",
            feature,
            'Feature("user_id", vocabulary="n"), Feature("n", kind="number", bins=4)',
            "vocabulary 'n' of feature 'user_id'",
            "both words (category, tags, sequence) or neither",
        ),
        row(
            "a column that no request can name",
            feature,
            'Feature("user_id", column="user-id")',
            "feature 'user_id': column 'user-id' must be letters",
            "map it with Log.columns",
        ),
        row(
            "a number of one bin",
            feature,
            'Feature("user_id", kind="number", bins=1)',
            "feature 'user_id': a number is int or float, in 2 or more bins or none",
        ),
        Case(
            "a task given a ratio",
            "run mine.py",
            USAGE,
            ("mine.py:", "given of task 'cvr': 'click' is a ratio", "a label of 0 and 1"),
            {
                "mine.py": recipe('"is_click")', '"is_click", over="tab")').replace(
                    "ctr_auc", "ctcvr_auc"
                )
            },
        ),
        row(
            "a gate of slices where there are none",
            "at_least=0.2",
            "slice_worse_by=0.1",
            "gate 'ctr_auc': slice_worse_by looks at slices",
            "name columns",
        ),
        row(
            "a slice that is no column",
            *more('slices=("tabb",)'),
            "slices 'tabb' is no column of the examples",
            "did you mean 'tab'?",
        ),
        row("a comma forgotten", *more('slices=("tab")'), "slices: expected a list, came 'tab'"),
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
        row(
            "an offset beyond a day",
            *log_of("utc_offset_hours=99"),
            "utc_offset_hours",
            "[-24, 24]",
            "got 99",
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
            "a split whose name TFX does not take",
            'Split("test"',
            'Split("test.1"',
            "split 'test.1'",
            "letters, digits, '_' and '-' only",
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
            "a packed ticket without tickets",
            "run mine.py --set sharing=mmoe --set weights=bf16",
            USAGE,
            ("mine.py: weights='bf16'", "sharing='mmoe' has no tickets", "set weights=f32"),
            {"mine.py": recipe()},
        ),
        Case(
            "ESMM without a conversion",
            "run mine.py --set sharing=esmm",
            USAGE,
            ("mine.py: sharing='esmm'", "whose `given` is another task's label", "are of click"),
            {
                "mine.py": recipe(
                    'Task("cvr", "conversion", given="click")', 'Task("cvr", "conversion")'
                )
            },
        ),
        Case(
            "not three splits",
            "run mine.py",
            USAGE,
            ("mine.py: a pipeline needs three splits", "log.splits has 2"),
            {"mine.py": recipe('            Split("test", "2022-01-06", "2022-01-06"),\n', "")},
        ),
    ]
