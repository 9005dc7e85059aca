"""A real browser for pages: Chromium without a screen.

TIDE_SCREENSHOTS=DIR keeps a picture of each view there."""
import os
import shutil
from pathlib import Path

import pytest

# Nothing on the page may stick out sideways, overlap another heading, or be too faint to read.
MEASURE = """
const faint = [], wide = [];
const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const parse = s => s.match(/[\\d.]+/g).map(Number);
const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
                      if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
for (const e of document.querySelectorAll('h1,h2,h3,p,a,span,b,i,small,time,summary,li,dt,dd,th,td')) {
  if (e.getBoundingClientRect().right > innerWidth + 1) wide.push(e.textContent.slice(0, 40));
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
  if (e.className === 'skip') continue;
  const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) faint.push(ratio.toFixed(2) + ' ' + e.textContent.slice(0, 40));
}
return {faint, wide, scrolls: document.documentElement.scrollWidth > innerWidth,
        headings: [...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1])),
        unnamed: [...document.querySelectorAll('svg:not([aria-hidden])')].filter(s => !s.getAttribute('aria-label')).length,
        requests: performance.getEntriesByType('resource').map(r => r.name)};
"""

needs_browser = pytest.mark.skipif(not shutil.which("chromedriver") or not shutil.which("chromium"),
                                   reason="chromium and chromium-driver are not installed")


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--hide-scrollbars",
                     "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def picture(browser, name: str) -> None:
    folder = os.environ.get("TIDE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def set_view(browser, scheme: str, width: int, script: bool = True, height: int = 1500) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})


def check_readable(found: dict, what: str) -> None:
    """Of what MEASURE found."""
    assert not found["scrolls"] and not found["wide"], f"{what}: sticks out: {found['wide']}"
    assert not found["faint"], f"{what}: below 4.5:1: {found['faint']}"
    assert found["unnamed"] == 0, f"{what}: a picture without a name"
    levels = found["headings"]
    assert levels[0] == 1 and levels.count(1) == 1, f"{what}: one h1, first"
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:])), f"{what}: a heading level is skipped: {levels}"
