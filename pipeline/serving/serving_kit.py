"""What TF Serving is started with for a run's serving folder: configs, script, manifests."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
import string
import textwrap
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.config import model_server_config_pb2

from ncs4cvr.components.retention import PINNED
from ncs4cvr.pipeline.run import durable
from ncs4cvr.pipeline.serving.batching import KitError, fit_batching, latest_check, read_check

#: The server; pinned here alone. A server is promised to load what its own and older TensorFlows
#: exported, 2.19 here; a newer one's (TFX 1.21 has 2.21) as far as it knows the operations in them.
IMAGE = "tensorflow/serving:2.19.1"
MODELS_MOUNT = "/models"
# Where each file goes, by its name in the package ncs4cvr.pipeline.kit.
FILES = {
    "README.md": "README.md",
    "client.py": "client.py",
    "start.sh": "start.sh",
    "kustomization.yaml": "kustomization.yaml",
    "deployment.yaml": "kubernetes/deployment.yaml",
    "service.yaml": "kubernetes/service.yaml",
    "autoscaler.yaml": "kubernetes/autoscaler.yaml",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a user may choose.

    Args:
      name: the model's name in the server; Kubernetes objects are called so, too.
      stable: the version behind the label `stable`; the newest if None.
      canary: the version behind the label `canary`; the stable one if None.
      budget_ms: how long one batch may take at p99, milliseconds.
      cpus: cores of one server in the fleet, and threads that process batches.
      batching: whether the start commands turn batching on.

    Raises:
      KitError: a name that Kubernetes refuses, or a number that is not positive.
    """

    name: str = "ncs4cvr"
    stable: int | None = None
    canary: int | None = None
    budget_ms: float = 20.0
    cpus: int = 4
    batching: bool = False

    def __post_init__(self):
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", self.name):
            raise KitError(
                f"the name {self.name!r} cannot be a Kubernetes object's: give up to 52 lower-case "
                "letters, digits and '-', a letter first"
            )
        if self.cpus < 1 or not self.budget_ms > 0:
            raise KitError(
                f"--cpus and --latency-ms must be positive, not {self.cpus} and {self.budget_ms:g}"
            )


def versions_of(serving: Path) -> list[int]:
    """The numbers of the versions in a serving folder, newest last.

    Raises:
      KitError: there is none.
    """
    found = [p.parent.name for p in serving.glob("*/saved_model.pb") if p.parent.name.isdigit()]
    if not found:
        raise KitError(
            f"{serving} holds no numbered version of a model; give the folder of a run that pushed "
            "one, such as runs/kuairand"
        )
    return sorted(map(int, found))


def models_config(name: str, base_path: str, labels: Mapping[str, int]) -> str:
    """The text of --model_config_file: one model, the labelled versions and no other.

    A model's newest versions would be loaded by `latest`, but then a push moves what a label points
    to out of the server; here what is served changes only with this file.
    """
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(
        name=name, base_path=base_path, model_platform="tensorflow"
    )
    model.model_version_policy.specific.versions.extend(sorted(set(labels.values())))
    for label, version in labels.items():
        model.version_labels[label] = version
    return text_format.MessageToString(config)


def unjoinable(version: Path) -> list[str]:
    """The signatures whose requests TF Serving's batching cannot join, sorted.

    It joins along the rows, which all inputs of a request must then have in the same number; it
    refuses to join lists of different width, or pads them with their first value, which would be
    read as part of the history. So: every input must have rows, [-1], and nothing else.
    """
    model = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    return sorted(
        name
        for name, signature in model.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
        and any(_shape(info) != [-1] for info in signature.inputs.values())
    )


def memory_mib(model_mib: float, versions: int) -> int:
    """What a server may take, MiB: 512 + 2 * versions * model, up to whole 256.

    Twice the model, because a request's tensors need room, too.
    """
    return 256 * math.ceil((512 + 2 * versions * model_mib) / 256)


def write_kit(run: Path, folder: Path, settings: Settings, measured: Path | None = None) -> None:
    """Writes the kit; files of an earlier one are replaced.

    The labelled versions are noted beside the versions, so that no push removes them (see
    components.retention); those of an earlier kit are no longer.

    Args:
      run: a run's folder, with serving/ in it.
      folder: to write to.
      settings: names, versions, budgets.
      measured: a report of ServingCheck; the run's newest that passed if None.

    Raises:
      KitError: no model, no latencies, or an unknown version.
    """
    serving = run / "serving"
    versions = versions_of(serving)
    stable = versions[-1] if settings.stable is None else settings.stable
    canary = stable if settings.canary is None else settings.canary
    for label, version in (("stable", stable), ("canary", canary)):
        if version not in versions:
            known = ", ".join(map(str, versions))
            raise KitError(
                f"no version {version} to label {label} in {serving}; give one of {known} to "
                f"--{label}"
            )
    measured = measured or latest_check(run)
    check = read_check(measured)
    batching = fit_batching(check.latencies, settings.budget_ms, settings.cpus)
    base_path = f"{MODELS_MOUNT}/{settings.name}"
    labels = {"stable": stable, "canary": canary}
    pins = {"kit": str(folder.resolve()), "versions": sorted(set(labels.values()))}
    durable.write(serving / PINNED, json.dumps(pins) + "\n")
    _put(folder / "config/models.config", models_config(settings.name, base_path, labels))
    _put(folder / "config/batching.config", batching.text())
    values = {
        "name": settings.name,
        "image": IMAGE,
        "stable": stable,
        "canary": canary,
        "cpus": settings.cpus,
        "memory_mib": memory_mib(check.model_mib, len(set(labels.values()))),
        "serving": shlex.quote(str(serving.resolve())),
        "base_path": base_path,
        "models_mount": MODELS_MOUNT,
        "measured": measured,
        "budget_ms": f"{settings.budget_ms:g}",
        "max_batch": batching.max_batch_size,
        "timeout_us": batching.batch_timeout_micros,
        **_flags(settings),
        **_told(settings, unjoinable(serving / str(stable))),
    }
    for name, goes_to in FILES.items():
        text = resources.files("ncs4cvr.pipeline.kit").joinpath(name).read_text(encoding="utf-8")
        if name != "client.py":
            text = string.Template(text).substitute(values)
        _put(folder / goes_to, text)
    (folder / "start.sh").chmod(0o755)


def _flags(settings: Settings) -> dict[str, str]:
    """The server's options, for the shell and for YAML."""
    flags = [
        "--model_config_file=/config/models.config",
        # The labels are in the file from the start, when no version is loaded yet.
        "--allow_version_labels_for_unavailable_models=true",
    ]
    if settings.batching:
        flags += ["--enable_batching=true", "--batching_parameters_file=/config/batching.config"]
    listed = "\n".join(f"- {flag}" for flag in flags)
    return {"flags_sh": " \\\n  ".join(flags), "flags_yaml": textwrap.indent(listed, " " * 12)}


def _told(settings: Settings, unfit: Sequence[str]) -> dict[str, str]:
    """What the README says of batching."""
    if settings.batching:
        state, says = "used", "The start commands turn it on."
    else:
        state = "not used, see below"
        says = (
            "It is off, because a ranking request brings many rows itself; where requests bring "
            "few, write the kit with `--batching`."
        )
    fit = "Every signature can be used."
    if unfit:
        names = ", ".join(f"`{name}`" for name in unfit)
        fit = (
            f"Do not use {names} then: lists of different length, or inputs with different "
            "numbers of rows, cannot be joined."
        )
    return {"batching_state": state, "batching_says": says, "unfit_says": fit}


def _shape(info) -> list[int]:
    return [dim.size for dim in info.tensor_shape.dim]


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
