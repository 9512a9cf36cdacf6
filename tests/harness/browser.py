"""Debian's Chromium, headless, for the pages that are made for people."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium_axe_python.axe import Axe


@contextmanager
def opened(page: Path, *, script: bool = True, dark: bool = False, width: int = 1280) -> Iterator[Chrome]:
    """A page as a file, in a window of its own."""
    options, driver = ChromeOptions(), shutil.which("chromedriver")
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"window-size={width},1000"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    assert driver is not None
    chrome = Chrome(options=options, service=Service(driver))
    try:
        if dark:
            chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        if width < 600:  # narrower than a window can be
            chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": True})
        chrome.get(page.as_uri())
        yield chrome
        said: list[dict[str, Any]] = chrome.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
        severe = [entry for entry in said if entry["level"] == "SEVERE"]
        assert severe == [], severe
    finally:
        chrome.quit()


def violations(chrome: Chrome) -> list[str]:
    """What axe finds, a line each."""
    axe: Any = Axe(chrome)
    axe.inject()
    found: list[Any] = axe.run(options="{preload: false}")["violations"]  # else it fetches the style sheet once more
    return [f"{one['id']}: {node['html'][:150]}" for one in found for node in one["nodes"]]
