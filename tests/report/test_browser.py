"""The report in a headless Chromium: what is seen, chosen and pointed at."""

from __future__ import annotations

import pytest

from tests.report.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

SEEN = """(() => {
  const box = e => e.getBoundingClientRect();
  const all = selector => [...document.querySelectorAll(selector)];
  const DRAWN = "#slider-heaps path, .predicted[points], .cell[fill-opacity], .bars[d]";
  return {
    hidden: all("img").filter(i => !(i.complete && i.naturalWidth > 0 && box(i).height > 60)).map(i => i.alt),
    empty: all(".fsc svg").filter(s => !(box(s).width > 250 && s.querySelectorAll("polyline").length > 0)).length,
    undrawn: all(".slider svg").filter(s => !(box(s).width > 230 && s.querySelectorAll(DRAWN).length > 0)).length,
    wide: all("main *").filter(e => box(e).right > innerWidth + 1).map(e => e.tagName),
    clipped: all(".tiles dd, .scroll").filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.trim()),
    width: innerWidth,
  };
})()"""
FOCUS = "document.activeElement.id"
OPACITY = "[0, 1, 2].map(r => Number(getComputedStyle(document.querySelector('.curve.round-' + r)).strokeOpacity))"
NUMBERS = "[...document.querySelectorAll('.choice output')].map(o => o.textContent)"
BOX = "document.querySelectorAll('.panel svg')[1].getBoundingClientRect().toJSON()"
WHERE = "document.querySelector('.reader output').textContent"
CURVES = "JSON.parse(document.querySelector('.fsc script').textContent)"


@pytest.fixture(scope="module", params=[1280, 1920])
def browser(request, finished_report, tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("profile"), request.param)
    found.open(finished_report / "report.html")
    yield found
    found.close()
    assert found.console == [], "messages in the console"


def test_everything_is_seen(browser):
    found = browser.ask(SEEN)
    assert found["width"] in (1280, 1920)
    assert {k: v for k, v in found.items() if v and k != "width"} == {}


def test_a_round_is_chosen_by_keyboard(browser):
    browser.ask("document.getElementById('fsc-all').focus()")
    assert browser.ask(OPACITY) == [1, 1, 1]
    for expected, opacity in (("fsc-0", [1, 0.3, 0.3]), ("fsc-1", [0.3, 1, 0.3])):
        browser.press("ArrowRight")
        assert browser.ask(FOCUS) == expected
        assert browser.ask(OPACITY) == pytest.approx(opacity)
    outline = "getComputedStyle(document.querySelector('#fsc-1 + span')).outlineStyle"
    assert browser.ask(outline) == "solid", "the focus is seen"
    browser.press("ArrowLeft")
    browser.press("ArrowLeft")
    assert browser.ask(FOCUS) == "fsc-all" and browser.ask(OPACITY) == [1, 1, 1]


def test_curves_are_read_by_keyboard(browser):
    at_rest = browser.ask(NUMBERS)
    assert all(text.endswith(" Å") for text in at_rest)
    browser.ask("document.querySelector('.reader input').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    expected = [f"{curve[2]:.3f}" for curve in browser.ask(CURVES)["values"][0]]
    assert browser.ask(NUMBERS) == expected
    assert f"{browser.ask(CURVES)['resolution'][2]:.2f} Å" in browser.ask(
        "document.querySelector('.reader').textContent"
    )
    browser.press("Tab")
    assert browser.ask(NUMBERS) == at_rest


def test_curves_are_read_by_pointer(browser):
    browser.ask("document.querySelector('.fsc').scrollIntoView({block: 'center'})")
    box = browser.ask(BOX)
    data = browser.ask(CURVES)
    shell = len(data["places"]) // 2
    browser.point(box["x"] + box["width"] * data["places"][shell] / data["width"], box["y"] + 0.5 * box["height"])
    read = [float(text.replace("−", "-")) for text in browser.ask(NUMBERS)]
    assert read == pytest.approx([curve[shell] for curve in data["values"][1]], abs=6e-4)
    browser.point(1, 1)
    assert all(text.endswith(" Å") for text in browser.ask(NUMBERS))


def test_print_shows_all_rounds_and_no_controls(browser):
    browser.ask("document.getElementById('fsc-1').click()")
    browser("Emulation.setEmulatedMedia", media="print")
    assert browser.ask(OPACITY) == [1, 1, 1]
    shown = "[...document.querySelectorAll('nav, .reader, .files')].filter(e => e.getClientRects().length > 0).length"
    assert browser.ask(shown) == 0
    browser("Emulation.setEmulatedMedia", media="")
    browser.ask("document.getElementById('fsc-all').click()")
    assert browser.ask(shown) > 0
