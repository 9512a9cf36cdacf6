"""Ledgers: editions, merging, old and new schemas; no row is ever lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundry.base.errors import ConfigError
from foundry.base.schema import Verdicts
from foundry.plan.ledger import SCHEMA, Ledger, Row, parse_ledger, read_ledger
from tests.harness.checkout import ROOT

KERNELS = ("5.14.0-427.68.2.el9_4.x86_64", "5.14.0-570.12.1.el9_6.x86_64", "6.12.0-55.1.el10_0.x86_64")


def row(kernel: str, number: int = 1, releases: tuple[str, ...] = ("4.16.30",), **more: Any) -> dict[str, Any]:
    return {"kernel": kernel, "arch": "x86_64", "key": f"{number:064x}", "digest": f"sha256:{number:064x}",
            "tags": [f"2.22.2.0-{kernel}"], "releases": list(releases), **more}


def ledger(*rows: Row, **more: Any) -> Ledger:
    return Ledger("2.22.2.0", "neuron", {(one["kernel"], one["arch"]): one for one in rows}, **more)


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    return Verdicts(ROOT / "schemas", tmp_path / "verdicts.json")


def editions(one: Ledger) -> dict[str, int]:
    return {found["kernel"]: found["noted"]["edition"] for found in one.rows.values()}


def test_editions() -> None:
    """The first has all; each later one what is new or other; what did not change stays in its edition."""
    first = ledger(row(KERNELS[0]), row(KERNELS[1])).with_edition()
    assert (first.edition, first.in_edition, editions(first)) == (1, True, {KERNELS[0]: 1, KERNELS[1]: 1})
    assert all("was" not in one["noted"] for one in first.rows.values())
    assert first.with_edition() == first, "the same content is no new edition"
    more = first.with_row(row(KERNELS[2], 3), []).with_row(row(KERNELS[0], 2), [])
    assert not more.in_edition
    second = more.with_edition()
    assert (second.edition, editions(second)) == (2, {KERNELS[0]: 2, KERNELS[1]: 1, KERNELS[2]: 2})
    rebuilt = second.rows[KERNELS[0], "x86_64"]["noted"]
    assert rebuilt["was"] == {"digest": f"sha256:{1:064x}", "releases": ["4.16.30"]}
    assert "was" not in second.rows[KERNELS[2], "x86_64"]["noted"]
    third = second.with_row(row(KERNELS[1], 1, ("4.16.30", "4.16.48")), []).with_edition()
    assert third.rows[KERNELS[1], "x86_64"]["noted"]["was"]["releases"] == ["4.16.30"]
    assert editions(third) == {KERNELS[0]: 2, KERNELS[1]: 3, KERNELS[2]: 2}


def test_a_row_that_changes_twice_before_it_is_noted() -> None:
    """What it was is what the last edition said, not what nobody saw."""
    first = ledger(row(KERNELS[0], 1)).with_edition()
    second = first.with_row(row(KERNELS[0], 2), []).with_row(row(KERNELS[0], 3), []).with_edition()
    assert second.rows[KERNELS[0], "x86_64"]["noted"]["was"]["digest"] == f"sha256:{1:064x}"
    back = first.with_row(row(KERNELS[0], 2), []).with_row(row(KERNELS[0], 1), [])
    assert back.with_edition() == first, "and back again is no change"


def test_a_cell_that_is_published_anew_knows_what_it_was(verdicts: Verdicts) -> None:
    """A checkout that lost its ledger published a cell; the one that others keep says in which edition it was."""
    theirs = ledger(row(KERNELS[0], 1, published="2026-01-01T00:00:00Z")).with_edition()
    mine = ledger(row(KERNELS[0], 2, published="2026-02-01T00:00:00Z"))
    for merged in (mine.merged(theirs), theirs.merged(mine)):
        noted = merged.with_edition().rows[KERNELS[0], "x86_64"]["noted"]
        assert (noted["edition"], noted["was"]["digest"]) == (2, f"sha256:{1:064x}")


def test_of_two_rows_the_later_one_stays() -> None:
    old = row(KERNELS[0], 1, published="2026-01-01T00:00:00Z")
    new = row(KERNELS[0], 2, published="2026-01-02T00:00:00Z")
    assert ledger(old).merged(ledger(new)) == ledger(new).merged(ledger(old)) == ledger(new)
    assert ledger(row(KERNELS[0], 1)).merged(ledger(new)) == ledger(new), "a row without a time is the older one"


def test_series_and_sources_stay(verdicts: Verdicts) -> None:
    patch = {"id": "a", "why": "b", "edits": [{"file": "x.c", "find": "a", "replace": "b", "matches": 1}]}
    name = "f" * 64
    first = ledger().with_row(row(KERNELS[0], key_inputs={"patches": name}), [patch])
    source = {"x.tar.gz": {"kind": "driver", "key": "1" * 64, "sha256": "2" * 64, "size": 3}}
    first = first.with_sources(source)
    other = ledger(row(KERNELS[1]))
    for merged in (first.merged(other), other.merged(first), first.with_row(row(KERNELS[1]), [])):
        assert merged.series == {name: [patch]}
        assert merged.sources == source
    again = parse_ledger(first.to_bytes(), "x", verdicts)
    assert again == first
    assert again.to_bytes() == first.to_bytes()


def test_of_two_archives_that_of_the_later_edition_stays() -> None:
    """It was made from more rows; the other checkout knows of none of them."""
    def archive(key: str) -> dict[str, dict[str, Any]]:
        return {"x.tar.gz": {"kind": "driver", "key": key * 64, "sha256": key * 64, "size": 3}}

    first = ledger(row(KERNELS[0])).with_sources(archive("1")).with_edition()
    second = first.with_row(row(KERNELS[1]), []).with_sources(archive("2")).with_edition()
    assert first.merged(second) == second.merged(first) == second
    again = first.with_sources(archive("3"))
    assert again.merged(first).sources == archive("3"), "of the same edition it is what was made here"


def test_schema_1_is_read_and_becomes_2(verdicts: Verdicts) -> None:
    old = {"schema": 1, "driver": "2.22.2.0", "family": "neuron", "cells": [row(KERNELS[0])]}
    found = parse_ledger(json.dumps(old).encode(), "x", verdicts)
    assert found.rows == ledger(row(KERNELS[0])).rows
    assert not found.in_edition
    assert json.loads(found.to_bytes())["schema"] == SCHEMA == 2


@pytest.mark.parametrize("document, says", [
    ({"schema": 3, "driver": "d", "family": "neuron", "cells": [], "new": 1}, "schema 3 is newer"),
    ({"schema": "2", "driver": "d", "family": "neuron", "cells": []}, "$.schema"),
    ({"schema": True, "driver": "d", "family": "neuron", "cells": []}, "$.schema"),
    ({"driver": "d", "family": "neuron", "cells": []}, "schema"), ([], "is not of type 'object'"),
    ({"schema": 2, "driver": "d", "family": "neuron", "cells": [{"kernel": "x"}]}, "$.cells[0]"),
])
def test_what_is_no_ledger_is_refused(verdicts: Verdicts, document: object, says: str, tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError) as raised:
        read_ledger(path, "images.json", verdicts)
    assert says in raised.value.render()
    assert raised.value.exit_code == 2


def test_no_json_and_no_file(verdicts: Verdicts, tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "none", "none", verdicts) is None
    for content in (b"", b"{", b"<html>", b'{"schema": 2, "schema": 1}'):
        with pytest.raises(ConfigError):
            parse_ledger(content, "x", verdicts)


def test_two_rows_of_one_cell_are_refused(verdicts: Verdicts) -> None:
    """One of them would be lost silently."""
    document = {"schema": 2, "driver": "d", "family": "neuron", "cells": [row(KERNELS[0], 1), row(KERNELS[0], 2)]}
    with pytest.raises(ConfigError, match="twice"):
        parse_ledger(json.dumps(document).encode(), "x", verdicts)


# -- any ledgers ---------------------------------------------------------------

_rows = st.builds(
    row, st.sampled_from(KERNELS), st.integers(1, 4),
    st.lists(st.sampled_from(("4.16.30", "4.17.1", "4.18.9")), unique=True, min_size=1).map(tuple),
    published=st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z")),
)
_ledgers = st.lists(_rows, max_size=4).map(lambda rows: ledger(*rows)).flatmap(
    lambda one: st.sampled_from((one, one.with_edition())))


@given(_ledgers, _ledgers)
@settings(deadline=None)
def test_merging_loses_no_row_and_is_idempotent(one: Ledger, other: Ledger) -> None:
    merged = one.merged(other)
    assert set(merged.rows) == set(one.rows) | set(other.rows)
    assert merged.merged(other) == merged
    assert merged.merged(one) == merged
    assert merged.merged(merged) == merged
    assert one.merged(one) == one
    for place, found in merged.rows.items():
        times = [half.rows[place]["published"] for half in (one, other) if place in half.rows]
        assert found["published"] == max(times)


@given(_ledgers, _ledgers)
@settings(deadline=None)
def test_an_edition_settles(one: Ledger, other: Ledger) -> None:
    """Who merges and notes what others kept makes nothing new of it; bytes come back as they were."""
    kept = one.merged(other).with_edition()
    assert kept.in_edition
    assert kept.merged(kept).with_edition().to_bytes() == kept.to_bytes()
    assert kept.edition in (max(one.edition, other.edition), max(one.edition, other.edition) + 1)
