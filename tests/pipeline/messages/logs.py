"""Errors of logs: `run` refuses the data with status 4, `init` with status 2."""

import pyarrow as pa
import pyarrow.parquet as pq


def cases(Case, recipe, events, packed, REFUSED, USAGE, NOT_BLESSED, **_):
    """All of them."""

    def log(about, content, *told, name="events.csv", more=None, slow=False, rows=("", "")):
        """A log that `run` refuses."""
        text = recipe(*rows).replace('"events.csv"', f'"{name}"')
        files = {"mine.py": text, name.partition("*")[0] or name: content, **(more or {})}
        files = {path: each for path, each in files.items() if each is not None}
        return Case(about, "run mine.py", REFUSED, told, files, slow=slow)

    def rows_of(about, old, new, *told, more=None):
        """A recipe whose rows contradict its log's."""
        return log(about, events(), *told, rows=(old, new), more=more)

    def init(about, content, *told, options="", more=None):
        """What `init` cannot make a recipe of."""
        files = {"e.csv": content, **(more or {})}
        return Case(about, f"init --events e.csv {options}", USAGE, told, files)

    def parquet(**columns):
        return lambda path: pq.write_table(pa.table(columns), path)

    def twice(path):
        pq.write_table(pa.table([[1]] * 7, [*few, "tab", "tab"]), path)

    def narrow(path):
        times = pa.array([1_640_995_200_000]).cast(pa.float32(), safe=False)
        pq.write_table(pa.table({**few, "tab": [1], "time_ms": times}), path)

    feature = 'Feature("user_id")'
    label = 'Label("conversion", "long_view", given="click")'
    few = {n: [1] for n in ("user_id", "video_id", "time_ms", "is_click", "long_view")}
    return [
        # -- files ---------------------------------------------------------------------------
        log("no file", None, "no file matches", "events.csv", "check the path"),
        log("an empty file", "", "events.csv is empty (0 bytes)", "remove it or write it again"),
        log("a file of no known kind", "x", "events.txt: unknown ending", name="events.txt"),
        log(
            "a file that is cut off",
            packed(events(), 300),
            "events.csv.gz: cannot be read to its end as csv",
            "write it again",
            name="events.csv.gz",
        ),
        log(
            "a file of another kind than its ending says",
            "user_id\n1\n",
            "events.parquet: cannot be read to its end as parquet",
            "of another format",
            name="events.parquet",
        ),
        log(
            "a CSV file without a header",
            "1,1,7\n1,2,8\n",
            "events.csv: the first line must name every column once",
            "it is '1,1,7'",
            "add a header",
        ),
        log("a header that is no UTF-8", b"user_id,caf\xe9\n1,2\n",
            "events.csv: line 1 is no UTF-8 text", "write the file as UTF-8"),
        log("a file without rows", events(days=0), "events.csv hold no row", "write the log again"),
        log(
            "a column that is missing",
            events(tab=None, tabs=lambda n: n % 4),
            "events.csv: no column 'tab'",
            "nearest are tabs",
            'map it: Log(columns=(("tab", "tabs"),))',
        ),
        log(
            "a column of another type",
            parquet(**few, tab=["home"]),
            "events.parquet: column 'tab' holds string, expected int",
            "write it as that type",
            name="events.parquet",
        ),
        log("times in floats of 32 bits", narrow,
            "events.parquet: column 'time_ms' holds floats of 32 bits",
            "expected time; write it as 64 bits", name="events.parquet"),
        log("a column that is there twice", twice, "events.parquet: 2 columns are called 'tab'",
            "expected one", "rename the others", name="events.parquet"),
        # -- a recipe that contradicts itself ------------------------------------------------
        rows_of("no file named", 'events="events.csv"', 'events=""', "Log.events", "got ''"),
        rows_of(
            "labels in a circle",
            'Label("click", "is_click")',
            'Label("click", "is_click", given="conversion")',
            "labels ['click', 'conversion'] are given each other in a circle",
            "break it",
        ),
        rows_of(
            "a ratio that is counted",
            label,
            label + ', Label("done", "tab", over="time_ms")), tallies=(Tally("n", "user", "done"),',
            "tally 'n': 'done' is a ratio",
            "name a binary label instead",
        ),
        rows_of(
            "a column read in two ways",
            feature,
            f'{feature}, Feature("t", column="tab", dtype="string")',
            "'t' and 'tab' both read column 'tab'",
            "event/string and event/int",
            "map it with Log.columns",
        ),
        rows_of(
            "a tally that there is not",
            feature,
            f'{feature}, Feature("rate", "tally", "number", "float")',
            "feature 'rate': no tally column 'rate'",
            "name one of []",
        ),
        rows_of(
            "a feature of a file that is not named",
            feature,
            f'{feature}, Feature("city", "user")',
            "feature 'city' comes from the users file",
            "Log.users is empty",
            "name the file or drop the feature",
        ),
        rows_of(
            "a label among the features",
            feature,
            f'{feature}, Feature("is_click")',
            "feature 'is_click' reads 'is_click', which is a label",
            "drop the feature",
        ),
        rows_of(
            "a column that examples have themselves",
            feature,
            f'{feature}, Feature("day")',
            "feature 'day': column 'day'",
            "give the feature another `column`",
        ),
        # -- rows ----------------------------------------------------------------------------
        log(
            "too many broken rows",
            events(tab=lambda n: "home" if n < 9 else n % 4),
            "9 of 240 rows are broken, more than max_bad_share 1.00%",
            '"row": 2, "column": "tab", "expected": "', '"came": "home"',
            "Mend the files",
            slow=True,
        ),
        log(
            "a split without rows",
            events(days=5),
            "split 'test' (2022-01-06 to 2022-01-06) has no rows",
            "choose days that the log covers",
            slow=True,
        ),
        log(
            "a split without positives",
            events(long_view=lambda n: int(n % 4 == 1 and n < 200)),
            "split 'test' (2022-01-06 to 2022-01-06) has no positive of label 'conversion'",
            "column 'long_view'",
            "choose longer splits or drop the label",
            slow=True,
        ),
        log(
            "a users file with other ids",
            events(),
            "users: u.csv has none of the 7 users that the events have in 'user_id'",
            "ids must be written alike in both",
            "mend them, or leave out Log.users and the features of it",
            more={
                "u.csv": "user_id,city\n107,Oslo\n108,Bergen\n",
                "mine.py": recipe('"events.csv"', '"events.csv", users="u.csv"').replace(
                    feature, f'{feature}, Feature("city", "user", dtype="string")'
                ),
            },
            slow=True,
        ),
        log(
            "data that the schema does not allow",
            events(tab=lambda n: n % 4 + 9 * (n == 7)),
            "tab in train: expected int from 0 to 3",
            "came:",
            "Mend the log; or, if the data is right, change the schema",
            more={
                "small.pbtxt": 'feature { name: "tab" type: INT int_domain { min: 0 max: 3 } }',
            },
            rows=("    patience=9,\n", '    patience=9,\n    data_schema="small.pbtxt",\n'),
            slow=True,
        ),
        rows_of("a tally called like a label", "    splits=(",
                '    tallies=(Tally("click", "user"),),\n    splits=(',
                "tally 'click': examples use this name for something else", "give it another"),
        # -- init ----------------------------------------------------------------------------
        init("a recipe's name that is no module", events(), "my-log.py", "such as my_log.py",
             options="--output my-log.py"),
        init("a recipe that exists", events(), "my_log.py exists", "give another --output",
             more={"my_log.py": ""}),
        init("a log without rows", events(days=0), "e.csv: no rows", "expected at least one"),
        init("a file that is not there", events(), "no file matches 'u.csv'",
             options="--users u.csv"),
        init("a column that the log has not", events(), "e.csv: no column 'uid'; there are user_id",
             options="--user uid"),
        init("a column whose values cannot be what it is said to be", events(),
             "e.csv: --conversion video_id: expected 0 or 1, but", "such as",
             "name another column, or convert this one", options="--conversion video_id"),
        init("a column that one of several files lacks", events(),
             "f.csv: no column 'long_view', which other files of e.csv,f.csv have",
             "write it again, or leave it out", options="--events e.csv,f.csv",
             more={"f.csv": events(long_view=None)}),
        init("a key that the users lack", events(), "u.csv: no column 'user_id'", "rename one",
             "there are uid", options="--users u.csv", more={"u.csv": "uid,city\n1,Oslo\n"}),
        init("a role that no column clearly has", events(is_click=None, seen=lambda n: n % 2),
             "e.csv: no column is clearly the click (0 or 1)", "say --click COLUMN", "seen"),
        init("times of no known unit", events(time_ms=lambda n: n + 5),
             "e.csv: 'time_ms' is about", "neither seconds nor milliseconds", "--time"),
        init("times in two units",
             events(time_ms=lambda n: (1_640_995_200 + n * 2160) * (1000 if n > 200 else 1)),
             "e.csv: 39 of 240 rows have no time in 'time_ms'", "expected a time in s since 1970",
             "write them all in one unit, or name another column with --time"),
        init("no click that converts", events(long_view=lambda n: (n % 2 == 0 and 1) or 0),
             "e.csv: no row has both 'is_click' and 'long_view'", "--click and --conversion"),
        init("too few days", events(days=2), "e.csv: 2 different days", "needs 3 or more"),
    ]  # fmt: skip
