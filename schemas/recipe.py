"""A recipe: everything one pipeline run needs to know, frozen and checked when built."""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass
from typing import Any, Literal

from ncs4cvr.schemas.checks import between, from_plain, literals, name, no_secret, one_of
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Log
from ncs4cvr.schemas.recipe_rows import check_rows
from ncs4cvr.schemas.settings import parse
from ncs4cvr.schemas.tasks import Gate, Product, Task

SHARINGS = (
    "single_task",
    "shared_bottom",
    "cross_stitch",
    "esmm",
    "mmoe",
    "ple",
    "aitm",
    "snr",
    "ncs4cvr",
)
CONTROLS = ("", "random", "new_start", "union")  # and "only_<task>"
INTERACTIONS = ("dot", "concat")
BLOCKS = (16, 32, 64)  # outputs that one decision of a ticket may cover, ascending


@dataclass(frozen=True)
class Recipe:
    """One flat page of choices; `ncs4cvr run --set key=value` sets scalars, `hidden` and `tower`.

    Raises:
      ValueError: a field is out of its range or names something unknown; says the cure.
    """

    name: str
    log: Log
    features: tuple[Feature, ...]
    tasks: tuple[Task, ...]
    products: tuple[Product, ...] = ()
    gates: tuple[Gate, ...] = ()
    slices: tuple[str, ...] = ()  # example columns; metrics are also shown per value

    # data
    attribution: str = ""  # whose data it is and under which licence, for the model card
    data_schema: str = ""  # a curated TFMD schema (pbtxt); "" infers one, without the checks
    # Statistics against the last run's: L-infinity of words, Jensen-Shannon of numbers; 0 = off.
    drift_threshold: float = 0.0
    # Each day of the later splits against the others: how many times its rows, and the odds of its
    # shares, may differ; how far a single column's AUC may lie from theirs; 0 = off.
    day_change: float = 2.0
    day_auc_change: float = 0.05

    # model
    embedding_dim: int = 16
    interaction: str = "dot"
    sharing: str = "ncs4cvr"
    hidden: tuple[int, ...] = (512, 256, 128)  # layers of the common network or of each expert
    tower: tuple[int, ...] = ()  # each task's own layers above them
    experts: int = 4  # mmoe: experts; ple: of each task and common; snr: sub-networks a layer
    snr_penalty: float = 1e-5  # snr: weight of the expected number of open connections

    # ticket search
    keep: float = 0.2  # share of connections the last round keeps
    rounds: int = 4  # prunings; the search trains rounds + 1 times
    prune_scope: Literal["global", "layer"] = (
        "global"  # one threshold for all layers, or each its own
    )
    ticket_block: int = 1  # neighbouring outputs that are pruned together: 1, 16, 32 or 64
    warmup_steps: int = 0  # joint steps before the common start that rounds rewind to
    search_epochs: int = 1  # passes over the data per round, at most
    early_bird: float = 0.0  # a round ends when its masks move less than this share; 0 = off
    pruning: Literal["geometric", "polynomial"] = "geometric"
    ticket_tie: float = 0.002  # validation differences up to this count as ties: the sparser wins
    soft_labels: Literal["off", "rounds"] = (
        "off"  # rounds: joint training learns what the search's rounds say on average
    )
    control: str = ""  # a control instead of the found tickets: see models/pruning/controls.py

    # export
    weights: Literal["f32", "bf16"] = "f32"  # of the tickets; f32 loses nothing
    embeddings: Literal["f32", "bf16", "int8"] = "f32"  # int8: each row with a scale of its own
    compute: Literal["auto", "sparse", "dense"] = (
        "auto"  # auto: what the exporting machine does faster
    )

    # training
    schedule: Literal["joint", "alternating"] = "joint"
    learning_rate: float = 1e-3
    batch_size: int = 1024
    max_epochs: int = 6
    patience: int = (
        1  # epochs in a row that may be no better than the best; the next one is the last
    )
    dropout: float = 0.0
    seed: int = 1
    distribution: Literal["one", "mirrored", "workers", "sharded"] = (
        "one"  # one device, all of a machine's, or several processes that TF_CONFIG lists, which
        # each hold the whole embedding table, or (sharded) a part of it
    )
    workers: int = 1  # processes to start on this machine where TF_CONFIG is not set

    # from day to day (docs/production.md)
    warm_start: Literal["off", "on"] = "off"  # on: begin with the last pushed model's weights
    warm_rows: Literal["new", "all"] = "new"  # train then on the days it has not seen, or on all
    warm_learning_rate: float = 0.0  # of a warm start; 0 = learning_rate
    warm_label_share: float = 1.0  # of its losses; the rest is on what the last model says
    search_every_days: int = 0  # how long a pushed model's tickets are kept; 0 = search every time
    search_when_changed: float = 0.0  # search when a round of today's changes more; 0 = not asked
    analyze_every_days: int = 0  # how long its vocabularies are; 0 = learn them every time

    # serving: bounds that a model must keep to be pushed; 0 = none, but for the tolerance
    serving_auc_tolerance: float = 0.0003  # of an export that is not lossless, per output
    max_p99_ms: float = 0.0  # of 64 rows through serving_default
    max_load_s: float = 0.0
    max_model_mb: float = 0.0  # files of the model, 10^6 bytes
    max_serving_mb: float = 0.0  # resident memory after loading, TensorFlow included, 2^20 bytes

    # where Beam's steps run: its options, as `key=value`; none = in the process that runs them
    beam: tuple[str, ...] = ()

    # the serving folder
    keep_versions: int = 5  # the last pushed models that stay, so that one can be rolled back to

    def __post_init__(self) -> None:
        name("recipe name", self.name, longest=63)  # of a TFX pipeline
        one_of("sharing", self.sharing, SHARINGS)
        one_of("interaction", self.interaction, INTERACTIONS)
        literals(self)
        controls = (*CONTROLS, *(f"only_{task.name}" for task in self.tasks))
        one_of("control", self.control, controls)
        between("keep", self.keep, 0.001, 1.0)
        between("dropout", self.dropout, 0.0, 0.95)
        between("ticket_tie", self.ticket_tie, 0.0, 1.0)
        between("early_bird", self.early_bird, 0.0, 1.0)
        between("snr_penalty", self.snr_penalty, 0.0, 1.0)
        between("learning_rate", self.learning_rate, 1e-7, 10.0)
        for field in ("embedding_dim", "batch_size", "max_epochs", "search_epochs", "experts"):
            between(field, getattr(self, field), 1, 10**9)
        between("warm_learning_rate", self.warm_learning_rate, 0.0, 10.0)
        between("warm_label_share", self.warm_label_share, 0.01, 1.0)
        between("search_when_changed", self.search_when_changed, 0.0, 1.0)
        for field in ("rounds", "warmup_steps", "patience"):
            between(field, getattr(self, field), 0, 10**9)
        for field in ("search_every_days", "analyze_every_days"):
            between(f"{field} (0 is every run)", getattr(self, field), 0, 10**9)
        between("serving_auc_tolerance", self.serving_auc_tolerance, 0.0, 1.0)
        for field in ("max_p99_ms", "max_load_s", "max_model_mb", "max_serving_mb"):
            between(field, getattr(self, field), 0, 10**9)
        between("drift_threshold", self.drift_threshold, 0.0, 1.0)
        if self.day_change:
            between("day_change (0 is off)", self.day_change, 1.0, 10**9)
        between("day_auc_change", self.day_auc_change, 0.0, 0.5)
        between("keep_versions", self.keep_versions, 2, 10**9)
        if isinstance(self.beam, str):
            raise ValueError(f"beam must be a tuple, such as ({self.beam!r},), got a string")
        for setting in self.beam:
            no_secret("--beam", setting, "give the workers an identity of their own")
        self._check_workers()
        if not self.tasks:
            raise ValueError(
                'a recipe needs at least one task, such as Task("ctr", "click"); got none'
            )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(
                f"hidden must be one or more positive sizes, such as (256, 128); got {self.hidden}"
            )
        if self.ticket_block not in (1, *BLOCKS):
            raise ValueError(
                f"ticket_block must be 1 (single connections) or one of {BLOCKS}, got "
                f"{self.ticket_block!r}"
            )
        if any(size % self.ticket_block for size in self.hidden):
            raise ValueError(
                f"ticket_block={self.ticket_block} must divide every size of hidden, got "
                f"{self.hidden}; use such sizes, or ticket_block=1"
            )
        if self.tower and min(self.tower) < 1:
            raise ValueError(f"tower must be positive sizes, or () for none; got {self.tower}")
        check_rows(self)

    def _check_workers(self) -> None:
        between("workers", self.workers, 1, 10**4)
        if self.workers > 1 and not self.in_processes:
            raise ValueError(
                f"workers={self.workers} needs distribution='workers' or 'sharded', got "
                f"{self.distribution!r}"
            )
        if self.batch_size % self.workers:
            raise ValueError(
                f"batch_size={self.batch_size} is the batch of all workers together and cannot be "
                f"divided among {self.workers}; use a multiple of {self.workers}"
            )

    # -- outputs ---------------------------------------------------------------------------

    @property
    def outputs(self) -> tuple[Task | Product, ...]:
        """What the served model answers, tasks first."""
        return (*self.tasks, *self.products)

    def metric_of(self, output: Task | Product) -> str:
        """What an output is judged by: `mse` where its label is a ratio, `auc` elsewhere.

        Whatever loss it is learned with.
        """
        ratios = {label.name for label in self.log.labels if label.over}
        return "mse" if output.label in ratios else "auc"

    @property
    def renews(self) -> bool:
        """Whether a run begins with weights, tickets or vocabularies of the last pushed model."""
        keeps = max(self.search_every_days, self.analyze_every_days) > 0
        return self.warm_start == "on" or keeps

    @property
    def in_processes(self) -> bool:
        """Whether several processes train it together."""
        return self.distribution in ("workers", "sharded")

    @property
    def trained_to(self) -> str:
        """The last day of the training split, the first of the splits; "" where none is named."""
        return self.log.splits[0].last if self.log.splits else ""

    @property
    def lossless(self) -> bool:
        """Whether what is exported has the trained weights bit for bit."""
        return self.weights == self.embeddings == "f32"

    # -- ranking requests ------------------------------------------------------------------

    def per_request(self, feature: Feature) -> bool:
        """Whether all candidates of a ranking request have this feature's value in common."""
        column = [f for f in self.features if f.column == feature.column]
        return all(self._given_once(f) for f in column)

    def _given_once(self, feature: Feature) -> bool:
        if feature.per:
            return feature.per == "request"
        if feature.source == "tally":
            return any(t.key == "user" for t in self.log.tallies if t.name == feature.column)
        if feature.source == "event":
            return feature.column in (self.log.user, self.log.time)
        return feature.source in ("user", "history")

    # -- JSON and --set --------------------------------------------------------------------

    def to_json(self) -> str:
        """The recipe as JSON, stable in its order (TFX hashes it for its cache)."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Recipe:
        """Rebuilds and checks what `to_json` wrote; raises ValueError for anything else."""
        return from_plain(Recipe, json.loads(text))

    def replace(self, **changes: Any) -> Recipe:
        """A changed copy, checked anew."""
        for key in changes:
            one_of("recipe key", key, [f.name for f in dataclasses.fields(self)])
        return dataclasses.replace(self, **changes)

    def with_settings(self, settings: typing.Iterable[str]) -> Recipe:
        """Applies `key=value` settings of the command line."""
        return self.replace(**dict(parse(Recipe, setting) for setting in settings))
