"""The smallest recipe that runs every component: what fault tests run over and over."""

from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Product, Task

RECIPE = Recipe(
    name="small",
    log=Log(
        events="events.csv",
        labels=(Label("click", "is_click"), Label("conversion", "long_view", given="click")),
        splits=(
            Split("train", "2022-01-01", "2022-01-04"),
            Split("validate", "2022-01-05", "2022-01-05"),
            Split("test", "2022-01-06", "2022-01-06"),
        ),
    ),
    features=(Feature("user_id"), Feature("tab", min_count=1)),
    tasks=(Task("ctr", "click"), Task("cvr", "conversion", given="click")),
    products=(Product("ctcvr", ("ctr", "cvr"), "conversion"),),
    gates=(Gate("ctr_auc", at_least=0.2, min_positives=10),),
    embedding_dim=2,
    hidden=(4,),
    rounds=1,
    keep=0.5,
    learning_rate=0.01,
    batch_size=128,
    max_epochs=2,
    patience=9,
)
