"""Ledgers: revisions, merging, other schemas; no row is ever lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import ConfigError
from foundry.base.schema import ValidationCache
from foundry.plan.ledger import SCHEMA, Ledger, parse_ledger, read_ledger
from foundry.plan.rows import Content, Revision, Row
from tests.harness.checkout import ROOT
from tests.harness.fuzz import examples

KERNELS = ("5.14.0-427.68.2.el9_4.x86_64", "5.14.0-570.12.1.el9_6.x86_64", "6.12.0-55.1.el10_0.x86_64")


def row(kernel: str, number: int = 1, releases: tuple[str, ...] = ("4.16.30",), **more: Any) -> Row:
    inputs = more.pop("key_inputs", {})
    return Row(kernel, "x86_64", f"{number:064x}", inputs, f"sha256:{number:064x}", (f"2.22.2.0-{kernel}",), (),
               releases, f"quay.io/toolkit@sha256:{number:064x}", "2" * 64, **more)


def ledger(*rows: Row, **more: Any) -> Ledger:
    return Ledger("2.22.2.0", "neuron", {(one.kernel, one.arch): one for one in rows}, **more)


@pytest.fixture
def validation(tmp_path: Path) -> ValidationCache:
    return ValidationCache(ROOT, tmp_path / "validation.json")


def revision_of(one: Ledger, number: int) -> Revision:
    """That of the row of a kernel, by its number."""
    found = one.rows[KERNELS[number], "x86_64"].revision
    assert found is not None
    return found


def was_of(one: Ledger) -> str:
    """The digest that the first kernel's image had before."""
    was = revision_of(one, 0).was
    assert was is not None
    return was.digest


def revisions(one: Ledger) -> dict[str, int]:
    return {found.kernel: found.revision.number for found in one.rows.values() if found.revision is not None}


def test_revisions() -> None:
    """The first has all; each later one what is new or other; what did not change stays in its revision."""
    first = ledger(row(KERNELS[0]), row(KERNELS[1])).with_revision()
    assert (first.revision, first.revised, revisions(first)) == (1, True, {KERNELS[0]: 1, KERNELS[1]: 1})
    assert [revision_of(first, number).was for number in (0, 1)] == [None, None]
    assert first.with_revision() == first, "the same content is no new revision"
    more = first.with_row(row(KERNELS[2], 3), []).with_row(row(KERNELS[0], 2), [])
    assert not more.revised
    second = more.with_revision()
    assert (second.revision, revisions(second)) == (2, {KERNELS[0]: 2, KERNELS[1]: 1, KERNELS[2]: 2})
    assert revision_of(second, 0).was == Content(f"sha256:{1:064x}", ("4.16.30",))
    assert revision_of(second, 2).was is None
    third = second.with_row(row(KERNELS[1], 1, ("4.16.30", "4.16.48")), []).with_revision()
    assert revision_of(third, 1).was == Content(f"sha256:{1:064x}", ("4.16.30",))
    assert revisions(third) == {KERNELS[0]: 2, KERNELS[1]: 3, KERNELS[2]: 2}


def test_a_row_that_changes_twice_before_it_is_noted() -> None:
    """What it was is what the last revision said, not what nobody saw."""
    first = ledger(row(KERNELS[0], 1)).with_revision()
    second = first.with_row(row(KERNELS[0], 2), []).with_row(row(KERNELS[0], 3), []).with_revision()
    assert was_of(second) == f"sha256:{1:064x}"
    back = first.with_row(row(KERNELS[0], 2), []).with_row(row(KERNELS[0], 1), [])
    assert back.with_revision() == first, "and back again is no change"


def test_a_cell_that_is_published_anew_knows_what_it_was(validation: ValidationCache) -> None:
    """A checkout that lost its ledger published a cell; the one that others keep says in which revision it was."""
    theirs = ledger(row(KERNELS[0], 1, published="2026-01-01T00:00:00Z")).with_revision()
    mine = ledger(row(KERNELS[0], 2, published="2026-02-01T00:00:00Z"))
    for merged in (mine.merged(theirs), theirs.merged(mine)):
        revised = merged.with_revision()
        assert (revised.revision, was_of(revised)) == (2, f"sha256:{1:064x}")


def test_of_two_rows_the_later_one_stays() -> None:
    old = row(KERNELS[0], 1, published="2026-01-01T00:00:00Z")
    new = row(KERNELS[0], 2, published="2026-01-02T00:00:00Z")
    assert ledger(old).merged(ledger(new)) == ledger(new).merged(ledger(old)) == ledger(new)
    assert ledger(row(KERNELS[0], 1)).merged(ledger(new)) == ledger(new), "a row without a time is the older one"


def test_series_and_sources_stay(validation: ValidationCache) -> None:
    patch = {"id": "a", "why": "b", "edits": [{"file": "x.c", "find": "a", "replace": "b", "matches": 1}]}
    name = "f" * 64
    first = ledger().with_row(row(KERNELS[0], key_inputs={"patches": name}), [patch])
    source = {"x.tar.gz": {"kind": "driver", "key": "1" * 64, "sha256": "2" * 64, "size": 3}}
    first = first.with_sources(source)
    other = ledger(row(KERNELS[1]))
    for merged in (first.merged(other), other.merged(first), first.with_row(row(KERNELS[1]), [])):
        assert merged.series == {name: [patch]}
        assert merged.sources == source
    again = parse_ledger(first.to_bytes(), "x", validation)
    assert again == first
    assert again.to_bytes() == first.to_bytes()


def test_of_two_rows_of_one_second_that_of_the_later_revision_stays() -> None:
    old, new = (row(KERNELS[0], number, published="2026-01-02T03:04:05Z",
                    revision=Revision(number, Content("sha256:" + "0" * 64, ()))) for number in (1, 2))
    for one, other in ((ledger(old), ledger(new)), (ledger(new), ledger(old))):
        assert one.merged(other).rows[KERNELS[0], "x86_64"].digest == new.digest


def test_a_ledger_over_another_keeps_its_own_rows() -> None:
    """Whatever their times: the other is believed only in what this one does not know."""
    mine = ledger(row(KERNELS[0], 1, published="2026-01-01T00:00:00Z"), series={"s": [{"id": "mine"}]},
                  sources={"a": {"sha256": "1"}})
    theirs = ledger(row(KERNELS[0], 2, published="2026-02-01T00:00:00Z"), row(KERNELS[1], 3),
                    series={"s": [{"id": "theirs"}], "t": []}, sources={"a": {"sha256": "2"}, "b": {"sha256": "3"}})
    both = mine.over(theirs)
    assert {kernel: one.digest[-1] for (kernel, _), one in both.rows.items()} == {KERNELS[0]: "1", KERNELS[1]: "3"}
    assert both.series == {"s": [{"id": "mine"}], "t": []}
    assert both.sources == {"a": {"sha256": "1"}, "b": {"sha256": "3"}}


def test_a_cell_without_patches_leaves_no_series() -> None:
    """Else every reader would meet a series of no patches under a hash."""
    with_none = ledger().with_row(row(KERNELS[0], key_inputs={"patches": "1" * 64}), [])
    assert (with_none.series, json.loads(with_none.to_bytes()).get("series")) == ({}, None)


def test_of_two_tarballs_that_of_the_later_revision_stays() -> None:
    """It was made from more rows; the other checkout knows of none of them."""
    def tarball(key: str) -> dict[str, dict[str, Any]]:
        return {"x.tar.gz": {"kind": "driver", "key": key * 64, "sha256": key * 64, "size": 3}}

    first = ledger(row(KERNELS[0])).with_sources(tarball("1")).with_revision()
    second = first.with_row(row(KERNELS[1]), []).with_sources(tarball("2")).with_revision()
    assert first.merged(second) == second.merged(first) == second
    again = first.with_sources(tarball("3"))
    assert again.merged(first).sources == tarball("3"), "of the same revision it is what was made here"


@pytest.mark.parametrize("proof, says", [
    ({"modules": {}}, "modules"), ({"modules": {"a.ko": "1"}}, "modules"), ({"modules": ["a.ko"]}, "modules"),
    ({"modules": {"../a.ko": "1" * 64}}, "modules"), ({"modules": {"a.txt": "1" * 64}}, "modules"),
    ({"outcome": "failed"}, "outcome"), ({"outcome": "sure"}, "outcome"), ({"key": "x"}, "key"), ({"more": 1}, "more"),
    ({"checks": [{"name": "loads"}]}, "checks[0]"),
])
def test_a_proof_of_no_modules_is_refused(validation: ValidationCache, proof: dict[str, Any], says: str) -> None:
    """A row whose proof counts names what was booted, each module by its hash."""
    good = {"outcome": "proven", "key": "1" * 64, "modules": {"a.ko": "1" * 64}}
    ledger_of = ledger(row(KERNELS[0], proof=good))
    assert parse_ledger(ledger_of.to_bytes(), "x", validation).rows == ledger_of.rows
    with pytest.raises(ConfigError) as raised:
        parse_ledger(ledger(row(KERNELS[0], proof=good | proof)).to_bytes(), "x", validation)
    assert says in raised.value.render() and "$.cells[0].proof" in raised.value.render()


@pytest.mark.parametrize("document, says", [
    ({"schema": 4, "driver": "d", "family": "neuron", "cells": [], "new": 1}, "schema 4 is newer"),
    ({"schema": "3", "driver": "d", "family": "neuron", "cells": []}, "$.schema"),
    ({"schema": 2, "driver": "d", "family": "neuron", "cells": []}, "$.schema"),
    ({"schema": True, "driver": "d", "family": "neuron", "cells": []}, "$.schema"),
    ({"driver": "d", "family": "neuron", "cells": []}, "schema"), ([], "is not of type 'object'"),
    ({"schema": 3, "driver": "d", "family": "neuron", "cells": [{"kernel": "x"}]}, "$.cells[0]"),
])
def test_what_is_no_ledger_is_refused(validation: ValidationCache, document: object, says: str, tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError) as raised:
        read_ledger(path, "images.json", validation)
    assert says in raised.value.render()
    assert raised.value.exit_code == 2


def test_no_json_and_no_file(validation: ValidationCache, tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "none", "none", validation) is None
    for content in (b"", b"{", b"<html>", b'{"schema": 2, "schema": 1}'):
        with pytest.raises(ConfigError):
            parse_ledger(content, "x", validation)


def test_what_is_there_and_can_not_be_read_is_no_missing_ledger(validation: ValidationCache, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_ledger(tmp_path, "images.json", validation)


def test_two_rows_of_one_cell_are_refused(validation: ValidationCache) -> None:
    """One of them would be lost silently."""
    document = {"schema": SCHEMA, "driver": "d", "family": "neuron", "cells": [
        row(KERNELS[0], 1).as_data(), row(KERNELS[0], 2).as_data()]}
    with pytest.raises(ConfigError, match="twice"):
        parse_ledger(json.dumps(document).encode(), "x", validation)


# -- any ledgers ---------------------------------------------------------------

_rows = st.builds(
    row, st.sampled_from(KERNELS), st.integers(1, 4),
    st.lists(st.sampled_from(("4.16.30", "4.17.1", "4.18.9")), unique=True, min_size=1).map(tuple),
    published=st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z")),
)
_ledgers = st.lists(_rows, max_size=4).map(lambda rows: ledger(*rows)).flatmap(
    lambda one: st.sampled_from((one, one.with_revision())))


@given(_ledgers, _ledgers)
@examples(50)
def test_merging_loses_no_row_and_is_idempotent(one: Ledger, other: Ledger) -> None:
    merged = one.merged(other)
    assert set(merged.rows) == set(one.rows) | set(other.rows)
    assert merged.merged(other) == merged
    assert merged.merged(one) == merged
    assert merged.merged(merged) == merged
    assert one.merged(one) == one
    for place, found in merged.rows.items():
        times = [half.rows[place].published for half in (one, other) if place in half.rows]
        assert found.published == max(times)


@given(_ledgers, _ledgers)
@examples(50)
def test_a_revision_settles(one: Ledger, other: Ledger) -> None:
    """Who merges and notes what others kept makes nothing new of it; bytes come back as they were."""
    kept = one.merged(other).with_revision()
    assert kept.revised
    assert kept.merged(kept).with_revision().to_bytes() == kept.to_bytes()
    assert kept.revision in (max(one.revision, other.revision), max(one.revision, other.revision) + 1)
