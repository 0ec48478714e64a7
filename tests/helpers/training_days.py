"""What TicketSearch and Trainer do on one of several days."""

import json

from ncs4cvr.models import trainer
from ncs4cvr.models.pruning.tickets import Tickets


def place_of_table(model):
    """Which of the model's variables the embedding table is."""
    table = model.trunks[0].embedding.table
    return [v is table for v in model.trainable_variables].index(True)


def arguments(day, fn_args, folder, **config):
    args = fn_args(day.recipe, folder, **config)
    at = day.world.folder
    args.transform_output, args.train_files = f"{at}/graph", [f"{at}/train*"]
    args.eval_files = [f"{at}/valid*"]
    return args


def searched(day, folder, last_run=""):
    at = day.world.folder
    splits = (f"{at}/train*", f"{at}/valid*")
    trainer.search_fn(day.recipe.to_json(), *splits, f"{at}/graph", str(folder), str(last_run))
    return Tickets.load(str(folder))


def fitted(day, fn_args, folder, **config):
    """Trains as run_fn does, but for the export; the model, and what it says of its start."""
    found = Tickets.load(config["tickets"])
    args = arguments(day, fn_args, folder, **config)
    model = trainer.fitted(args, day.recipe, day.world.graph, found)
    return model, json.loads((folder / "run/training.json").read_text())["start"]
