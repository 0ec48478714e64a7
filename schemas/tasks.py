"""One row a task: what is predicted, on which rows, under which loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ncs4cvr.schemas import checks


@dataclass(frozen=True)
class Task:
    """A prediction p = sigmoid(logit) of `label`, learned on the rows where `given` is 1.

    loss    "bce"    -y log p - (1 - y) log(1 - p)
            "focal"  LT4REC's CTR loss, alpha .75, gamma 2
            "mse"    (p - y)^2, for a completion ratio in [0, 1]
    Each is averaged over the task's own rows (PLE, section 3.3) and weighted by `weight`.
    """

    name: str
    label: str
    given: str = ""
    loss: Literal["bce", "focal", "mse"] = "bce"
    weight: float = 1.0

    def __post_init__(self) -> None:
        checks.name("task", self.name)
        checks.literals(self)
        if self.weight <= 0:
            raise ValueError(f"task {self.name!r}: weight must be positive, got {self.weight}")


@dataclass(frozen=True)
class Product:
    """An output that is the product of tasks, judged against `label` on every row.

    ctcvr = P(click) P(conversion | click) = P(click and conversion)      (ESMM, eq. 1)
    """

    name: str
    factors: tuple[str, ...]
    label: str

    def __post_init__(self) -> None:
        checks.name("product", self.name)


@dataclass(frozen=True)
class Gate:
    """What a metric of the test split must keep before a model is blessed.

    metric is `<output>_auc` or `<output>_calibration` (mean prediction / mean label). Its value
    must lie in [at_least, at_most].

    `worse_by` is how far an AUC may fall below the last blessed model's on the same rows (negative:
    not compared). At `confidence` .5 the difference itself must keep this margin; at c > .5 the
    lower end of its one-sided interval of level c must, a test of non-inferiority. The stricter
    test needs a margin well above the difference's standard error, which `verdict.json` shows: with
    a margin of two standard errors, .95 stops a third of the models that are as good as the last.

    `slice_worse_by` is the same for every value of `slices` (columns; none: all of the recipe's),
    but the burden of proof is the other way round: slices are many and small, so one has fallen
    where the upper end of its interval lies below the margin.

    An output with fewer positives, or fewer negatives, than `min_positives` is not judged, and the
    model not blessed; a slice with fewer is shown, not held to anything.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    worse_by: float = -1.0
    confidence: float = 0.5
    slice_worse_by: float = -1.0
    slices: tuple[str, ...] = ()
    min_positives: int = 50

    def __post_init__(self) -> None:
        if not self.metric.endswith(("_auc", "_calibration")):
            raise ValueError(
                f"gate {self.metric!r} must be <output>_auc or <output>_calibration, such as "
                "cvr_auc"
            )
        if not 0.5 <= self.confidence < 1:
            raise ValueError(
                f"gate {self.metric!r}: confidence {self.confidence} must lie in [0.5, 1); 0.5 "
                "holds the difference itself to worse_by"
            )
        if self.min_positives < 1:
            raise ValueError(
                f"gate {self.metric!r}: min_positives must be 1 or more, got {self.min_positives}"
            )
        if self.metric.endswith("_calibration") and max(self.worse_by, self.slice_worse_by) >= 0:
            raise ValueError(
                f"gate {self.metric!r}: a calibration is held to a band, at_least and at_most; "
                "worse_by and slice_worse_by are for <output>_auc"
            )

    @property
    def output(self) -> str:
        """The output that is judged."""
        return self.metric.rpartition("_")[0]
