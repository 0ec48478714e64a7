"""The page of the serving benchmark is made of rows that are there."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("option", ["--whole", "--page-only"])
def test_without_rows_it_says_how_to_make_them(option, tmp_path):
    serving = importlib.import_module("serving")
    with pytest.raises(SystemExit, match=r"serving.json: no such file; .* measure once without"):
        serving.main([option, "--docs", str(tmp_path)])


def test_what_blocks_cost_is_told_as_the_rows_have_it():
    rows = json.loads((ROOT / "docs/benchmarks/serving.json").read_text())["rows"]
    of = {(r["network"], r["removed"], r["variant"]): r for r in rows if r["kind"] == "quality"}

    def cost(output, shares):
        """The most that blocks are below single connections, in both networks, as it is written."""
        least = min(
            of[network, share, "packed block"][f"{output}_auc"] - single[f"{output}_auc"]
            for (network, share, variant), single in of.items()
            if variant == "packed auto" and share in shares
        )
        return f"{-least:.4f}".removeprefix("0")

    ctr, cvr, ctcvr = (cost(o, (0.5, 0.8, 0.9, 0.95)) for o in ("ctr", "cvr", "ctcvr"))
    most = max(ctr, cvr, ctcvr)
    told = f"at most {ctr} of CTR, {cvr} of CVR and {ctcvr} of CTCVR AUC to 95 %"
    ctr, cvr, ctcvr = (cost(o, (0.98,)) for o in ("ctr", "cvr", "ctcvr"))
    told += f", at 98 % up to {ctr}, {cvr} and {ctcvr}"
    for page in ("benchmarks/serving_parts/found.md", "docs/benchmarks/serving.md"):
        assert told in " ".join((ROOT / page).read_text().split())
    assert f"for up to {most} of AUC" in " ".join((ROOT / "README.md").read_text().split())
