"""Which earlier artifact a run compares itself with, or goes on from."""

from __future__ import annotations

from collections.abc import Sequence

import ml_metadata as mlmd
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.io import fileio
from tfx.types.artifact import Artifact

from ncs4cvr.components import checksums, versions
from ncs4cvr.components.artifacts import RUN_ID, TRAINED_TO

Artifacts = dict[str, list[Artifact]]


class LatestPassed(ResolverStrategy):
    """The latest artifact that passed its gate, is whole and is not the candidate itself.

    A run that changes nothing thus finds what the run before found, and every component that
    compares is cached. TFX's LatestBlessedModelStrategy would hand it its own model instead.

    Channels: `candidate`, of this run; `earlier`, all artifacts of its type; `blessing`, all
    blessings. The answer is in `earlier`.

    Args:
      id_key: custom property of a blessing that names the artifact which it is about.
      passed_key: custom property of a blessing that must be 1; "" where every blessing says yes.
      else_itself: answers with the candidate where nothing earlier passed.
      tested_from: the first day that models are compared on. One that was trained up to that day,
        or a later one, has seen the answers and is passed over; blessings of models say up to which
        day. "" passes over none.
    """

    def __init__(
        self, id_key: str, passed_key: str = "", else_itself: bool = False, tested_from: str = ""
    ):
        self._id_key, self._passed_key, self._else_itself = id_key, passed_key, else_itself
        self._tested_from = tested_from

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Called by TFX."""
        candidate = input_dict["candidate"]
        found = self._latest(
            {artifact.id for artifact in candidate}, input_dict["earlier"], input_dict["blessing"]
        )
        if not found and self._else_itself:
            found = candidate
        return {"candidate": candidate, "earlier": found, "blessing": []}

    def _latest(
        self, but: set[int], earlier: Sequence[Artifact], blessings: Sequence[Artifact]
    ) -> list[Artifact]:
        by_id = {artifact.id: artifact for artifact in earlier}
        for blessing in sorted(blessings, key=lambda b: b.id, reverse=True):
            if self._passed_key and blessing.get_int_custom_property(self._passed_key) != 1:
                continue
            if saw_answers(blessing.get_string_custom_property(TRAINED_TO), self._tested_from):
                continue
            passed = by_id.get(blessing.get_int_custom_property(self._id_key))
            if not passed or passed.id in but or not fileio.exists(passed.uri):
                continue
            if not checksums.damage(passed.uri):
                return [passed]
        return []


def saw_answers(trained_to: str, tested_from: str) -> bool:
    """Whether a model was trained on days that it is to be tested on; "" where a day is unknown."""
    return bool(tested_from) and trained_to >= tested_from


class LastRun(ResolverStrategy):
    """The run of the pushed model that was trained up to the day nearest before this run's.

    Never one trained up to the same day or a later one: a day that runs again, or is made up for,
    would go on from a model that has seen its test rows. So a day that is done finds what it found
    when it ran, and its components are cached. Of two runs of a day the one pushed last counts;
    a model that was rolled back from does not.

    Channels: `earlier`, all model runs; `blessing`, all that was pushed. The answer is in
    `earlier`.

    Args:
      before: the last day that this run trains on.
      serving: folder of the served versions.
    """

    def __init__(self, before: str, serving: str):
        self._before, self._serving = before, serving

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Called by TFX."""
        runs = {run.id: run for run in input_dict["earlier"]}
        refused = versions.refused(self._serving)
        found = []
        for pushed in input_dict["blessing"]:
            run = runs.get(pushed.get_int_custom_property(RUN_ID))
            if run is None or pushed.get_int_custom_property("pushed") != 1:
                continue
            day = run.get_string_custom_property(TRAINED_TO)
            if day and day < self._before and not (refused and content(pushed.uri) in refused):
                found.append((day, pushed.id, run))
        for _, _, run in sorted(found, key=lambda each: each[:2], reverse=True):
            if fileio.exists(run.uri) and not checksums.damage(run.uri):
                return {"earlier": [run], "blessing": []}
        return {"earlier": [], "blessing": []}


def content(pushed: str) -> str:
    """What a rollback would refuse of a pushed model's copy; see versions.Manifest."""
    return versions.content(checksums.of(pushed, versions.MANIFEST))
