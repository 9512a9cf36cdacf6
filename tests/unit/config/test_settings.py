"""Values have the fields of their schemas: what a file may say is read, and nothing else is expected."""

from __future__ import annotations

import json
from dataclasses import MISSING, FrozenInstanceError, fields
from typing import Any

import pytest

from foundry.config.catalogue import CatalogueEntry
from foundry.config.load import load_config
from foundry.config.locks import Base, BusyBox, DkmsFacts, LockedPackage, MainPackage
from foundry.config.profile import Profile
from foundry.config.settings import CustomToolkits, ImagePlace, Releases, SandboxContent, Settings
from tests.harness.checkout import ROOT, Checkout


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    return found


SETTINGS, LOCK, DEFAULTS = schema("settings")["properties"], schema("lock"), schema("defaults")
PACKAGE, BASE = LOCK["$defs"]["package"]["properties"], LOCK["properties"]["base"]["properties"]


@pytest.mark.parametrize("value, properties", [
    (Settings, SETTINGS), (Releases, SETTINGS["releases"]["properties"]),
    (ImagePlace, SETTINGS["mirror"]["properties"]), (ImagePlace, SETTINGS["publish"]["items"]["properties"]),
    (CustomToolkits, SETTINGS["toolkits"]["properties"]), (SandboxContent, SETTINGS["sandbox"]["properties"]),
    (CatalogueEntry, schema("catalogue")["items"]["properties"]),
    (Base, BASE), (BusyBox, BASE["busybox"]["properties"]), (LockedPackage, PACKAGE),
    (MainPackage, PACKAGE | LOCK["$defs"]["main_package"]["properties"]),
    (DkmsFacts, LOCK["$defs"]["dkms"]["properties"]),
])
def test_fields_are_those_of_the_schema(value: Any, properties: dict[str, Any]) -> None:
    assert {field.name for field in fields(value)} == properties.keys()


def test_what_the_defaults_always_say_is_never_missing() -> None:
    required = {field.name for field in fields(Settings)
                if field.default is MISSING and field.default_factory is MISSING}
    assert required == set(DEFAULTS["required"])


def test_a_profile_without_changes(checkout: Checkout) -> None:
    settings = load_config(checkout.root, Profile("local", "test")).settings
    assert (settings.arch, settings.publish, settings.services) == (("x86_64",), (), "")
    assert settings.mirror == ImagePlace("", "")
    assert settings.sandbox == SandboxContent()
    with pytest.raises(FrozenInstanceError):
        settings.parallel = 1  # type: ignore[misc]
