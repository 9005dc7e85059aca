"""The status page in a real browser: no script, no second request, light, dark, narrow, in three languages.

TIDE_SCREENSHOTS=DIR keeps a picture of each view there."""
import pytest

from tide.browser import needs_browser, picture

pytestmark = needs_browser

# Nothing on the page may stick out sideways, overlap another heading, or be too faint to read.
MEASURE = """
const faint = [], wide = [];
const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const parse = s => s.match(/[\\d.]+/g).map(Number);
const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
                      if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
for (const e of document.querySelectorAll('h1,h2,h3,p,a,span,b,small,time,summary,li')) {
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


def view(browser, page, path: str, scheme: str, width: int) -> dict:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": 1500, "deviceScaleFactor": 1, "mobile": width < 500})
    browser.get(page.url + path)
    picture(browser, f"{path.strip('/').replace('/', '-') or 'front'}-{scheme}-{width}")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    return browser.execute_script(MEASURE)


def check_view(found: dict, what: str) -> None:
    assert not found["scrolls"] and not found["wide"], f"{what}: sticks out: {found['wide']}"
    assert not found["faint"], f"{what}: below 4.5:1: {found['faint']}"
    assert found["unnamed"] == 0, f"{what}: a picture without a name"
    levels = found["headings"]
    assert levels[0] == 1 and levels.count(1) == 1, f"{what}: one h1, first"
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:])), f"{what}: a heading level is skipped: {levels}"
    assert found["requests"] == [], f"{what}: the page asked for more"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_in_a_browser(browser, page, fake, scheme):  # noqa: F811
    page.start().wait_green()
    page.wait(lambda: page.status_of("m-two") == "operational", 10, "models appear")
    check_view(view(browser, page, "/en", scheme, 1000), f"front {scheme}")
    fake.fail.add("m-one")
    fake.signup = {"state": "restricted"}
    page.wait(page.unresolved, 10, "an incident opens")
    page.wait(lambda: page.status_of("Sign-up") == "degraded_performance", 10, "sign-up is limited")
    code = page.unresolved()[0]["id"]
    for path in ("/en", "/zh", "/zh-hant", "/en/history", f"/zh/incidents/{code}", "/en/nothing"):
        for width in (1000, 360):
            check_view(view(browser, page, path, scheme, width), f"{path} {scheme} {width}")
    fake.refuse = True
    page.wait(lambda: 'class="stale"' in page.get("/en").text, 20, "stale")
    check_view(view(browser, page, "/en", scheme, 361), f"stale {scheme}")
    noise = [entry for entry in browser.get_log("browser")
             if entry["level"] == "SEVERE" and "/en/nothing" not in entry["message"] and "favicon" not in entry["message"]]
    assert noise == [], "the console stays empty, content security policy included"
