"""A recipe that runs in a minute, on the log that tiny_log.py writes beside it."""

from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split, Tally
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Product, Task

LOG = Log(
    events="events.csv",
    users="users.csv",
    videos="videos.csv",
    history_length=5,
    history_actions=("conversion",),
    labels=(Label("click", "is_click"), Label("conversion", "long_view", given="click")),
    tallies=(Tally("user_click_rate", "user", "click", "impression", prior=0.5, strength=5),),
    splits=(
        Split("train", "2022-01-01", "2022-01-04"),
        Split("validate", "2022-01-05", "2022-01-05"),
        Split("test", "2022-01-06", "2022-01-06"),
    ),
)

RECIPE = Recipe(
    name="tiny",
    log=LOG,
    features=(
        Feature("user_id"),
        Feature("video_id"),
        Feature("tab", min_count=1),
        Feature("hour", kind="hour", column="time_ms"),
        Feature("duration", kind="number", column="duration_ms", bins=4),
        Feature("city", "user", dtype="string"),
        Feature("author_id", "video"),
        Feature("user_click_rate", "tally", "number", "float", bins=4),
        Feature("history_video", "history", "sequence", vocabulary="video_id", length=5),
        Feature("history_action", "history", "sequence", bins=2, length=5),
    ),
    tasks=(Task("ctr", "click"), Task("cvr", "conversion", given="click")),
    products=(Product("ctcvr", ("ctr", "cvr"), "conversion"),),
    gates=(
        Gate("ctr_auc", at_least=0.55),
        Gate("cvr_auc", at_least=0.5, worse_by=0.1),
        Gate("ctr_calibration", at_least=0.3, at_most=3),
    ),
    slices=("tab",),
    embedding_dim=4,
    hidden=(16, 8),
    rounds=1,
    keep=0.5,
    learning_rate=0.01,
    batch_size=64,
    max_epochs=2,
)
