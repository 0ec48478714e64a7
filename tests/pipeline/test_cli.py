"""What the commands have in common: help with examples, errors without tracebacks, no secrets."""

import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ncs4cvr.pipeline import commands
from ncs4cvr.pipeline.cli import main, parser
from ncs4cvr.pipeline.display import chatter_to
from ncs4cvr.pipeline.run import history
from ncs4cvr.pipeline.status import FAULT, USAGE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def command_lines(text):
    """The arguments of every `ncs4cvr` command that a text shows on a line; 1 for a PLACEHOLDER."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        words = shlex.split(line, comments=True) if "ncs4cvr " in line else []
        if words and Path(words[0]).name == "ncs4cvr" and words[1:]:
            yield ["1" if re.fullmatch("[A-Z]+", word) else word for word in words[1:]]


def help_of(capsys, *command):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["", *commands.NAMES])
def test_every_help_shows_an_example_that_the_parser_takes(capsys, command):
    told = help_of(capsys, *filter(None, [command]))
    lines = list(command_lines(told.partition("\nexample:\n")[2].partition("\n\n")[0]))
    assert lines
    assert {line[0] for line in lines} >= {command or "run"}
    for line in lines:
        assert parser().parse_args(line).command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_documentation_is_one_that_the_parser_takes(page):
    blocks = re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        for line in command_lines(block):
            if "--help" not in line:
                assert parser().parse_args(line).command


def test_a_command_names_what_it_does_not_know_and_the_nearest_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["runs", "--lats", "3"])
    assert ended.value.code == USAGE
    assert capsys.readouterr().err == (
        "ncs4cvr: unrecognized arguments: --lats; did you mean --last?; "
        "`ncs4cvr runs --help` shows how\n"
    )


def test_a_traceback_is_there_with_debug_alone(capsys, tmp_path):
    assert main(["runs", str(tmp_path)]) == USAGE
    assert "Traceback" not in capsys.readouterr().err
    assert main(["runs", str(tmp_path), "--debug"]) == USAGE
    assert "Traceback" in capsys.readouterr().err


# -- secrets -------------------------------------------------------------------------------------

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "arguments",
    [
        [
            "compile",
            "kuairand",
            "--image",
            "i:1",
            "--root",
            "/r",
            "--beam",
            f"db_password={SECRET}",
        ],
        ["compile", "kuairand", "--image", f"https://me:{SECRET}@registry/i", "--root", "/r"],
        ["submit", "p.yaml", "--host", f"https://me:{SECRET}@host"],
        ["submit", "p.yaml", "--host", "http://h", "--param", f'beam_args=["--token={SECRET}"]'],
        ["loadtest", f"http://me:{SECRET}@localhost:8501", "--requests", "rows.csv"],
        ["run", f"hdfs://me:{SECRET}@host/recipe.py"],
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(
    arguments, capfd, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--debug"]) == USAGE
    told = capfd.readouterr()
    assert SECRET not in told.out + told.err
    assert "***" in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_secret_in_a_recipe_is_refused_before_it_gets_into_artifacts(
    tiny_recipe_file, capsys, tmp_path
):
    text = tiny_recipe_file.read_text()
    tiny_recipe_file.write_text(text.replace('"events.csv"', f'"hdfs://me:{SECRET}@host/e.csv"'))
    root = tmp_path / "runs"
    assert main(["run", str(tiny_recipe_file), "--root", str(root)]) == USAGE
    told = capsys.readouterr().err
    assert "Log.events holds a secret" in told
    assert SECRET not in told
    assert not root.exists()


def test_the_token_reaches_neither_the_log_file_nor_the_history(tmp_path, monkeypatch):
    monkeypatch.setenv("KFP_TOKEN", SECRET)
    with chatter_to(tmp_path / "run.log"):
        try:
            raise RuntimeError(f"the server refused {SECRET}")
        except RuntimeError:
            logging.exception("asked with %s", SECRET)
    history.add(tmp_path, history.FAULT, why=f"the server refused {SECRET}")
    written = (tmp_path / "run.log").read_text() + (tmp_path / history.FILE).read_text()
    assert written.count("***") == 3
    assert SECRET not in written


# -- recipes as code and as data -----------------------------------------------------------------


def test_a_recipe_in_json_is_the_recipe_that_wrote_it(tiny_recipe_file, tmp_path):
    from ncs4cvr.pipeline import recipe_files

    recipe = recipe_files.load(str(tiny_recipe_file))
    (tmp_path / "tiny.json").write_text(recipe.to_json())
    assert recipe_files.load(str(tmp_path / "tiny.json")) == recipe


def test_code_in_a_json_recipe_is_not_run(tmp_path, capsys):
    written = tmp_path / "written"
    (tmp_path / "evil.json").write_text(f"open({str(written)!r}, 'w')")
    assert main(["run", str(tmp_path / "evil.json")]) == USAGE
    assert "evil.json: Expecting value" in capsys.readouterr().err
    assert not written.exists()


def test_help_says_that_a_recipe_file_is_code(capsys):
    assert "code" in help_of(capsys, "run")
    assert "is run" in help_of(capsys, "compile")


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/b", "..", "", "x\n", "." + "a"])
def test_a_name_that_leaves_its_folder_is_refused(name, capsys, tmp_path):
    assert main(["run", "--set", f"name={name}", "--root", str(tmp_path)]) == USAGE
    assert "is no name; expected" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_parser_loads_no_tensorflow():
    code = "import sys; from ncs4cvr.pipeline.cli import parser; parser()"
    code += "; print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_reader_that_has_gone_is_no_error_to_tell(tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small/lock").touch()
    code = "import sys; from ncs4cvr.pipeline.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "runs", str(tmp_path)]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (FAULT, "")
