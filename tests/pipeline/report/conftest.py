"""The facts of a small run, as facts.gather would tell them, to be changed by tests."""

import copy

import pytest

from ncs4cvr.pipeline.run import history


def side(now, before):
    return {"now": now, "before": before}


def output(value, low, high, **changed):
    slices = [
        {"column": "tab", "slice": "1", "rows": 60, "positives": 30, "value": 0.7, "allowed": None,
         "interval": [0.6, 0.8], "before": None, "holds": None},
        {"column": "tab", "slice": "2", "rows": 4, "positives": 0, "value": None, "allowed": None,
         "interval": None, "before": None, "holds": None},
    ]  # fmt: skip
    return {
        "label": "click", "given": "", "metric": "auc", "rows": 100, "positives": 45,
        "value": value, "interval": [low, high], "before": None, "share": 0.45, "gauc": 0.61,
        "gauc_before": None, "slices": slices,
        "calibration": {"predicted": 0.44, "observed": 0.45, "ratio": 0.9778},
        "deciles": [{"rows": 50, "predicted": 0.3, "observed": 0.28},
                    {"rows": 50, "predicted": 0.58, "observed": 0.62}],
        **changed,
    }  # fmt: skip


def gate(metric, **changed):
    return {
        "metric": metric, "at_least": 0.6, "at_most": None, "worse_by": None, "confidence": 0.5,
        "slice_worse_by": None, "slices": [], "min_positives": 50, "holds": True, "why": [],
        **changed,
    }  # fmt: skip


def step(name, state, began_s, seconds):
    return {"name": name, "state": state, "began_s": began_s, "seconds": seconds,
            "sealed_s": 0.5, "peak_mb": 900}  # fmt: skip


MOVE = {
    "column": "city", "split": "test", "against": "test", "measure": "largest change of a share",
    "value": 0.15, "threshold": 0.2, "missing": side(0.01, 0.0), "median": side(None, None),
    "shape": {"kind": "words", "values": ["Oslo", "Lima"], "now": [0.25, 0.75],
              "before": [0.4, 0.6]},
}  # fmt: skip
LAYER = {
    "shape": [4, 5], "connections": 20, "kept": {"ctr": 0.5, "cvr": 0.4},
    "alone": {"ctr": 0.2, "cvr": 0.1}, "several": 0.3, "all": 0.3, "overlap": 0.5,
}  # fmt: skip
ROUNDS = [
    {t: {"kept": kept, "metric": f"{t}_auc", "value": value} for t in ("ctr", "cvr")}
    for kept, value in ((1.0, 0.7), (0.5, 0.71))
]
FACTS = {
    "format": 1,
    "run": {"recipe": "tiny", "began": "2022-01-07T03:00:00+00:00",
            "ended": "2022-01-07T03:01:40+00:00", "seconds": 100.0, "stack": "1.16",
            "splits": [{"name": "train", "first": "2022-01-01", "last": "2022-01-04"},
                       {"name": "validate", "first": "2022-01-05", "last": "2022-01-05"},
                       {"name": "test", "first": "2022-01-06", "last": "2022-01-06"}]},
    "verdict": {"state": history.PUSHED, "status": 0, "pushed": True, "version": "1641524500",
                "why": "", "component": None, "message": ""},
    "rows": [{"kind": "events", "read": 3010, "written": {"train": 2000, "test": 1000},
              "duplicates": 7, "dead": {"tab: expected a whole number": 3}, "holds": True}],
    "data": {
        "gate": {"state": "passed", "complaints": []},
        "changes": {
            "earlier": "2022-01-06T03:00:00+00:00",
            "splits": [{"name": "train", "rows": 2000, "before": 1900}],
            "labels": [{"name": "click",
                        "splits": [{"name": "train", "now": 0.45, "before": 0.44}]}],
            "drift": [MOVE], "skew": [], "new": [], "gone": [],
        },
    },
    "sharing": {"kind": "ncs4cvr", "control": "", "hidden": [5],
                "tickets": {"source": "TicketSearch", "tasks": ["ctr", "cvr"], "layers": [LAYER],
                            "total": LAYER, "rounds": ROUNDS, "chosen": {"ctr": 1, "cvr": 1}}},
    "training": {"best_epoch": 1, "soft_labels": 0, "epochs": [{"ctr_auc": 0.7}], "seconds": 9.0,
                 "parameters": 1234, "model_bytes": 5000,
                 "start": {"from": "", "why": "warm_start is off", "rows": 9000},
                 "tensorboard": "tensorboard --logdir runs/tiny/artifacts/Trainer/model_run"},
    "model": {"split": "test", "verdict": "blessed", "blessed": True,
              "why": "blessed: all 2 gates hold; cvr_auc 0.6744 [0.6600, 0.6900]", "reasons": [],
              "compared": False, "rows": 100, "users": 20, "replicates": 1000, "level": 0.95,
              "outputs": {"ctr": output(0.7541, 0.74, 0.77),
                          "cvr": output(0.6744, 0.66, 0.69, given="click", label="conversion")},
              "gates": [gate("ctr_auc"), gate("cvr_auc", worse_by=0.003)]},
    "serving": {"blessed": True, "failures": [], "load_s": 2.0, "memory_mb": 600.0,
                "memory_before_load_mb": 500.0, "model_bytes": 5000, "exact": True, "rows": 90,
                "calls": [{"signature": "serving_default", "batch": b, "calls": 20, "p50_ms": 1.0,
                           "p99_ms": 2.5, "difference": 0.0, "output": "ctr"} for b in (1, 64)],
                "outputs": {"ctr": {"difference": 1e-7, "not_finite": 0, "metric": "auc",
                                    "rows": 90, "served": 0.7, "trainer": 0.7}}},
    "timeline": [step("Loading", "done", 0.0, 10.0), step("Transform", "cached", 10.0, 0.2),
                 step("Trainer", "done", 11.0, 80.0)],
    "memory": [[0.0, 300], [50.0, 900], [99.0, 800]],
    "lineage": {
        "recipe": {"name": "tiny", "sha256": "ab" * 32,
                   "json": {"tasks": [{"name": "ctr", "label": "click", "given": ""},
                                      {"name": "cvr", "label": "conversion", "given": "click"}],
                            "products": []}},
        "log": {"sha256": "cd" * 32, "files": [{"kind": "events", "file": "e.csv", "bytes": 99}]},
        "software": {"ncs4cvr": "0.1.0", "python": "3.10"},
        "code": {"Trainer": "12ab"},
        "artifacts": [{"component": "Trainer", "artifact": "Trainer/model/11",
                       "sha256": "ef" * 32, "state": "done"}],
        "served": {"version": 1641524500, "pushed": "2022-01-07T03:01:39+00:00", "copy_of": "",
                   "sha256": "01" * 32},
    },
    "last_runs": [{"ended": "2022-01-07T03:01:40+00:00", "recipe": "tiny", "verdict": "pushed",
                   "version": "1641524500", "seconds": 100.0, "metrics": {"cvr_auc": 0.6744}}],
}  # fmt: skip


@pytest.fixture
def facts():
    return copy.deepcopy(FACTS)


@pytest.fixture
def hostile(facts):
    """The same with markup in every text that comes from a log, a recipe or an error."""
    bad = "<script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)>\"'|`\x00‮"
    move = {**MOVE, "column": bad, "split": bad}
    move["shape"] = {**MOVE["shape"], "values": [bad, f"{bad}2"]}
    facts["run"]["recipe"] = bad
    facts["rows"][0] |= {"kind": "events", "dead": {bad: 3}}
    facts["data"]["gate"] = {"state": "refused", "complaints": [bad]}
    facts["data"]["changes"] |= {"drift": [move], "skew": [move], "new": [bad], "gone": [bad]}
    facts["verdict"] |= {
        "state": history.REFUSED, "pushed": False, "why": bad, "message": f"{bad}\n{bad}",
        "component": bad,
    }  # fmt: skip
    facts["model"]["why"] = bad
    facts["model"]["outputs"]["ctr"]["slices"][0]["slice"] = bad
    facts["lineage"]["log"]["files"][0]["file"] = bad
    facts["last_runs"][0]["why"] = bad
    return facts
