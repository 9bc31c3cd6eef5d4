"""Reports in a browser: points, tables, keys, colours, print and small screens; no request."""

import re
import shutil
from importlib.util import find_spec

import pytest

from tests.evaluation.runs import LONG_TAIL, make_run
from tests.report.page import record, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.skipif(find_spec("plotly") is None, reason="plotly is not installed"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]
HOSTILE_LINK = '<a href="https://example.com" onclick="alert(1)">x</a>'
PHONE = {"viewport": {"width": 380, "height": 800}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
# relative luminance of WCAG 2.2 and the contrast of every text with what it stands on
CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const c = channels(getComputedStyle(one).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = [Infinity, ""];
  for (let node; (node = walker.nextNode());) {
    const own = node.parentElement, box = own.getBoundingClientRect();
    if (!node.data.trim() || !box.width || own.closest("script, style, noscript")) continue;
    const svg = own.closest("svg");
    const ink = channels(svg ? getComputedStyle(own).fill : getComputedStyle(own).color);
    const [a, b] = [light(ink), light(ground(own))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least[0]) least = [ratio, node.data.trim()];
  }
  return least;
}"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report of two runs with all that there is."""
    folder = tmp_path_factory.mktemp("browser")
    for name, rate in (("a", 0.1), ("b", 0.5)):
        (folder / name).mkdir()
        run = make_run(folder / name, {"name": "cosine"}, seed=int(name == "b"), **LONG_TAIL)
        record(run, rate)
    write_report(folder / "page.html", folder / "a", folder / "b")
    return (folder / "page.html").as_uri()


class Opened:
    """The report in a tab, and what it said on the console or requested."""

    def __init__(self, browser, address, **options):
        self.said, self.asked, self.address = [], [], address
        self.page = browser.new_context(**options).new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.route(re.compile("^(?!data:)"), self.route)
        self.page.goto(address)
        until(self.page, "vmf.views.length === 2 && vmf.views[0].width > 0")
        until(self.page, "document.querySelectorAll('.plot svg.main-svg').length > 0")

    def route(self, route):
        if route.request.url == self.address and not self.asked:
            route.continue_()
        else:
            self.asked.append(route.request.url)
            route.abort()

    def check(self):
        assert self.said == [] and self.asked == []


@pytest.fixture(scope="module")
def tabs(browser, address):
    """A tab of a desktop and one of a phone; to load a report takes seconds."""
    return {
        "desktop": Opened(browser, address, **DESKTOP),
        "phone": Opened(browser, address, **PHONE),
    }


@pytest.fixture
def page(tabs):
    """The tab of the desktop; nothing is said or requested in a test."""
    tab = tabs["desktop"]
    tab.page.emulate_media(media="screen", color_scheme="light")
    tab.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = false })")
    tab.page.keyboard.press("Escape")
    yield tab.page
    tab.check()


@pytest.fixture
def phone(tabs):
    """The tab of the phone; nothing is said or requested in a test."""
    yield tabs["phone"].page
    tabs["phone"].check()


def until(page, expression):
    """Waits until an expression is true; playwright's own way is refused by the page's policy."""
    for _ in range(400):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def place(page, number, view=0):
    """Where the point of a row is on the screen, after the map was scrolled into sight."""
    canvas = page.locator(".stage > canvas").nth(view)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = page.evaluate(f"[vmf.views[{view}].x[{number}], vmf.views[{view}].y[{number}]]")
    return box["x"] + x, box["y"] + y


def a_seen_row(page):
    """Number of a point that is in front and no other's neighbour on the screen."""
    return page.evaluate("""() => {
      const v = vmf.views[0];
      for (let i = 0; i < v.n; i++)
        if (v.isFront(i) && v.pick(v.x[i], v.y[i], 14) === i) return i;
    }""")


def test_a_point_shows_its_image_and_neighbours_in_every_map_of_the_same_rows(page):
    until(page, "vmf.data.maps[0].pictures > 0")
    page.mouse.move(*place(page, a_seen_row(page)))
    page.wait_for_selector(".card ol li")
    for card in page.locator(".card").all():
        assert card.locator(".name").inner_text() in "abc"
        assert card.locator(".of canvas").count() == 1
        assert card.locator("ol li").count() == 5
        assert re.search(r"[✓✗]", card.inner_text())
    page.mouse.move(2, 2)
    assert "No row is chosen." in page.locator(".card").first.inner_text()


def row(page):
    """Number of the chosen row."""
    return page.locator(".card").first.locator("dd").first.inner_text()


def test_a_map_answers_keys_and_filters_classes(page):
    canvas = page.locator(".stage > canvas").first
    canvas.focus()
    page.keyboard.press("n")
    assert row(page) == "0"
    page.keyboard.press("n")
    assert row(page) == "1"
    page.keyboard.press("p")
    assert row(page) == "0"
    before = page.evaluate("vmf.views[0].turned.join()")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("vmf.views[0].turned.join()") != before
    page.keyboard.press("+")
    assert page.evaluate("vmf.views[0].zoom") > 1
    page.keyboard.press("0")
    assert page.evaluate("[vmf.views[0].turned.join(), vmf.views[0].zoom]") == [before, 1]
    page.keyboard.press("Escape")
    assert page.evaluate("vmf.views[0].chosen") == -1
    page.locator(".legend").first.get_by_label("b", exact=True).uncheck()
    shown = "Array.from({length: vmf.views[0].n}, (_, i) => vmf.views[0].isShown(i))"
    assert page.evaluate(f"{shown}.filter(Boolean).length") == 24


def column(page, table, number):
    return table.locator(f"tbody tr > :nth-child({number})").all_inner_texts()


def test_tables_sort_by_mouse_and_by_keyboard(page):
    table = page.locator("table[data-sort]", has=page.get_by_text("worst first"))
    head = table.get_by_role("button", name="training images")
    number = 3
    head.click()
    assert column(page, table, number) == ["500", "60", "5"]
    assert head.locator("xpath=..").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert column(page, table, number) == ["5", "60", "500"]
    assert head.locator("xpath=..").get_attribute("aria-sort") == "ascending"
    name = table.get_by_role("button", name="class", exact=True)
    name.focus()
    page.keyboard.press("Space")
    assert column(page, table, 1) == ["a", "b", "c"]
    assert head.locator("xpath=..").get_attribute("aria-sort") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(page, scheme):
    page.emulate_media(color_scheme=scheme)
    until(page, f"document.documentElement.dataset.theme === '{scheme}'")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    ratio, text = page.evaluate(CONTRAST)
    assert ratio >= 4.5, text


def test_the_theme_can_be_chosen(page):
    for word in ("light", "dark", "as the device"):
        page.locator("#theme").click()
        assert page.locator("#theme").inner_text() == f"Theme: {word}"
        theme = page.evaluate("document.documentElement.dataset.theme")
        assert theme == ("dark" if word == "dark" else "light")


def test_a_phone_never_scrolls_sideways_and_a_tap_chooses_a_row(phone):
    page = phone
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.touchscreen.tap(*place(page, a_seen_row(page)))
    page.wait_for_selector(".card ol li")


def test_print_is_light_without_controls_and_with_everything_open(page):
    page.emulate_media(color_scheme="dark")
    until(page, "document.documentElement.dataset.theme === 'dark'")
    page.emulate_media(media="print")
    until(page, "document.documentElement.dataset.theme === 'light'")
    assert page.locator("details:not([open])").count() == 0
    assert not [one for one in page.locator(".controls").all() if one.is_visible()]
    assert page.locator("pre").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="screen")
    until(page, "document.documentElement.dataset.theme === 'dark'")
    assert page.locator("details[open]").count() == 0


def test_what_takes_the_focus_shows_it(page):
    page.evaluate("document.activeElement.blur()")
    page.mouse.click(2, 2)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(3):
        page.keyboard.press("Tab")
        style = "getComputedStyle(document.activeElement)"
        assert page.evaluate(f"{style}.outlineStyle") == "solid"
        assert page.evaluate(f"parseFloat({style}.outlineWidth)") >= 2


def test_hostile_names_stay_text_in_charts_tables_and_maps(browser, tmp_path):
    names = ["</script><script>document.title = 'hacked'</script>", "<b>b</b>", HOSTILE_LINK]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        record(make_run(tmp_path / name, {"name": "cosine"}, method=f"{HOSTILE_LINK}{name}",
                        class_names=names, **LONG_TAIL))  # fmt: skip
    write_report(tmp_path / "page.html", tmp_path / "a", tmp_path / "b")
    tab = Opened(browser, (tmp_path / "page.html").as_uri(), **DESKTOP)
    tab.page.locator(".stage > canvas").first.focus()
    for _ in range(3):
        tab.page.keyboard.press("m")
    tab.page.locator("[data-chart=shots] .points path").first.hover(force=True)
    assert "hacked" not in tab.page.title()
    assert tab.page.locator("a[href*=example], svg a, script:not([type])").count() == 6
    tab.check()
