"""The text of the recipe that `ncs4cvr init` writes."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import HISTORY_COLUMNS

RESERVED = ("day", "click", "conversion", "completion", "user_id", "video_id", "time_ms")
TALLIES = (
    ("impressions", "", ""),
    ("click_rate", "click", "impression"),
    ("conversion_rate", "conversion", "click"),
    # The only rate that a history file without clicks, such as KuaiRand's, adds to.
    ("ctcvr_rate", "conversion", "impression"),
)
HISTORY = 20  # impressions that an example looks back on
ACTIONS = ("click", "conversion")  # labels that a history tells of
STRENGTH = {"user": 5, "video": 20}


@dataclass
class Guess:
    """What `ncs4cvr init` believes of a log. roles: role -> the column in the user's files."""

    name: str
    utc_offset_hours: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    id_types: dict[str, Literal["int", "string"]] = field(default_factory=dict)
    columns: list[tuple[str, str]] = field(default_factory=list)
    completion: bool = False  # whether watched / duration is a label
    time_unit: str = "ms"
    click_rate: float = 0.0
    conversion_rate: float = 0.0
    splits: list[tuple[str, str, str]] = field(default_factory=list)
    features: list[Feature] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def reserved(self) -> set[str]:
        """Names of columns that examples already have."""
        made = {f"{key}_{name}" for key in STRENGTH for name, _, _ in TALLIES}
        return made | {*RESERVED, *HISTORY_COLUMNS}


def recipe_source(guess: Guess) -> str:
    """A recipe module that runs as it is."""
    splits = [
        f"Split({_code(n)}, {_code(first)}, {_code(last)})" for n, first, last in guess.splits
    ]
    return f'''"""{guess.name}: a starter recipe, guessed from the log; change what is wrong.

    ncs4cvr run {guess.name}.py

What was guessed:
{_bullets(guess.notes)}
"""

from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split, Tally
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Product, Task

LOG = Log(
{_arguments(_log_fields(guess))}
    labels=(
{_lines(_labels(guess), 8)}
    ),
    tallies=(
{_lines(_tallies(guess), 8)}
    ),
    splits=(
{_lines(splits, 8)}
    ),
)

FEATURES = (
{_lines(_features(guess), 4)}
    *(Feature(tally.name, "tally", "number", "float", bins=20) for tally in LOG.tallies),
{_lines(_sequences(guess), 4)}
)

RECIPE = Recipe(
    name={_code(guess.name)},
    log=LOG,
    features=FEATURES,
    tasks=(
        Task("ctr", "click"),
        Task("cvr", "conversion", given="click"),
    ),
    products=(Product("ctcvr", ("ctr", "cvr"), "conversion"),),
    gates=(
        # Raise these bounds to what your models reach.
        Gate("ctr_auc", at_least=0.5),
        Gate("cvr_auc", at_least=0.5, worse_by=0.005),
    ),
    soft_labels="rounds",  # learns what the search says on its way: see docs/sharing.md
)
'''


def _code(value: Any) -> str:
    """A value as source, texts in double quotes."""
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_code, value)) + ("," if len(value) == 1 else "") + ")"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _bullets(notes: list[str]) -> str:
    return "\n".join("- " + note.replace("\\", "/").replace('"""', "'''") for note in notes)


def _lines(items: list[str], indent: int) -> str:
    return "\n".join(f"{' ' * indent}{item}," for item in items)


def _arguments(fields: dict[str, str]) -> str:
    return "\n".join(f"    {name}={value}," for name, value in fields.items())


def _log_fields(guess: Guess) -> dict[str, str]:
    ours = {"user": "user_id", "video": "video_id", "time": "time_ms"}
    mapped = [(name, guess.roles[role]) for role, name in ours.items() if guess.roles[role] != name]
    fields = {kind: _code(pattern) for kind, pattern in guess.files.items()}
    if columns := (*mapped, *guess.columns):
        fields["columns"] = _code(columns)
    if guess.time_unit != "ms":
        fields["time_unit"] = _code(guess.time_unit)
    if guess.utc_offset_hours:
        fields["utc_offset_hours"] = _code(guess.utc_offset_hours)
    if "history_order" in guess.roles:
        fields["history_order"] = _code(guess.roles["history_order"])
    return fields | {"history_length": str(HISTORY), "history_actions": _code(ACTIONS)}


def _labels(guess: Guess) -> list[str]:
    roles = guess.roles
    labels = [
        f'Label("click", {_code(roles["click"])})',
        f'Label("conversion", {_code(roles["conversion"])}, given="click")',
    ]
    if guess.completion:
        labels.append(
            f'Label("completion", {_code(roles["watched"])}, over={_code(roles["duration"])})'
        )
    return labels


def _tallies(guess: Guess) -> list[str]:
    click, conversion = guess.click_rate, guess.conversion_rate
    prior = {
        "click_rate": click,
        "conversion_rate": conversion,
        "ctcvr_rate": click * conversion,
    }
    rows = []
    for key, strength in STRENGTH.items():
        for name, hits, trials in TALLIES:
            row = f'"{key}_{name}", "{key}"'
            if trials:
                row += f', "{hits}", "{trials}", prior={prior[name]:.4g}, strength={strength}'
            rows.append(f"Tally({row})")
    return rows


def _features(guess: Guess) -> list[str]:
    keys = [Feature(name, dtype=kind) for name, kind in guess.id_types.items()]
    hours = [
        Feature("hour", kind="hour", column="time_ms"),
        Feature("weekday", kind="weekday", column="time_ms"),
    ]
    return [_row(feature) for feature in (*keys, *hours, *guess.features)]


def _sequences(guess: Guess) -> list[str]:
    of_videos = Feature(
        "history_video",
        "history",
        "sequence",
        guess.id_types["video_id"],
        vocabulary="video_id",
        length=HISTORY,
    )
    codes = 2 ** len(ACTIONS)  # bit i of the code is action i
    of_actions = Feature("history_action", "history", "sequence", bins=codes, length=HISTORY)
    return [_row(of_videos), _row(of_actions)]


def _row(feature: Feature) -> str:
    """The row as source, without what is the default anyway."""
    plain = Feature(feature.name)
    changed = [
        f"{f.name}={_code(getattr(feature, f.name))}"
        for f in dataclasses.fields(Feature)
        if getattr(feature, f.name) != getattr(plain, f.name)
    ]
    return f"Feature({', '.join([_code(feature.name), *changed])})"
