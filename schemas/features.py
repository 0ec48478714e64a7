"""One row a feature: where it comes from and how it becomes numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ncs4cvr.schemas import checks


@dataclass(frozen=True)
class Feature:
    """One input of the model.

    kind      column holds            becomes
    category  one id or word          an id: vocabulary with a frequency cut, the rest hashed
    index     a small integer         itself where 0 <= it < bins, one id for all others
    tags      several, in one string  ids (as category), their embeddings averaged
    sequence  the last N values       ids (as category, or as index if bins > 0), -> `interests`
    number    a quantity              a quantile bucket (bins > 0) or its z-score (bins = 0)
    hour      a time in ms            hour of day, 0 to 23, local time
    weekday   a time in ms            0 = Monday

    name: the transformed feature; column: the example's column (and the serving input), the name
    itself unless given. source: the file the column comes from; "history" and "tally" columns are
    made by VideoLogExampleGen. Features with the same `vocabulary` share ids and embedding rows;
    the feature of that name is the one whose values are counted. length: how many tags or values
    of a sequence are kept.

    Amounts that are mostly zero would put all quantiles at zero: zero_apart gives zero an id of its
    own and takes the quantiles over all other values. log: the z-score is that of
    sign(x) log(1 + |x|), so that a few large amounts do not squeeze the rest together.

    per: "request" if all candidates of a ranking request have the value in common, "candidate" if
    each has its own. "" decides by the source: what belongs to the user, the time and the history
    is the request's, all else a candidate's.
    """

    name: str
    source: Literal["event", "user", "video", "history", "tally"] = "event"
    kind: Literal["category", "index", "tags", "sequence", "number", "hour", "weekday"] = "category"
    dtype: Literal["int", "float", "string"] = "int"
    column: str = ""
    vocabulary: str = ""
    min_count: int = 5
    hash_buckets: int = 8
    bins: int = 0
    zero_apart: bool = False
    log: bool = False
    separator: str = ","
    length: int = 8
    per: Literal["", "request", "candidate"] = ""

    @property
    def has_words(self) -> bool:
        """Whether its values are looked up in a vocabulary that is learned."""
        indexed = self.kind == "sequence" and self.bins > 0
        return self.kind in ("category", "tags", "sequence") and not indexed

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", self.column or self.name)
        object.__setattr__(self, "vocabulary", self.vocabulary or self.name)
        checks.name("feature", self.name)
        checks.literals(self)
        if not checks.COLUMN.fullmatch(self.column) or self.column == "self":
            raise ValueError(
                f"feature {self.name!r}: column {self.column!r} must be letters from A to Z or a "
                "to z, digits and '_', a letter first, and not 'self': requests name it so; give "
                "the feature another `column` and map it with Log.columns"
            )
        if self.kind == "number" and (self.dtype == "string" or self.bins == 1):
            raise ValueError(
                f"feature {self.name!r}: a number is int or float, in 2 or more bins or none, got "
                f"dtype={self.dtype!r} and bins={self.bins}"
            )
        if self.dtype == "float" and self.kind in ("category", "tags", "sequence"):
            raise ValueError(
                f"feature {self.name!r}: a {self.kind} cannot be float; say dtype int or string"
            )
        if self.kind == "tags" and self.dtype != "string":
            raise ValueError(
                f"feature {self.name!r}: tags come in one string, got dtype={self.dtype!r}; set "
                "dtype='string'"
            )
        if self.kind == "index" and (self.bins < 1 or self.dtype != "int"):
            raise ValueError(
                f"feature {self.name!r}: an index is an int in [0, bins), got dtype={self.dtype!r} "
                f"and bins={self.bins}; give dtype='int' and bins"
            )
        if self.zero_apart and (self.kind != "number" or self.bins < 1):
            raise ValueError(
                f"feature {self.name!r}: zero_apart is for a number in bins, not for "
                f"{self.kind!r} with bins={self.bins}; give bins or leave zero_apart out"
            )
        if self.log and (self.kind != "number" or self.bins):
            raise ValueError(
                f"feature {self.name!r}: log is for a number without bins (quantiles are the same "
                f"with it), not for {self.kind!r} with bins={self.bins}; leave one of them out"
            )
        if self.hash_buckets < 1 or self.length < 1:
            raise ValueError(
                f"feature {self.name!r}: hash_buckets and length must be 1 or more, got "
                f"{self.hash_buckets} and {self.length}"
            )
