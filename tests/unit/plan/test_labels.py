"""Labels: the time is that of the newest input, no label is empty, and a family's own labels go first."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from foundry.base.errors import FoundryError
from foundry.config.load import load_config
from foundry.config.locks import Base, MainPackage
from foundry.config.profile import Profile
from foundry.plan.cells import make_plan
from foundry.plan.keys import CellKey, FileHashes, cell_key
from foundry.plan.labels import DriverLabels, created
from tests.harness.checkout import LOCK, OLD, Checkout

PACKAGE = MainPackage.from_document(LOCK["packages"]["2.22.2.0"])
BASE = replace(Base.from_document(LOCK["base"]), created="2025-01-02T03:04:05Z")  # 1735787045
FAMILY = "config/drivers/neuron.yaml"


@pytest.mark.parametrize("built, wanted", [(1, 1735787045), (1735787045, 1735787045), (1735787046, 1735787046)])
def test_the_newest_of_package_and_base(built: int, wanted: int) -> None:
    assert created(replace(PACKAGE, build_time=built), BASE) == wanted


@pytest.mark.parametrize("text", ["", "yesterday", "2025-02-30T00:00:00Z", "0001-01-01"])
def test_a_time_that_there_is_not(text: str) -> None:
    with pytest.raises(FoundryError) as caught:
        created(PACKAGE, replace(BASE, created=text))
    assert caught.value.reason == "lock-unreadable"


def labels(
    checkout: Checkout, package: dict[str, Any] | None = None, base: dict[str, Any] | None = None
) -> dict[str, str]:
    config = load_config(checkout.root, Profile("local", "test"))
    cell = make_plan(config).cells[0]
    whole = replace(PACKAGE, **(package or {}))
    known = Base.from_document(base or LOCK["base"])
    return DriverLabels(cell.family, cell.driver, whole, known, config.settings.source_url).of(cell)


def test_facts_fill_the_labels(checkout: Checkout) -> None:
    found = labels(checkout)
    assert found["kernel-version"] == OLD
    assert found["org.opencontainers.image.version"] == found["version"] == "2.22.2.0"
    assert found["org.opencontainers.image.base.digest"] == LOCK["base"]["digest"]


TARBALL = "aws-neuronx-dkms-2.22.2.0-modified-source.tar.gz"
IN_RELEASE = f"/releases/download/neuron-driver-2.22.2.0/{TARBALL}"


@pytest.mark.parametrize("configured, environ, source", [
    ("", {}, PACKAGE.url),
    ("", {"GITHUB_REPOSITORY": "some/fork"}, PACKAGE.url),  # no profile that makes releases
    ("acme/images", {}, "https://github.com/acme/images" + IN_RELEASE),
    ("acme/images", {"GITHUB_REPOSITORY": "some/fork"}, "https://github.com/acme/images" + IN_RELEASE),  # else its key
])
def test_the_source_is_the_releases_tarball_where_there_are_releases(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, configured: str, environ: dict[str, str], source: str,
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", environ.get("GITHUB_REPOSITORY", ""))
    checkout.write("config/profiles/local.yaml", json.dumps({"github_repository": configured}))
    config = load_config(checkout.root, Profile("local", "test"))
    key = cell_key(make_plan(config).cells[0], config, FileHashes(checkout.root))
    assert isinstance(key, CellKey)
    assert key.labels["neuron-driver.source"] == source


@pytest.mark.parametrize("said, label", [
    ("GPL-2.0", "GPL-2.0"), ("Unknown", "GPL-2.0-only"), ("unknown ", "GPL-2.0-only"), ("NOASSERTION", "GPL-2.0-only"),
])
def test_a_licence_that_the_package_does_not_know_is_the_familys(checkout: Checkout, said: str, label: str) -> None:
    assert labels(checkout, {"license": said})["neuron-driver.license"] == label


def test_an_unknown_licence_is_no_label(checkout: Checkout) -> None:
    checkout.edit(FAMILY, "\nlicense: GPL-2.0-only\n", "\n")
    with pytest.raises(FoundryError) as caught:
        labels(checkout, {"license": "Unknown"})
    assert caught.value.reason == "label-empty"


@pytest.mark.parametrize("license_", ["", " ", "\t"])
def test_a_label_that_would_be_empty_is_an_error(checkout: Checkout, license_: str) -> None:
    with pytest.raises(FoundryError, match=r"neuron-driver\.license") as caught:
        labels(checkout, {"license": license_})
    assert caught.value.reason == "label-empty"


def without_own_busybox_labels(checkout: Checkout) -> None:
    text = (checkout.root / FAMILY).read_text(encoding="utf-8")
    checkout.write(FAMILY, "".join(line for line in text.splitlines(True) if not line.startswith("  busybox.")))


def test_busyboxs_labels_are_for_bases_that_have_it(checkout: Checkout) -> None:
    without_own_busybox_labels(checkout)
    assert labels(checkout)["busybox.version"] == LOCK["base"]["busybox"]["version"]
    bare = {name: value for name, value in LOCK["base"].items() if name != "busybox"}
    assert not [name for name in labels(checkout, base=bare) if name.startswith("busybox.")]


def test_a_familys_own_label_goes_before(checkout: Checkout) -> None:
    checkout.edit(FAMILY, "  busybox.license: GPL-2.0\n", "  busybox.license: of the family\n")
    assert labels(checkout)["busybox.license"] == "of the family"


def test_a_backup_that_is_not_there_is_the_source(checkout: Checkout) -> None:
    busybox = {"version": "1", "source": "https://a/x", "source_backup": "https://b/x"}
    with_backup = {**LOCK["base"], "busybox": busybox}
    assert labels(checkout, base=with_backup)["busybox.source.backup"] == "https://b/x"
    assert labels(checkout)["busybox.source.backup"] == LOCK["base"]["busybox"]["source"]
