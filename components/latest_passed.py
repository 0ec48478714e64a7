"""Which earlier artifact a run compares itself with."""

from __future__ import annotations

from collections.abc import Sequence

import ml_metadata as mlmd
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.io import fileio
from tfx.types.artifact import Artifact

from ncs4cvr.components import checksums

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
    """

    def __init__(self, id_key: str, passed_key: str = "", else_itself: bool = False):
        self._id_key, self._passed_key, self._else_itself = id_key, passed_key, else_itself

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
            passed = by_id.get(blessing.get_int_custom_property(self._id_key))
            if not passed or passed.id in but or not fileio.exists(passed.uri):
                continue
            if not checksums.damage(passed.uri):
                return [passed]
        return []
