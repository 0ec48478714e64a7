"""The commands of `ncs4cvr`, one module each.

A module has DOES (one line), EXAMPLE (for --help), add_options(parser) and main(options), which
returns the exit status. What a command needs is imported when it runs: `--help` answers at once.
"""

#: In the order of `ncs4cvr --help`.
NAMES = (
    "run",
    "report",
    "runs",
    "rollback",
    "clean",
    "doctor",
    "rows",
    "predict",
    "tickets",
    "inspect",
    "export",
    "kit",
    "loadtest",
    "init",
    "bench",
    "compile",
    "submit",
    "schedule",
)
