"""The status page in a real browser: no script, no second request, light, dark, narrow, in three languages.

TIDE_SCREENSHOTS=DIR keeps a picture of each view there."""
import pytest

from tide.browser import MEASURE, check_readable, needs_browser, picture, set_view

pytestmark = needs_browser


def view(browser, page, path: str, scheme: str, width: int) -> dict:
    set_view(browser, scheme, width, script=False)
    browser.get(page.url + path)
    picture(browser, f"{path.strip('/').replace('/', '-') or 'front'}-{scheme}-{width}")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    return browser.execute_script(MEASURE)


def check_view(found: dict, what: str) -> None:
    check_readable(found, what)
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
