"""The report of a run: report.json for machines, report.html and model_card.md for people.

`facts` gathers, from what the components left behind, everything that is told; `page` and `card`
say it. `html` and `pictures` are what the page is made of.
"""

from __future__ import annotations

import json
from pathlib import Path

from ncs4cvr.pipeline.run import durable
from ncs4cvr.pipeline.run.run_record import RunRecord
from ncs4cvr.schemas.recipe import Recipe

FACTS, PAGE, CARD = "report.json", "report.html", "model_card.md"


def write(
    recipe: Recipe, folder: Path, record: RunRecord, error: BaseException | None = None
) -> None:
    """Writes all three into the run's folder. See `facts.gather`."""
    from ncs4cvr.pipeline.report import card, facts, page

    found = facts.gather(recipe, folder, record, error)
    durable.write(folder / FACTS, json.dumps(found, indent=1) + "\n")
    durable.write(folder / PAGE, page.page(found))
    durable.write(folder / CARD, card.card(found))
