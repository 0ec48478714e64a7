"""The page in a real browser: nothing complains, nothing is asked for, every picture is drawn."""

import importlib.util
from pathlib import Path

import pytest

from ncs4cvr.pipeline.report.page import page

# pytest imports tests by their paths: the helper beside this file is no module by name.
_spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
browser = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(browser)

pytestmark = pytest.mark.skipif(browser.found() is None, reason="there is no Chromium here")

BOXES = """[...document.querySelectorAll('svg')].map(svg => {
  for (let up = svg; up; up = up.parentElement) if (up.tagName === 'DETAILS') up.open = true;
  const box = svg.getBoundingClientRect();
  const drawn = [...svg.querySelectorAll('rect,path,circle,line')].some(shape => {
    const inner = shape.getBoundingClientRect(); return inner.width + inner.height > 0;
  });
  return box.width > 20 && box.height > 5 && drawn;
})"""
# Relative luminance and contrast as in WCAG 2.2, of every text against what lies behind it.
CONTRASTS = """(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = node => {
    for (let up = node; up; up = up.parentElement) {
      const colour = parts(getComputedStyle(up).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const low = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement, svg = node.closest('svg');
    if (!text.data.trim() || node.tagName === 'title' || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const a = light(parts(svg ? style.fill : style.color)), b = light(behind(svg || node));
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) low.add(`${text.data.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return [...low];
})()"""


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def opened(window, facts, tmp_path):
    """Opens the page of some facts in a window of some width, in light or dark."""

    def open_(width=1280, dark=False, told=facts):
        file = tmp_path / "report.html"
        file.write_text(page(told), encoding="utf-8")
        window.open(file, width, dark=dark)
        return window

    return open_


def test_nothing_complains_and_only_the_file_itself_is_asked_for(opened):
    seen = opened()
    complaints = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert not seen.told(*complaints)
    asked = [event["request"]["url"] for event in seen.told("Network.requestWillBeSent")]
    assert [url.rpartition("/")[2] for url in asked if not url.startswith("data:")] == [
        "report.html"
    ]


def test_markup_in_a_log_runs_no_script_and_loads_nothing(opened, hostile):
    seen = opened(told=hostile)
    assert seen.value("document.querySelectorAll('script, img').length") == 0
    asked = [event["request"]["url"] for event in seen.told("Network.requestWillBeSent")]
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert not seen.told("Page.javascriptDialogOpening")


@pytest.mark.parametrize("width", [360, 1280])
def test_every_picture_is_drawn(opened, width):
    drawn = opened(width).value(BOXES)
    assert len(drawn) > 8
    assert all(drawn)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(opened, hostile, facts, width):
    for told in (facts, hostile):
        seen = opened(width, told=told)
        assert seen.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_what_is_behind_it(opened, dark):
    assert opened(dark=dark).value(CONTRASTS) == []


def test_dark_and_light_differ(opened):
    behind = "getComputedStyle(document.body).backgroundColor"
    light, dark = opened().value(behind), opened(dark=True).value(behind)
    assert light != dark


def test_the_verdict_is_seen_without_scrolling_on_a_phone(opened):
    seen = opened(360)
    assert seen.value("document.querySelector('.verdict').getBoundingClientRect().bottom") < 640
