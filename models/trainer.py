"""TFX Trainer calls this: joint training under the tickets, then export."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.days import renewal, trained, warm
from ncs4cvr.models.learning import training
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.preprocessing import vocabularies, vocabulary_sizes
from ncs4cvr.models.pruning import lottery, soft_labels, starts
from ncs4cvr.models.pruning.soft_labels import SoftLabels
from ncs4cvr.models.pruning.tickets import FACTS, MODEL, Tickets
from ncs4cvr.models.serving import recording
from ncs4cvr.models.serving.export import export
from ncs4cvr.models.together import launch
from ncs4cvr.models.together.workers import Workers, alone, assemble
from ncs4cvr.schemas.recipe import Recipe

log = logging.getLogger("ncs4cvr")
AfterEpoch = Callable[[int, float, Mapping[str, float]], None]
#: Of what TFX hands to run_fn.
ARGUMENTS = (
    "custom_config",
    "transform_output",
    "train_files",
    "eval_files",
    "model_run_dir",
    "serving_model_dir",
)


def run_fn(fn_args: Any) -> None:
    """Trains the recipe's model and writes the SavedModel to `fn_args.serving_model_dir`.

    The first validation rows, with the model's predictions, are recorded in
    `fn_args.model_run_dir`.

    fn_args.custom_config:
      recipe: the recipe as JSON.
      tickets: folder of the TaskTickets artifact; absent for sharings without tickets.
      last_run: folder of the last pushed model's run, for a warm start; absent where there is none.
      checkpoint: folder where a stopped training of the same inputs goes on.
    """
    recipe = Recipe.from_json(fn_args.custom_config["recipe"])
    arguments = {name: getattr(fn_args, name) for name in ARGUMENTS}
    if recipe.in_processes:
        launch.together("train", arguments, recipe)
    else:
        train(**arguments)


def train(**arguments: Any) -> None:
    """What run_fn does, in this process: alone or as one of several workers; see there."""
    fn_args = SimpleNamespace(**arguments)
    config = fn_args.custom_config
    recipe = Recipe.from_json(config["recipe"])
    workers = assemble(recipe, os.environ)
    transform_graph = tft.TFTransformOutput(fn_args.transform_output)
    found = Tickets.load(config["tickets"]) if config.get("tickets") else None
    model = fitted(fn_args, recipe, transform_graph, found, workers)
    if model:
        raw = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(fn_args.eval_files)), "GZIP")
        blocks = raw.take(recording.ROWS).batch(recording.BATCH_ROWS)  # one by one takes seconds
        examples = [example for block in blocks for example in block.numpy()]
        where = f"{fn_args.model_run_dir}/{recording.FILE}"
        recording.record(model, transform_graph, examples, where)
        known = warm.compute(config.get("last_run", ""))
        export(model, transform_graph, fn_args.serving_model_dir, known=known)
        if recipe.warm_start == "on":
            warm.save_compute(fn_args.serving_model_dir, fn_args.model_run_dir)
        tf.io.gfile.rmtree(config["checkpoint"])
    workers.part(done=lambda: not tf.io.gfile.exists(config["checkpoint"]))


def fitted(
    fn_args: Any,
    recipe: Recipe,
    transform_graph: tft.TFTransformOutput,
    found: Tickets | None,
    workers: Workers | None = None,
) -> Ranker | None:
    """Trains; the chief saves what the next day may go on from; see `run_fn`.

    Returns:
      The model, on one device; None in workers other than the chief.
    """
    config, workers = fn_args.custom_config, workers or alone()
    valid = Batches(fn_args.eval_files, transform_graph, workers=workers)
    sizes = vocabulary_sizes(recipe, transform_graph)
    words = vocabularies(recipe, transform_graph)
    start, after = _start(recipe, config.get("last_run", ""), found)
    train = Batches(fn_args.train_files, transform_graph, after, workers)
    rows = train.count()
    if not rows and after:
        raise ValueError(
            f"the training split ends on {recipe.trained_to} and has no row after {start['from']}, "
            "up to which the last pushed model was trained; look at the log, or set warm_rows=all"
        )
    model = starts.joint_model(recipe, sizes, train, rows, found, words)
    taught_by = 0
    if recipe.soft_labels == "rounds" and found and not start["from"]:
        train, taught_by = soft_labels.given(recipe, train, rows, found, config["tickets"])
    if start["from"]:
        start |= warm.carry(model, config["last_run"], words)
        if recipe.warm_label_share < 1:
            train = soft_labels.of_model(recipe, train, model)
            model.label_share = start["label_share"] = recipe.warm_label_share
    began = time.monotonic()
    history = training.fit(
        model,
        train,
        valid,
        rows=rows,
        checkpoint=config["checkpoint"],
        after_epoch=_board(fn_args.model_run_dir) if workers.chief else _nobody,
    )
    seconds = time.monotonic() - began
    own = starts.on_one_device(model, sizes, train.no_rows(), workers)
    if recipe.renews:
        warm.save(model, words, found, fn_args.model_run_dir, workers)
    if own:
        facts = {
            "best_epoch": history.best + 1,
            "epochs": history.epochs,
            "seconds": seconds,
            "parameters": sum(int(tf.size(v)) for v in own.trainable_variables),
            "start": {**start, "rows": rows},
            "soft_labels": taught_by,  # rounds of the search; 0: none of it
        }
        with tf.io.gfile.GFile(f"{fn_args.model_run_dir}/training.json", "w") as out:
            out.write(json.dumps(facts))
        trained.save(own, fn_args.transform_output, fn_args.model_run_dir)
    return own


def _start(recipe: Recipe, last_run: str, found: Tickets | None) -> tuple[dict[str, Any], int]:
    """From which day's model training begins, or why from none; and after which day's rows."""
    if recipe.warm_start == "off":
        return {"from": "", "why": "warm_start is off"}, 0
    if why := warm.why_fresh(recipe, last_run, found):
        log.info("fresh start: %s", why)
        return {"from": "", "why": why}, 0
    day = trained.recipe_of(last_run).trained_to
    log.info("going on from the model of %s, with %s days' rows", day, recipe.warm_rows)
    after = int(day.replace("-", "")) if recipe.warm_rows == "new" else 0
    return {"from": day, "why": ""}, after


def _board(folder: str) -> AfterEpoch:
    """What writes every epoch's loss and metrics for TensorBoard."""
    board = tf.summary.create_file_writer(folder)

    def after_epoch(epoch: int, loss: float, metrics: Mapping[str, float]) -> None:
        with board.as_default(step=epoch + 1):
            _scalar("loss", loss)
            for name, value in metrics.items():
                _scalar(f"validation/{name}", value)
        board.flush()

    return after_epoch


def _nobody(epoch: int, loss: float, metrics: Mapping[str, float]) -> None:
    """Only the chief writes."""


def _scalar(name: str, value: float) -> None:
    """tf.summary.scalar, which needs TensorBoard installed; writing what it reads does not."""
    metadata = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
    metadata.plugin_data.plugin_name = "scalars"
    tf.summary.write(name, tf.constant(value, tf.float32), metadata=metadata)


def search_fn(
    recipe_json: str,
    train_files: str,
    valid_files: str,
    graph: str,
    out: str,
    last_run: str = "",
    checkpoint: str = "",
) -> None:
    """TicketSearch calls this: finds one ticket per task, or keeps those of `last_run`.

    A search of the same inputs that was cut off goes on from `checkpoint`, if it is given.
    """
    recipe = Recipe.from_json(recipe_json)
    arguments = {
        "recipe_json": recipe_json,
        "train_files": train_files,
        "valid_files": valid_files,
        "graph": graph,
        "out": out,
        "last_run": last_run,
        "checkpoint": checkpoint,
    }
    if recipe.in_processes:
        launch.together("search", arguments, recipe)
    else:
        search(**arguments)


def search(
    recipe_json: str,
    train_files: str,
    valid_files: str,
    graph: str,
    out: str,
    last_run: str,
    checkpoint: str,
) -> None:
    """What search_fn does, in this process: alone or as one of several workers."""
    recipe = Recipe.from_json(recipe_json)
    workers = assemble(recipe, os.environ)
    transform_graph = tft.TFTransformOutput(graph)
    sizes = vocabulary_sizes(recipe, transform_graph)
    words = vocabularies(recipe, transform_graph)

    @functools.cache  # where tickets are kept, nobody reads anything
    def split(files: str) -> Batches:
        return Batches(files, transform_graph, workers=workers)

    def measure(kept: Tickets) -> dict[str, float]:
        train = split(train_files)
        return lottery.changed(recipe, sizes, train, train.count(), kept, words)

    found, decision = renewal.kept(recipe, last_run, measure)
    log.info("%s: %s", "search" if decision["searched"] else "tickets kept", decision["why"])
    if found is None:
        made_from = {
            "recipe": recipe.name,
            "seed": recipe.seed,
            "vocabularies": sizes,
            "trained_to": recipe.trained_to,
            MODEL: json.loads(recipe_json),
        }
        train, valid = split(train_files), split(valid_files)
        soft = SoftLabels(recipe, train) if recipe.soft_labels == "rounds" else None
        of = (sizes, train, valid, train.count())
        found = lottery.find_tickets(recipe, *of, made_from, soft, checkpoint)
        facts = {**found.facts, soft_labels.FACTS: soft.save(out)} if soft else found.facts
        found = dataclasses.replace(found, facts=facts, words=words)
        workers.meet()  # whose parts are there when the chief says that all is
    if workers.chief:
        dataclasses.replace(found, facts={**found.facts, "decision": decision}).save(out)
        if decision["searched"] and checkpoint:
            tf.io.gfile.rmtree(checkpoint)
    workers.part(done=lambda: tf.io.gfile.exists(f"{out}/{FACTS}"))
