"""Ledgers as files have them, for tests that write one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.keys import key_of
from foundry.plan.ledger import SCHEMA
from foundry.plan.state import States

DRIVER = "2.22.2.0"


def ledger_row(kernel: str, **said: Any) -> dict[str, Any]:
    """A row of a published cell; what is not said is of no cell that there is."""
    return {
        "kernel": kernel, "arch": "x86_64", "key": key_of(said.get("key_inputs", {})), "key_inputs": {},
        "digest": "sha256:" + "1" * 64,
        "tags": [f"{DRIVER}-{kernel}"], "registries": [], "releases": ["4.16.30"],
        "toolkit": "quay.io/toolkits/none@sha256:" + "0" * 64, "content_sha256": "2" * 64, **said,
    }


def key_inputs(root: Path, cell: str, profile: str = "local") -> dict[str, str]:
    """What a cell of a checkout has its key of."""
    key = States(load_config(root, Profile(profile, "test"))).cells[cell].key
    assert key is not None
    return key.parts


def ledger_document(*rows: Mapping[str, Any], driver: str = DRIVER, **more: Any) -> dict[str, Any]:
    """The ledger of these rows."""
    return {"schema": SCHEMA, "driver": driver, "family": "neuron", "cells": list(rows), **more}
