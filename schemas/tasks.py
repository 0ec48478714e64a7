"""One row a task: what is predicted, on which rows, under which loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
        if self.loss not in ("bce", "focal", "mse"):
            raise ValueError(f"task {self.name!r}: loss {self.loss!r} must be bce, focal or mse")
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


@dataclass(frozen=True)
class Gate:
    """A metric that must hold before a model is blessed.

    metric is `<output>_auc` or `<output>_calibration` (mean prediction / mean label). The value
    must lie in [at_least, at_most]; `worse_by` is how far it may fall below the last blessed
    model's value on the same rows (negative: not compared).
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    worse_by: float = -1.0

    def __post_init__(self) -> None:
        if not self.metric.endswith(("_auc", "_calibration")):
            raise ValueError(f"gate {self.metric!r} must be <output>_auc or <output>_calibration")
