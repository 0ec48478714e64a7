"""Recipes are found by name or path, and what is wrong is named with its cure."""

import pytest

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.recipe_files import RecipeError
from ncs4cvr.pipeline.status import USAGE


def test_a_built_in_recipe_finds_its_files_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = recipe_files.load("kuairand")
    for path in (recipe.log.events, recipe.log.users, recipe.log.videos, recipe.log.history):
        assert path.startswith("/")
    assert recipe.data_schema.endswith("schemas/kuairand.pbtxt")


def test_files_of_the_current_directory_come_first(tmp_path, monkeypatch):
    mine = tmp_path / "data/kuairand_pure/events.parquet"
    mine.parent.mkdir(parents=True)
    mine.touch()
    monkeypatch.chdir(tmp_path)
    log = recipe_files.load("kuairand").log
    assert log.events == str(mine)
    assert not log.users.startswith(str(tmp_path))


def test_a_recipe_of_ones_own_finds_the_files_beside_it(tiny_recipe_file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    recipe = recipe_files.load(str(tiny_recipe_file))
    assert recipe.name == "tiny"
    assert recipe.log.events == str(tiny_recipe_file.with_name("events.csv"))


def test_several_globs_are_located_one_by_one(tiny_recipe_file):
    text = tiny_recipe_file.read_text().replace('"events.csv"', '"ev*.csv, gs://b/more.csv"')
    tiny_recipe_file.write_text(text)
    log = recipe_files.load(str(tiny_recipe_file)).log
    assert log.events == f"{tiny_recipe_file.with_name('ev*.csv')},gs://b/more.csv"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["kuairant"], "did you mean 'kuairand'?"),
        (["missing.py"], "no recipe 'missing.py'"),
        (["--set", "hiden=32"], "did you mean 'hidden'?"),
        (["--set", "keep=2"], "keep must lie in [0.001, 1.0], got 2.0"),
        (["--set", "hidden"], "must read key=value"),
        (["--set", "tasks=ctr"], "write it in a recipe file"),
        (["--set", "data_schema=kuairant.pbtxt"], "did you mean 'kuairand.pbtxt'?"),
    ],
)
def test_what_is_unknown_is_a_usage_error_with_the_nearest_name(arguments, told, capsys, tmp_path):
    assert main(["run", "--root", str(tmp_path), *arguments]) == USAGE
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def load_text(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return recipe_files.load(str(path))


def test_an_error_in_a_recipe_names_its_line(tmp_path):
    with pytest.raises(RecipeError, match=r"mine\.py:2: NameError"):
        load_text(tmp_path, "X = 1\nRECIPE = Recip()\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("RECIPE = (", r"mine\.py:2: SyntaxError: '\(' was never closed$"),
        ("RECIPE = Recip()", r"mine\.py:2: .* did you mean 'Recipe'\?$"),
        ("RECIPE = Recipe(gats=())", r"mine\.py:2: .* 'gats'; did you mean 'gates'\?$"),
        ("RECIPE = Recipe(x1=())", r"mine\.py:2: .* argument 'x1'$"),
        ("RECIPE = Gate('a', at_leest=1)", r"mine\.py:2: .* did you mean 'at_least'\?$"),
    ],
)
def test_a_slip_in_a_recipe_is_told_with_its_line_and_what_was_meant(tmp_path, line, told):
    imports = "from ncs4cvr.schemas.tasks import Gate; from ncs4cvr.schemas.recipe import Recipe"
    with pytest.raises(RecipeError, match=told):
        load_text(tmp_path, f"{imports}\n{line}\n")


def test_a_recipe_that_lies_beside_the_name_given_is_named(tmp_path):
    (tmp_path / "my_log.py").touch()
    with pytest.raises(RecipeError, match=r"did you mean '.*/my_log\.py'\?"):
        recipe_files.find(str(tmp_path / "mylog.py"))


def test_a_file_without_a_recipe_says_what_to_define(tmp_path):
    with pytest.raises(RecipeError, match="must define RECIPE"):
        load_text(tmp_path, "X = 1\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('    gates=(Gate("ctr_auc", at_least=0.5),),\n', None),
        ("    gates=(),\n", "no gates"),
    ],
)
def test_a_recipe_without_gates_could_never_push(tiny_recipe_file, change, told):
    head, _, rest = tiny_recipe_file.read_text().partition("    gates=(\n")
    tiny_recipe_file.write_text(head + change + rest[rest.index("    slices=") :])
    if told is None:
        assert recipe_files.load(str(tiny_recipe_file)).gates
    else:
        with pytest.raises(RecipeError, match=told):
            recipe_files.load(str(tiny_recipe_file))


def test_a_pipeline_needs_three_splits(tiny_recipe_file):
    text = tiny_recipe_file.read_text()
    start = text.index('        Split("validate"')
    tiny_recipe_file.write_text(text[:start] + text[text.index('        Split("test"') :])
    with pytest.raises(RecipeError, match="three splits"):
        recipe_files.load(str(tiny_recipe_file))


@pytest.mark.parametrize("content", [b"feature { name: ", b"\xff\xfe"])
def test_a_curated_schema_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "mine.pbtxt").write_bytes(content)
    with pytest.raises(RecipeError, match=r"mine\.pbtxt is no schema in protobuf text"):
        recipe_files.load("kuairand", (f"data_schema={tmp_path / 'mine.pbtxt'}",))
