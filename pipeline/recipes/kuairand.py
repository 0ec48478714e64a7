"""KuaiRand-Pure: clicks and long views of a short-video app, the default recipe.

    ncs4cvr run kuairand

Real impressions of 14 days (data/kuairand_pure): trains on 2022-04-25 to 05-05, validates on 05-06,
tests on 05-07 and 05-08.
"""

from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split, Tally
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Product, Task

LOG = Log(
    events="data/kuairand_pure/events.parquet",
    users="data/kuairand_pure/user_features.parquet",
    videos="data/kuairand_pure/video_features_basic.parquet",
    history="data/kuairand_pure/history.parquet",
    day="date",
    utc_offset_hours=8,
    history_length=20,
    history_actions=("conversion", "like"),
    labels=(
        Label("click", "is_click"),
        Label("conversion", "long_view", given="click"),
        Label("like", "is_like"),
        Label("completion", "play_time_ms", over="duration_ms"),
    ),
    tallies=(
        Tally("user_impressions", "user"),
        Tally("user_click_rate", "user", "click", "impression", prior=0.45, strength=5),
        Tally("user_conversion_rate", "user", "conversion", "click", prior=0.70, strength=5),
        Tally("user_long_view_rate", "user", "conversion", "impression", prior=0.35, strength=5),
        Tally("video_impressions", "video"),
        Tally("video_click_rate", "video", "click", "impression", prior=0.45, strength=20),
        Tally("video_conversion_rate", "video", "conversion", "click", prior=0.70, strength=20),
        Tally("video_long_view_rate", "video", "conversion", "impression", prior=0.35, strength=20),
    ),
    splits=(
        Split("train", "2022-04-25", "2022-05-05"),
        Split("validate", "2022-05-06", "2022-05-06"),
        Split("test", "2022-05-07", "2022-05-08"),
    ),
)


def _tally(name: str) -> Feature:
    return Feature(name, "tally", "number", "float", bins=20)


FEATURES = (
    # The impression.
    Feature("user_id", min_count=20),
    Feature("video_id"),
    Feature("tab", kind="index", bins=16, per="request"),
    Feature("hour", kind="hour", column="time_ms"),
    Feature("weekday", kind="weekday", column="time_ms"),
    Feature("duration", kind="number", column="duration_ms", bins=20),
    # The user.
    Feature("user_active_degree", "user", dtype="string"),
    Feature("is_live_streamer", "user", "index", bins=2),
    Feature("is_video_author", "user", "index", bins=2),
    Feature("follow_user_num", "user", "number", bins=20),
    Feature("fans_user_num", "user", "number", bins=20),
    Feature("friend_user_num_range", "user", dtype="string"),
    Feature("register_days", "user", "number", bins=20),
    Feature("onehot_feat3", "user"),
    Feature("onehot_feat8", "user"),
    # The video.
    Feature("author_id", "video"),
    Feature("music_id", "video"),
    Feature("music_type", "video", "index", bins=16),
    Feature("tag", "video", "tags", "string"),
    Feature("upload_dt", "video", dtype="string"),
    Feature("upload_type", "video", dtype="string"),
    # What was known before.
    *(_tally(t.name) for t in LOG.tallies),
    Feature("history_video", "history", "sequence", vocabulary="video_id", length=20),
    Feature("history_action", "history", "sequence", bins=4, length=20),
)

RECIPE = Recipe(
    name="kuairand",
    log=LOG,
    features=FEATURES,
    tasks=(
        Task("ctr", "click"),
        Task("cvr", "conversion", given="click"),
    ),
    products=(Product("ctcvr", ("ctr", "cvr"), "conversion"),),
    gates=(
        Gate("ctr_auc", at_least=0.74),
        Gate("cvr_auc", at_least=0.66, worse_by=0.003),
        Gate("ctcvr_auc", at_least=0.74),
        Gate("ctr_calibration", at_least=0.8, at_most=1.25),
        Gate("cvr_calibration", at_least=0.8, at_most=1.25),
    ),
    slices=("tab", "user_active_degree"),
    hidden=(256, 128),
    learning_rate=2e-3,
    warm_learning_rate=1e-3,
    warm_label_share=0.2,  # a day's labels alone are noisier than the soft labels of a window
    keep=0.05,  # no worse on validation than .2, and faster to serve
    batch_size=512,
    patience=0,  # a second pass learns the ids of single users and videos by heart
    soft_labels="rounds",
    embeddings="int8",
    attribution="KuaiRand-Pure, Gao et al. (CIKM 2022, doi 10.1145/3511808.3557624), CC BY-SA 4.0",
    data_schema="kuairand.pbtxt",
    drift_threshold=0.2,
)
