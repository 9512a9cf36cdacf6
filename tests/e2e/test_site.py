"""The site as people use it, in a real browser, from files: search, paste, advice, keyboard, no script, axe."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from foundry.formats.openshift.release_lists import Edge, Risk
from foundry.plan.upgrades import upgrades_of
from foundry.site.advise import Coverage, advise
from foundry.site.pages import files
from tests.harness.browser import opened, violations
from tests.harness.clone import ROOT, AccessLogs, Clone
from tests.harness.made_up import made_up
from tests.harness.released import ledger

NEW, OLD = "2.22.2.0", "2.16.7.0"
LIBRARY = made_up(3, 30, 9)


def written(library: dict[str, Any], folder: Path) -> Path:
    for name, data in files(ROOT, library).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "index.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(LIBRARY, tmp_path_factory.mktemp("a folder with blanks"))


@pytest.fixture(scope="module")
def chrome(page: Path) -> Iterator[Chrome]:
    with opened(page) as found:
        yield found


def text_of(chrome: Chrome, name: str) -> str:
    return chrome.find_element(By.ID, name).text


def shown_rows(chrome: Chrome) -> list[str]:
    return [row.text for row in chrome.find_elements(By.CSS_SELECTOR, "#coverage-table tbody tr") if row.is_displayed()]


def paste(chrome: Chrome, text: str) -> str:
    chrome.execute_script(
        "const area = document.getElementById('which-text'); area.value = arguments[0];"
        " area.dispatchEvent(new Event('input', {bubbles: true}));", text)
    return text_of(chrome, "which-answer")


def choose(chrome: Chrome, name: str, value: str) -> None:
    Select(chrome.find_element(By.ID, name)).select_by_value(value)


def test_what_is_published_shows(copied: Clone, kernels: list[str], access: AccessLogs) -> None:
    assert copied.doit("release").code == 0
    assert copied.doit("toolkit").code == 0
    run = copied.doit("site")
    assert run.code == 0, run.text
    folder = copied.build / "site"
    before = {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")}
    access.new()
    run = copied.doit("site")
    assert (run.code, run.processes, run.connections, access.new()) == (0, [], [], []), run.text
    assert "1 up to date" in run.out
    rows = ledger(copied, NEW)["cells"]
    with opened(folder / "index.html") as chrome:
        marks = [cell.text for cell in chrome.find_elements(By.CSS_SELECTOR, "td[data-state=missing] small")]
        assert "the matrix does not want it" in marks
        choose(chrome, "upgrade-driver", "0")
        choose(chrome, "upgrade-to", "4.18.16")
        assert text_of(chrome, "upgrade-answer").startswith("Yes: from 4.16.30 to 4.18.16 in 4 steps")
        chrome.find_element(By.CSS_SELECTOR, "td.yes a").click()
        assert "/drivers/neuron-" in chrome.current_url
    text = (folder / f"drivers/neuron-{NEW}.html").read_text()
    for row in rows:
        assert row["digest"] in text and all(digest in text for digest in row["attestations"].values())
    # the same ledgers elsewhere: the same bytes
    other = copied.checkout(copied.root.parent / "elsewhere")
    shutil.copytree(copied.build / "release", other.build / "release", dirs_exist_ok=True)
    shutil.copy(copied.build / "upgrades.json", other.build / "upgrades.json")
    assert other.doit("fetch").code == 0
    assert other.doit("site").code == 0
    again = {path.relative_to(other.build / "site"): hashlib.sha256(path.read_bytes()).hexdigest()
             for path in (other.build / "site").rglob("*.*")}
    assert again == before
    # what can't be read is said on the page, and nothing else is lost
    (copied.build / "release" / OLD / "images.json").write_text('{"schema": 99}')
    run = copied.doit("site")
    assert "Traceback" not in run.text
    with opened(folder / "index.html") as chrome:
        assert f"the ledger of {OLD} can't be read" in chrome.find_element(By.CLASS_NAME, "problem").text
        assert chrome.find_elements(By.CSS_SELECTOR, "td.yes a")


def test_search_and_filters(chrome: Chrome) -> None:
    search = chrome.find_element(By.ID, "filter-text")
    assert len(shown_rows(chrome)) == 30
    search.send_keys("4.17 family1")
    assert shown_rows(chrome) and all(row.startswith("4.17") for row in shown_rows(chrome))
    heads = chrome.find_elements(By.CSS_SELECTOR, "#coverage-table thead th")
    assert [head.text for head in heads if head.is_displayed()] == ["Release", "Arch", "Kernel", "family1 2.1.0"]
    search.send_keys("no such thing")
    assert shown_rows(chrome) == [] and "nothing fits" in text_of(chrome, "filter-count")
    search.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    choose(chrome, "filter-driver", "0")
    choose(chrome, "filter-state", "missing")
    missing = LIBRARY["drivers"][0]["missing"]
    assert len(shown_rows(chrome)) == sum(len(one["releases"]) for one in missing)
    choose(chrome, "filter-minor", "4.18")
    assert all(row.startswith("4.18") for row in shown_rows(chrome))
    for name in ("driver", "state", "minor"):
        choose(chrome, f"filter-{name}", "")
    assert len(shown_rows(chrome)) == 30


NODES = """\
NAME      STATUS   ROLES    AGE   VERSION   INTERNAL-IP   EXTERNAL-IP   OS-IMAGE                        KERNEL-VERSION
worker-0  Ready    worker   9d    v1.29.10  10.0.0.5      <none>        Red Hat Enterprise Linux CoreOS %s   cri-o://1.29
worker-1  Ready    worker   9d    v1.29.10  10.0.0.6      <none>        Red Hat Enterprise Linux CoreOS %s   cri-o://1.29
"""
CLUSTER = """\
apiVersion: config.openshift.io/v1
kind: ClusterVersion
status:
  desired: {image: "quay.io/x@sha256:00", version: %s}
  history:
  - {state: Completed, version: %s}
"""


def test_which_image(chrome: Chrome) -> None:
    driver = LIBRARY["drivers"][0]
    first, second = driver["images"][0], driver["images"][1]
    lacking = driver["missing"][0]
    [release, *_] = second["releases"]
    answer = paste(chrome, first["kernel"])
    assert first["pull"][0] in answer
    answer = paste(chrome, NODES % (first["kernel"], second["kernel"]))
    assert first["pull"][0] in answer and second["pull"][0] in answer
    manifest = chrome.find_element(By.CSS_SELECTOR, "#which-answer pre").get_attribute("textContent")
    [module] = yaml.safe_load_all(str(manifest))
    assert module["spec"]["moduleLoader"]["container"]["kernelMappings"] == [
        {"literal": one["kernel"], "containerImage": one["pull"][0]} for one in (first, second)]
    for text in (release, f"Client Version: 4.99.0\nServer Version: {release}\nKubernetes Version: v1.29.10",
                 CLUSTER % (release, release)):
        assert second["pull"][0] in paste(chrome, text), text
    assert "4.99.0 not known" in paste(chrome, "Server Version: 4.99.0").replace(":", "")
    assert "no image: does not compile: Example driver" in paste(chrome, lacking["kernel"])
    assert "neither a kernel nor a release" in paste(chrome, "hello <b>world</b>")
    assert "neither a kernel nor a release" in paste(chrome, "lorem ipsum dolor\n" * 5000)
    assert first["pull"][0] in paste(chrome, "noise\n" * 5000 + first["kernel"])
    assert paste(chrome, "  ") == ""
    paste(chrome, first["kernel"])
    chrome.find_element(By.CSS_SELECTOR, "#which-answer li button").click()
    said = chrome.find_element(By.CSS_SELECTOR, "#which-answer li .copied")
    WebDriverWait(chrome, 30).until(lambda _: said.text.startswith(("copied", "selected")))


def test_may_i_upgrade(chrome: Chrome) -> None:
    """As `doit advise` answers from the same data."""
    releases = [one["version"] for one in LIBRARY["releases"]]
    edges = LIBRARY["upgrades"]["edges"]["x86_64"]
    known = upgrades_of(Edge(source, target, tuple(Risk(name) for name in risks))
                        for source, targets in edges.items() for target, risks in targets.items())
    kernels = {one["version"]: tuple(one["kernels"]["default"]) for one in LIBRARY["releases"]}
    kinds = set()
    for number, driver in enumerate(LIBRARY["drivers"]):
        coverage = Coverage(kernels, frozenset(image["kernel"] for image in driver["images"]), {})
        choose(chrome, "upgrade-driver", str(number))
        for source, target in [(releases[-1], releases[0]), (releases[-2], releases[3]), (releases[4], releases[9]),
                               (releases[20], releases[12]), (releases[7], releases[7])]:
            choose(chrome, "upgrade-from", source)
            choose(chrome, "upgrade-to", target)
            wanted = advise(driver["version"], known, coverage, source, target)
            steps = [one.text for one in chrome.find_elements(By.CSS_SELECTOR, "#upgrade-answer ol > li > strong")]
            assert steps == [step.release for step in wanted.way], (source, target)
            said = text_of(chrome, "upgrade-answer")
            kind = "No way" if not wanted.way else "Yes:" if wanted.path and not wanted.risky else (
                "From" if wanted.path else "No:")
            assert said.startswith(kind), said
            kinds.add(kind)
            if wanted.path:
                block = chrome.find_element(By.CSS_SELECTOR, "#upgrade-answer pre").get_attribute("textContent")
                module, preflight = yaml.safe_load_all(str(block))
                mapped = {one["literal"] for one in module["spec"]["moduleLoader"]["container"]["kernelMappings"]}
                assert mapped == {kernel for step in wanted.path for kernel in kernels[step.release]}
                assert (preflight["kind"], preflight["spec"]["kernelVersion"]) == (
                    "PreflightValidationOCP", kernels[target][0])
            blocked = [one.text for one in chrome.find_elements(By.CSS_SELECTOR, "#upgrade-answer .blocked")]
            assert [text.partition(" at once")[0] for text in blocked] == [
                f"{one.source} to {one.target}" for one in wanted.blocked]
    assert len(kinds) >= 3, kinds


def test_on_paper(page: Path) -> None:
    with opened(page) as chrome:
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert not any(chrome.find_element(By.ID, name).is_displayed() for name in ("which", "upgrade", "filters"))
        assert chrome.find_element(By.ID, "coverage-table").is_displayed()
        paper = chrome.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
        assert len(paper["data"]) > 10_000


def test_keyboard_alone(page: Path) -> None:
    with opened(page) as chrome:
        reached = []
        for _ in range(25):
            chrome.switch_to.active_element.send_keys(Keys.TAB)
            reached.append(chrome.switch_to.active_element.get_attribute("id") or "")
        for name in ("which-text", "which-driver", "upgrade-driver", "upgrade-from", "filter-text", "filter-state"):
            assert name in reached, reached


def test_without_script(page: Path) -> None:
    with opened(page, script=False) as chrome:
        assert len(chrome.find_elements(By.CSS_SELECTOR, "#coverage-table tbody tr")) == 30
        for name in ("which", "upgrade", "filters"):
            assert not chrome.find_element(By.ID, name).is_displayed()
        assert "Without scripts" in chrome.find_element(By.TAG_NAME, "body").text


@pytest.mark.parametrize("dark, width", [(False, 1280), (True, 1280), (False, 320), (True, 320)])
def test_for_everybody(page: Path, dark: bool, width: int) -> None:
    driver, release = page.parent / "drivers/family0-2.0.0.html", LIBRARY["releases"][-1]["version"]
    for one in (page, driver, page.parent / f"releases/{release}.html"):
        with opened(one, dark=dark, width=width) as chrome:
            if one == page:
                paste(chrome, LIBRARY["drivers"][0]["images"][0]["kernel"])
            assert violations(chrome) == [], one.name
            assert chrome.execute_script("return document.documentElement.scrollWidth") <= width, one.name
            back = chrome.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
            assert (back == "rgb(255, 255, 255)") == (not dark)


def test_a_large_library_stays_usable(tmp_path: Path) -> None:
    with opened(written(made_up(10, 300, 60), tmp_path)) as chrome:
        chrome.find_element(By.ID, "filter-text").send_keys("4.20.5 family3")
        assert len(shown_rows(chrome)) == len([row for row in shown_rows(chrome) if "4.20.5" in row]) > 0
        assert chrome.execute_script("return performance.getEntriesByName('first-contentful-paint').length") == 1


def test_no_ledger_at_all(copied: Clone) -> None:
    run = copied.doit("site")
    assert run.code == 0, run.text
    with opened(copied.build / "site/index.html") as chrome:
        assert "Coverage" in chrome.find_element(By.TAG_NAME, "main").text
        assert not chrome.find_elements(By.CSS_SELECTOR, "td.yes")
