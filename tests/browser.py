"""A headless Chromium for pages that a person reads; skips where there is none."""

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,900",
)


class Browser:
    """One window, offline; `driver` is selenium's."""

    def __init__(self, driver: webdriver.Chrome):
        self.driver = driver

    def open(
        self, page: Path, *, scheme: str = "light", width: int = 1280, media: str = ""
    ) -> None:
        """Opens a file in a colour scheme and a window of that many pixels.

        Args:
          media: `print` for how it is printed; "" for the screen.
        """
        self._cdp(
            "Emulation.setEmulatedMedia",
            media=media,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self._cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.driver.get(page.as_uri())

    def complaints(self) -> list[str]:
        """Returns what the console said since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def evaluate(self, script: str) -> Any:
        """Returns the value of a JavaScript expression."""
        return self.driver.execute_script(f"return {script}")

    def press(self, key: str) -> None:
        """Presses a key where the focus is."""
        self.driver.switch_to.active_element.send_keys(key)

    def screenshot(self) -> np.ndarray:
        """Returns the whole page as `[height, width, 3]` bytes."""
        shot = self._cdp(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True
        )
        png = io.BytesIO(base64.b64decode(shot["data"]))
        return np.asarray(Image.open(png).convert("RGB"))

    def _cdp(self, command: str, **arguments: Any) -> dict:
        return self.driver.execute_cdp_cmd(command, arguments)


@pytest.fixture(scope="session", name="browser")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yields a browser; needs Debian's packages chromium and chromium-driver."""
    binary, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or chromedriver is None:
        pytest.skip("no chromium and chromedriver on PATH")
    options = Options()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(chromedriver))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
