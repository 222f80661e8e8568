"""The page of the whole study in a real browser: it fits, its links lead somewhere, the keyboard reaches everything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lmablate.report import Arguments, report
from tests.results.report.browser import Browser, find_chromium, running_browser

ROOT = Path(__file__).resolve().parents[3]
WIDTHS = [390, 768, 1400]
LARGEST_PAGE = 3_000_000
# The smallest text of a figure is 6.5 points high; so many CSS pixels can be read.
SMALLEST_TEXT, LEGIBLE = 6.5, 8.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not find_chromium(), reason="no Chromium is installed: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    report(Arguments(exports=ROOT / "analysis" / "exports", out=out / "report.html"))
    return out / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def fresh_browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser that has no picture in its memory yet."""
    with running_browser(tmp_path) as browser:
        yield browser


def settle(browser: Browser) -> None:
    """Wait until pictures near the window are loaded, and scrolling has ended."""
    browser.run("new Promise(r => setTimeout(r, 700))")


def scroll_to(browser: Browser, selector: str) -> None:
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    browser.run(f"document.querySelector('{selector}').scrollIntoView()")
    settle(browser)


def test_the_page_of_the_study_is_small(page: Path) -> None:
    assert page.stat().st_size <= LARGEST_PAGE


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(page: Path, browser: Browser, width: int) -> None:
    browser.open(page, width)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    settle(browser)
    assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_link_leads_to_a_place_that_is_then_in_view(page: Path, browser: Browser, width: int) -> None:
    browser.open(page, width)
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    links = browser.run("[...new Set([...document.links].map(a => a.getAttribute('href')))]")
    assert len(links) > 30
    for link in links:
        assert link.startswith("#")
        browser.run(f"document.querySelector('a[href=\"{link}\"]').click()")
        top = browser.run(f"document.querySelector('{link}').getBoundingClientRect().top")
        height = browser.run("innerHeight")
        assert -1 <= top < height, (link, top)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_contents_stay_in_view_and_a_link_leads_back(page: Path, browser: Browser, width: int) -> None:
    browser.open(page, width)
    scroll_to(browser, "#reproduce")
    assert browser.run("scrollY") > 1000
    top, bottom = browser.run("(r => [r.top, r.bottom])(document.querySelector('.contents').getBoundingClientRect())")
    assert top >= 0
    assert bottom <= browser.run("innerHeight") + 1
    browser.run("document.querySelector('.back').click()")
    settle(browser)
    assert browser.run("scrollY") == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_the_keyboard_reaches_the_contents_first_and_opens_details(page: Path, browser: Browser, width: int) -> None:
    browser.open(page, width)
    browser.press("Tab")
    assert browser.run("!!document.activeElement.closest('.contents')")
    for _ in range(100):
        browser.press("Tab")
        if browser.run("document.activeElement.tagName") == "SUMMARY":
            break
    assert browser.run("document.activeElement.parentElement.open") is False
    browser.press("Enter")
    assert browser.run("document.activeElement.parentElement.open") is True
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.mark.parametrize("width", WIDTHS)
def test_pictures_load_when_they_are_seen_and_can_be_read(page: Path, fresh_browser: Browser, width: int) -> None:
    browser = fresh_browser
    loaded = "[...document.images].filter(i => i.complete && i.naturalWidth > 0).length"
    browser.open(page, width)
    settle(browser)
    before = browser.run(loaded)
    assert before < browser.run("document.images.length") / 2
    heights = browser.run("[...document.querySelectorAll('.pictures')].map(p => p.offsetHeight)")
    scroll_to(browser, "section:nth-of-type(5) .pictures")
    assert browser.run(loaded) > before
    shown = browser.run(
        "[...document.querySelectorAll('section:nth-of-type(5) img')].filter(i => i.offsetWidth > 0)"
        ".map(i => [i.offsetWidth / i.getAttribute('width'), i.complete && i.naturalWidth > 0])"
    )
    assert shown[0][1], "the first picture in the window"
    assert min(scale for scale, _ in shown) * SMALLEST_TEXT * 96 / 72 >= LEGIBLE
    assert browser.run("[...document.querySelectorAll('.pictures')].map(p => p.offsetHeight)") == heights


def test_each_picture_is_a_drawing_that_the_browser_understands(page: Path, browser: Browser) -> None:
    browser.open(page, 1400)
    broken = browser.run(
        "Promise.all([...document.images].map(async i => { const copy = new Image(); copy.src = i.src;"
        " try { await copy.decode(); return copy.naturalWidth > 0 } catch { return false } }))"
    )
    assert len(broken) > 100
    assert all(broken)
