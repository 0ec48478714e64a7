"""Dead letters as people and programs read them."""

import json

import pytest

from ncs4cvr.components.log.parsing import dead_letter_line


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_dead_letter_is_one_line_whatever_came(end):
    line = dead_letter_line({"came": f"视频{end}"})
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {"came": f"视频{end}"}
    assert "视频" in line  # for people to read
