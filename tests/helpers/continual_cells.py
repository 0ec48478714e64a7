"""Three days of two arms, as a benchmark day by day stores them."""

DAYS = ("2022-05-02", "2022-05-03", "2022-05-04")


def cell(arm, day, seconds=100.0, cvr=0.66, verdict="pushed", **more):
    searched = arm == "fresh" or day == DAYS[0]
    went_on = arm == "warm" and day != DAYS[0]
    made = {
        "arm": arm,
        "day": day,
        "seed": 1,
        "verdict": verdict,
        "why": [],
        "seconds": seconds,
        "processor_s": 1.5 * seconds,
        "load": 1.0,
        "auc": {"ctr": 0.75, "cvr": cvr, "ctcvr": 0.74},
        "tfx": "1.16",
        "test_rows": 1000,
        "tickets": {"searched": searched, "why": "", "searched_on": "2022-04-29"},
        "vocabularies": {"analyzed": not went_on, "why": "", "analyzed_on": "2022-04-29"},
        "start": {"from": "2022-04-29" if went_on else "", "rows": 500 if went_on else 9000},
        "loading_s": 5.0,
        "checksums_s": 1.0,
        "steps_s": {"Transform": 0.25 * seconds, "TicketSearch": 60.0 if searched else 0.1},
        "steps_processor_s": {"Transform": 0.3 * seconds, "TicketSearch": 80.0},
    }
    return made | more


def three_days(warm_seconds=40.0, warm_cvr=0.66):
    return [
        cell(arm, day, *((warm_seconds, warm_cvr) if arm == "warm" and day > DAYS[0] else ()))
        for day in DAYS
        for arm in ("fresh", "warm")
    ]
