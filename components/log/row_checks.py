"""Rows that describe a log and its features, held against each other before any file is touched."""

from __future__ import annotations

from collections.abc import Sequence

from ncs4cvr.components.log.records import LogError
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import HISTORY_COLUMNS, Label, Log


def check_rows(log: Log, features: Sequence[Feature]) -> None:
    """Raises LogError where the rows contradict each other; touches no file."""
    labels = {label.name: label for label in log.labels}
    if not log.splits or not log.labels:
        raise LogError("a log needs at least one split and one label; add Log.splits, Log.labels")
    for label in log.labels:
        _given_first(label, labels)
    for use, names in (
        ("history_actions", log.history_actions),
        *((f"tally {tally.name!r}", (tally.hits, tally.trials)) for tally in log.tallies),
    ):
        for name in names:
            if name in labels and labels[name].over:
                raise LogError(f"{use}: {name!r} is a ratio; name a binary label instead")
    taken = {"day", log.user, log.video, log.time, *HISTORY_COLUMNS}
    for what, called, forbidden in (
        ("label", list(_label_names(log)), taken),
        ("tally", [tally.name for tally in log.tallies], taken | set(labels)),
        ("feature", [feature.name for feature in features], set(labels)),
    ):
        if clash := [name for name in called if name in forbidden]:
            raise LogError(
                f"{what} {clash[0]!r}: examples use this name for something else; give it another"
            )
    made = {"history": set(HISTORY_COLUMNS), "tally": {tally.name for tally in log.tallies}}
    seen: dict[str, Feature] = {}
    for feature in features:
        _check_feature(feature, log, made)
        other = seen.setdefault(feature.column, feature)
        keys = (log.user, log.video)
        if feature.column not in keys and (feature.source, feature.dtype) != (
            other.source,
            other.dtype,
        ):
            raise LogError(
                f"features {other.name!r} and {feature.name!r} both read column {feature.column!r} "
                f"but as {other.source}/{other.dtype} and {feature.source}/{feature.dtype}; give "
                "one another `column` and map it with Log.columns"
            )


def _check_feature(feature: Feature, log: Log, made: dict[str, set[str]]) -> None:
    column, source = feature.column, feature.source
    if source in made:
        if column not in made[source]:
            raise LogError(
                f"feature {feature.name!r}: no {source} column {column!r}; "
                f"name one of {sorted(made[source])}"
            )
        return
    if source in ("user", "video") and column not in (log.user, log.video):
        if not (log.users if source == "user" else log.videos):
            raise LogError(
                f"feature {feature.name!r} comes from the {source}s file, but Log.{source}s is "
                "empty; name the file or drop the feature"
            )
    if source == "event":
        leaks = {theirs for label in log.labels for theirs in (label.name, label.column)}
        if column in leaks or log.column(column) in {log.column(leak) for leak in leaks}:
            raise LogError(
                f"feature {feature.name!r} reads {column!r}, which is a label: it is known only "
                "after the impression (label leak); drop the feature"
            )
    if column in ("day", *HISTORY_COLUMNS, *(t.name for t in log.tallies), *_label_names(log)):
        raise LogError(
            f"feature {feature.name!r}: column {column!r} is a name that examples use themselves; "
            "give the feature another `column` and map it with Log.columns"
        )


def _label_names(log: Log) -> tuple[str, ...]:
    return tuple(label.name for label in log.labels)


def _given_first(label: Label, labels: dict[str, Label]) -> None:
    path = [label.name]
    while given := labels[path[-1]].given:
        if given in path:
            raise LogError(f"labels {path} are given each other in a circle; break it")
        path.append(given)
