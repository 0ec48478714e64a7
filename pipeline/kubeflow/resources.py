"""How a compiled pipeline runs, apart from its recipe: image, resources, retries, volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ncs4cvr.schemas import checks

#: The first step of a run, and what runs when all have ended.
PLAN, REPORT = "plan", "report"


@dataclass(frozen=True)
class Resources:
    """What a step may use: cores, GB of memory, accelerators of a Kubernetes resource name.

    Raises:
      ValueError: no finite positive number of cores or GB, or fewer than no accelerators.
    """

    cpu: float = 2.0
    memory: float = 8.0
    gpu: int = 0
    gpu_type: str = "nvidia.com/gpu"

    def __post_init__(self) -> None:
        if not 0 < self.cpu < math.inf or not 0 < self.memory < math.inf or self.gpu < 0:
            raise ValueError(
                f"resources must be positive and finite, came cpu:{self.cpu:g},"
                f"memory:{self.memory:g},gpu:{self.gpu}; write such as cpu:4,memory:16,gpu:1"
            )

    def to_spec(self) -> dict[str, Any]:
        """As a ResourceSpec, in the fields of older and of newer backends."""
        spec: dict[str, Any] = {
            "cpuLimit": self.cpu,
            "memoryLimit": self.memory,
            "resourceCpuLimit": f"{self.cpu:g}",
            "resourceMemoryLimit": f"{self.memory:g}G",
        }
        if self.gpu:
            count = str(self.gpu)
            spec["accelerator"] = {
                "count": count,
                "type": self.gpu_type,
                "resourceCount": count,
                "resourceType": self.gpu_type,
            }
        return spec


#: Steps that only look something up or compare summaries; and those that train.
LIGHT, HEAVY = Resources(1, 4), Resources(4, 16)
DEFAULTS = {
    **dict.fromkeys((PLAN, REPORT, "ImportSchemaGen", "SchemaGen", "ExampleValidator"), LIGHT),
    **dict.fromkeys(("LastStatistics", "LastRun", "DriftValidator", "SkewValidator"), LIGHT),
    "DataGate": LIGHT,
    **dict.fromkeys(("TicketSearch", "Trainer"), HEAVY),
}


def default_of(step: str) -> Resources:
    """What a step may use where nobody says otherwise."""
    return DEFAULTS.get(step, Resources())


@dataclass(frozen=True)
class Options:
    """How a compiled pipeline runs, apart from its recipe.

    image, root, beam_args: defaults of run parameters. resources: per node's id, in place of
    default_of.
    retries: of every step but the data gate. volumes: claim's name -> where steps see it.
    """

    image: str
    root: str
    beam_args: tuple[str, ...] = ()
    resources: tuple[tuple[str, Resources], ...] = ()
    retries: int = 2
    cache: bool = True
    volumes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for option, values in (
            ("--image", [self.image]),
            ("--root", [self.root]),
            ("--beam", self.beam_args),
        ):
            for value in values:
                checks.no_secret(
                    option, value, "mount it, or give the steps an identity of their own"
                )
        if not self.image or not self.root:
            raise ValueError("a pipeline needs an image and a root; give --image and --root")
        if not self.root.startswith(("gs://", "hdfs://", "/")):
            raise ValueError(
                f"steps cannot share the root {self.root!r}; expected gs://BUCKET/FOLDER, hdfs:// "
                "or a path that starts with /, on a volume"
            )
        if self.retries < 0:
            raise ValueError(f"--retries must be 0 or more, came {self.retries}")
