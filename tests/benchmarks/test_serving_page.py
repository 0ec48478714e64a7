"""The page of the serving benchmark is made of rows that are there."""

import importlib

import pytest


@pytest.mark.parametrize("option", ["--whole", "--page-only"])
def test_without_rows_it_says_how_to_make_them(option, tmp_path):
    serving = importlib.import_module("serving")
    with pytest.raises(SystemExit, match=r"serving.json: no such file; .* measure once without"):
        serving.main([option, "--docs", str(tmp_path)])
