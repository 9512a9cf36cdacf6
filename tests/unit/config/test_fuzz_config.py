"""Whatever the files say, only faults come out that name the file, and nothing is written elsewhere."""

from __future__ import annotations

import copy
import datetime
import json
import os
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import ConfigError, FoundryError
from foundry.base.records import write_record
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.cells import make_plan
from foundry.plan.gaps import gap_faults
from foundry.plan.ledger import ledger_path
from foundry.plan.state import States
from foundry.signing.new import write_image_pair
from tests.harness.checkout import NEW, ROOT, Checkout
from tests.harness.ledgers import ledger_row
from tests.harness.signing import pair_named
from tests.unit.formats.test_fuzz_layers import nodes, values
from tests.unit.formats.test_fuzz_package import many, mutations
from tests.unit.plan.test_state import NAME, build, ledger

DRIVER = "2.22.2.0"
VALIDATION = "build/local/validation.json"
LEDGER = str(ledger_path(Path("build/local"), DRIVER))
CELL = f"build/local/cells/{NAME}"
SOURCE = f"build/local/sources/{DRIVER}"
JSON = (
    "build-matrix.json", "driver-toolkit/driver-toolkit.json", "config/locks/neuron.json", LEDGER,
)
YAML = ("config/defaults.yaml", "config/drivers/neuron.yaml", "config/profiles/local.yaml")
RECORDS = (
    f"{CELL}/module.json", f"{CELL}/image.json", f"{CELL}/failure.json", f"{SOURCE}/fetch.json",
    f"{SOURCE}/source.json", VALIDATION,
)


def full_checkout(root: Path) -> Checkout:
    """The project's files, and all that a run leaves for the configuration's readers."""
    checkout = Checkout(root)
    sandbox = yaml.safe_load((ROOT / "config/profiles/sandbox.yaml").read_text(encoding="utf-8"))
    for name in ("catalogue", "locks", "services"):
        del sandbox[name]
    checkout.write("config/profiles/local.yaml", yaml.safe_dump(sandbox))
    checkout.write(sandbox["signing"]["certificate"], pair_named("one").file.read_text())
    write_image_pair((checkout.root / sandbox["image_signing"]["key"]).parent)
    build(checkout)
    rows = [ledger_row(NEW)]  # of the cell itself: no record would be looked at
    checkout.write(LEDGER, ledger(checkout, cells=rows))
    checkout.write(f"{CELL}/failure.json", {"key": "0" * 64, "reason": "a", "message": "b"})
    for stage in ("fetch", "source"):
        outputs = {"package.rpm": {"sha256": "0" * 64, "size": 1}}
        facts = {"content_sha256": "2" * 64, "key": "0" * 64, "inputs": {}, "outputs": outputs}
        write_record(root / SOURCE / f"{stage}.json", stage, facts)
    checkout.write(f"{SOURCE}/package.rpm", "x")
    return checkout


_FOLDER = tempfile.TemporaryDirectory(prefix="kmod-foundry-fuzz-")  # one for all examples, gone with the process
CHECKOUT = Path(_FOLDER.name, "checkout")
CHECKOUT.mkdir()
full_checkout(CHECKOUT)
CONTENT = {name: (CHECKOUT / name).read_bytes() for name in (*JSON, *YAML, *RECORDS)}


def everything(folder: Path) -> set[str]:
    return {os.path.join(place, name) for place, folders, names in os.walk(folder) for name in (*folders, *names)}


def read(root: Path) -> None:
    """What every command does first."""
    loaded = load_config(root, Profile("local", "fuzz"))
    plan = make_plan(loaded)
    assert all(fault.render() for fault in gap_faults(plan))
    states = States(loaded)
    for cell in plan.cells:
        assert (root / states.cell_folder(cell)).resolve().parent == root.resolve() / "build/local/cells"
        assert "\n" not in cell.name + cell.tag
    assert len(states.cells) <= len(plan.cells)
    for state in states.cells.values():
        assert json.dumps([state.state, state.reason, state.key and state.key.parts], ensure_ascii=False).encode()
    for driver in states.sources:
        assert (root / states.source_folder(driver)).resolve().parent == root.resolve() / "build/local/sources"


def refused(file: str, content: bytes) -> str:
    """Read the checkout with one file replaced; the error's text, or nothing."""
    before = everything(Path(_FOLDER.name))
    (CHECKOUT / file).write_bytes(content)
    try:
        read(CHECKOUT)
        said = ""
    except FoundryError as error:
        said = error.render()
        assert isinstance(error, ConfigError)
        assert len(said.encode()) < 100_000
    finally:
        (CHECKOUT / file).write_bytes(CONTENT[file])
        (CHECKOUT / VALIDATION).write_bytes(CONTENT[VALIDATION])
    assert everything(Path(_FOLDER.name)) == before
    return said


def test_the_seeds_are_good() -> None:
    for file, content in CONTENT.items():
        assert refused(file, content) == ""


# What YAML can say and JSON can't, and texts that are nearly right.
scalars = st.sampled_from([
    datetime.date(2025, 1, 2), datetime.datetime(2025, 1, 2, 3, 4), b"\xff", {1, "a"}, float("nan"), float("inf"),
    1e300, 2.0, 10**30, -1, 0, "", "..", "a/../b", "/etc/passwd", "a\n", "2.22.2.0\n", "5.14.0\n",
    "\u0664.\u0661\u0668",
    "4.16", "4.16.30", "{driver}", "{nothing}", "{", "*", ">=9", ">=9999999999", "9" * 5000, "9" * 5000 + ".1",
    ">=" + "9" * 5000, "x" * 300, "é", "\x00",
    "9999-99-99T99:99:99Z", "0000-01-01T00:00:00Z", "http://x", "neuron", "config", "sha256:" + "0" * 64, "0" * 64,
])
odd = st.deferred(lambda: scalars | values | st.lists(scalars, max_size=3) | st.dictionaries(
    st.sampled_from([1, None, True, "a", "driver", "neuron", ""]), scalars, max_size=3
))

def nearly(value: object) -> st.SearchStrategy[object]:
    """Values of the same type that are close to one that is right."""
    if isinstance(value, str):
        digits = "".join("9" if sign.isdigit() else sign for sign in value)
        return st.sampled_from([
            f"{value}\n", f"\n{value}", f"{value} ", value[1:], value * 9, f"{value}\0", f"{value}/..",
            f"{value}\ud800", digits, digits.replace("9", "\u0669"), digits.replace("9", "0"), value.swapcase(),
        ])
    if isinstance(value, int):
        return st.sampled_from([float(value), -value, 10**15, 10**30, 1e300, str(value), value + 1])
    return st.just([value] if isinstance(value, list) else {"": value})


names = st.sampled_from([1, None, 1.5, True, "x", "a\nb", "..", "2.22.2.0\n"]) | st.text(max_size=5)


@st.composite
def rewritten(draw: st.DrawFn, files: tuple[str, ...]) -> tuple[str, bytes]:
    """A file and its content with some nodes replaced, removed, renamed or copied elsewhere."""
    file = draw(st.sampled_from(files))
    document = yaml.safe_load(CONTENT[file])
    for _ in range(draw(st.integers(1, 3))):
        places = list(nodes(document))
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        change = draw(st.integers(0, 6))
        if change == 0 and isinstance(parent, dict):
            del parent[key]
        elif change == 1 and isinstance(parent, dict):
            parent[draw(names)] = parent[key]
        elif change == 1:
            parent.append(copy.deepcopy(parent[key]))
        elif change == 2:
            other, name = draw(st.sampled_from(places))
            parent[key] = copy.deepcopy(other.get(name) if isinstance(other, dict) else other[name : name + 1])
        elif change in (3, 4):
            parent[key] = draw(nearly(parent[key]))
        else:
            parent[key] = draw(odd)
    text = yaml.safe_dump(document, allow_unicode=True) if file.endswith("yaml") else json.dumps(document, default=str)
    return file, text.encode(errors="surrogatepass")


@many
@given(rewritten(JSON))
def test_structure_of_json(changed: tuple[str, bytes]) -> None:
    refused(*changed)


@many
@given(rewritten(YAML))
def test_structure_of_yaml(changed: tuple[str, bytes]) -> None:
    refused(*changed)


@many
@given(rewritten(RECORDS))
def test_structure_of_records(changed: tuple[str, bytes]) -> None:
    """A record that can't be understood counts as not there: it is never a fault."""
    assert refused(*changed) == ""


@many
@given(st.sampled_from((*JSON, *YAML, *RECORDS)).flatmap(
    lambda file: st.tuples(st.just(file), mutations([CONTENT[file]]) | st.binary(max_size=50))
))
def test_bytes(changed: tuple[str, bytes]) -> None:
    file, _ = changed
    assert refused(*changed) == "" or file not in RECORDS


@pytest.mark.parametrize("content", [
    b"[" * 100_000, b"[" * 900, b"[" * 900 + b"]" * 900, b'{"schema":' * 900 + b"1" + b"}" * 900,
    b'{"a":' * 100_000, b"a: " + b"[" * 5000, b"&a [*a]", b"&a {b: *a}", b"- " * 5000,
    b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (at, at, b",".join([b"*%c" % (at - 1)] * 9)) for at in range(98, 107)
    ), b"? [a]\n: b", b"!!python/object/apply:os.system [exit]", b"%YAML 9.9\n---\na", b"a\n---\nb", b"\0", b"",
])
def test_what_is_nested_or_refers_to_itself(content: bytes) -> None:
    for file in (*JSON, *YAML):
        assert refused(file, content)
    for file in RECORDS:
        assert refused(file, content) == ""
