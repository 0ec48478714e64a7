"""TFX Trainer calls this: joint training under the tickets, then export."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models import lottery, recording, trained, training
from ncs4cvr.models.batches import Batches
from ncs4cvr.models.export import CHECKED_EXAMPLES, export
from ncs4cvr.models.preprocessing import vocabulary_sizes
from ncs4cvr.models.tickets import Tickets
from ncs4cvr.schemas.recipe import Recipe

log = logging.getLogger("ncs4cvr")


def run_fn(fn_args: Any) -> None:
    """Trains the recipe's model and writes the SavedModel to `fn_args.serving_model_dir`.

    fn_args.custom_config:
      recipe: the recipe as JSON.
      tickets: folder of the TaskTickets artifact; absent for sharings without tickets.
      checkpoint: folder where a stopped training of the same inputs goes on.
      raw_examples: pattern of raw examples of the validation split, to record with the model's
        predictions in `fn_args.model_run_dir`.
    """
    config = fn_args.custom_config
    recipe = Recipe.from_json(config["recipe"])
    transform_graph = tft.TFTransformOutput(fn_args.transform_output)
    train = Batches(fn_args.train_files, transform_graph)
    valid = Batches(fn_args.eval_files, transform_graph)
    sizes = vocabulary_sizes(recipe, transform_graph)
    found = Tickets.load(config["tickets"]) if config.get("tickets") else None
    rows = train.count()
    model = lottery.joint_model(recipe, sizes, train, valid, rows, found)
    board = tf.summary.create_file_writer(fn_args.model_run_dir)

    def after_epoch(epoch: int, loss: float, metrics: Mapping[str, float]) -> None:
        with board.as_default(step=epoch + 1):
            _scalar("loss", loss)
            for name, value in metrics.items():
                _scalar(f"validation/{name}", value)
        board.flush()

    began = time.monotonic()
    history = training.fit(
        model,
        train,
        valid,
        rows=rows,
        checkpoint=config["checkpoint"],
        after_epoch=after_epoch,
    )
    facts = {
        "best_epoch": history.best + 1,
        "epochs": history.epochs,
        "seconds": time.monotonic() - began,
        "parameters": sum(int(tf.size(v)) for v in model.trainable_variables),
    }
    with tf.io.gfile.GFile(f"{fn_args.model_run_dir}/training.json", "w") as out:
        out.write(json.dumps(facts))
    raw = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(config["raw_examples"])), "GZIP")
    examples = list(raw.take(recording.ROWS).as_numpy_iterator())
    where = f"{fn_args.model_run_dir}/{recording.FILE}"
    recording.record(model, transform_graph, examples, where)
    trained.save(model, fn_args.transform_output, fn_args.model_run_dir)
    export(model, transform_graph, fn_args.serving_model_dir, examples[:CHECKED_EXAMPLES])
    tf.io.gfile.rmtree(config["checkpoint"])


def _scalar(name: str, value: float) -> None:
    """tf.summary.scalar, which needs TensorBoard installed; writing what it reads does not."""
    metadata = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
    metadata.plugin_data.plugin_name = "scalars"
    tf.summary.write(name, tf.constant(value, tf.float32), metadata=metadata)


def search_fn(recipe_json: str, train_files: str, valid_files: str, graph: str, out: str) -> None:
    """TicketSearch calls this: finds one ticket per task and saves them to `out`."""
    recipe = Recipe.from_json(recipe_json)
    transform_graph = tft.TFTransformOutput(graph)
    train, valid = Batches(train_files, transform_graph), Batches(valid_files, transform_graph)
    sizes = vocabulary_sizes(recipe, transform_graph)
    made_from = {"recipe": recipe.name, "seed": recipe.seed, "vocabularies": sizes}
    rows = train.count()
    lottery.find_tickets(recipe, sizes, train, valid, rows, made_from).save(out)
