"""What a large day needs, computed from what the benchmarks measured.

    python benchmarks/scale.py [--impressions 1e9 --users 1e8 --parameters 4e8]

Reads docs/benchmarks/*.json and writes docs/scale.md: core-hours, workers, bytes and memory of
every step, where each stops scaling, and what would come next. Measures nothing; takes seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scale_parts import page, sources
from scale_parts.formulas import Ask

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    from ncs4cvr.components.log.plan import BUCKET_ROWS
    from ncs4cvr.pipeline.recipes.kuairand import RECIPE

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in dataclasses.fields(Ask):
        if field.name != "dim":  # the recipe's
            parser.add_argument(f"--{field.name}", type=float, default=field.default)
    parser.add_argument("--measured", default=str(DOCS / "benchmarks"), help="folder of the JSON")
    parser.add_argument("--output", default=str(DOCS / "scale.md"))
    args = vars(parser.parse_args())
    output, measured = Path(args.pop("output")), Path(args.pop("measured"))
    ask = Ask(**args, dim=RECIPE.embedding_dim)
    text = page.page(sources.read(measured), ask, ids_of_an_example(RECIPE.features), BUCKET_ROWS)
    output.write_text(text)
    print(text)


def ids_of_an_example(features: Sequence[Any]) -> int:
    """Embedding rows that a recipe looks up for an example, if its sequences have full length.

    features: schemas.features.Feature.
    """
    plain = [f for f in features if f.kind == "number" and not f.bins]
    rows = (f.length if f.kind in ("tags", "sequence") else 1 for f in features)
    return sum(rows) - len(plain)


if __name__ == "__main__":
    main()
