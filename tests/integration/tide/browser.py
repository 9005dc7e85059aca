"""A real browser for pages: Chromium without a screen.

TIDE_SCREENSHOTS=DIR keeps a picture of each view there."""
import os
import shutil
from pathlib import Path

import pytest

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
