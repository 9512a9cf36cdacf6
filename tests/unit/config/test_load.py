"""Configuration: everything is checked, all faults are shown at once with file and path."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from foundry.base.errors import EXIT_CONFIG, ConfigError, UsageError
from foundry.config.load import Config, load_config, merged
from foundry.config.profile import Profile, resolve
from foundry.plan.cells import make_plan
from foundry.plan.gaps import gap_faults
from foundry.plan.state import States
from tests.harness.checkout import CATALOGUE, LOCK, NEW, OLD, Checkout, entry

LOCAL = Profile("local", "test")


def load(checkout: Checkout) -> Config:
    return load_config(checkout.root, LOCAL)


def faults(checkout: Checkout) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(checkout)
    assert raised.value.exit_code == EXIT_CONFIG
    return [fault.render() for fault in raised.value.faults]


def test_the_matrix_as_users_have_it(checkout: Checkout) -> None:
    plan = make_plan(load(checkout))
    assert [(cell.kernel, cell.releases) for cell in plan.cells] == [
        (OLD, ("4.16.30", "4.16.48")), (NEW, ("4.18.15",)),
    ]
    assert plan.gaps == ()


def test_a_cell_has_the_toolkit_of_the_lowest_release_with_its_kernel(checkout: Checkout) -> None:
    before = make_plan(load(checkout)).cells
    checkout.write("driver-toolkit/driver-toolkit.json", [*CATALOGUE, entry("4.16.50", "f", OLD)])
    after = make_plan(load(checkout)).cells
    assert [cell.toolkit for cell in before] == [cell.toolkit for cell in after]
    assert after[0].toolkit_digest == "sha256:" + "a" * 64
    assert after[0].releases == ("4.16.30", "4.16.48", "4.16.50")


@pytest.mark.parametrize("folder, why", [
    ("config/divers", "No such file or directory"), ("build-matrix.json", "Not a directory"),
    ("9" * 300, "File name too long"),
])
def test_a_folder_of_families_that_is_none(checkout: Checkout, folder: str, why: str) -> None:
    checkout.edit("config/defaults.yaml", "drivers: [config/drivers]", f"drivers: [config/drivers, '{folder}']")
    assert faults(checkout) == [f"{folder}: the folder of families can't be read: {why}"]


def test_all_faults_of_all_files_at_once(checkout: Checkout) -> None:
    checkout.write("build-matrix.json", [
        {"driver": "../x", "ocp_versions": ["4.16"]},
        {"driver": "2.1", "ocp_versions": ["4"], "familly": "neuron"},
        {"driver": "2.2", "family": "nobody", "ocp_versions": ["4.16"]},
    ])
    checkout.write("driver-toolkit/driver-toolkit.json", [{"version": "4.16.1", "arch": "x86_64"}])
    checkout.write("config/locks/neuron.json", "{")
    checkout.edit("config/drivers/neuron.yaml", "strip: debug", "strip: everything")
    found = "\n".join(faults(checkout))
    assert "build-matrix.json: $[0].driver: '../x'" in found
    assert "build-matrix.json: $[1]: Additional properties are not allowed ('familly' was unexpected)" in found
    assert "build-matrix.json: $[1].ocp_versions[0]: '4'" in found
    assert "driver-toolkit/driver-toolkit.json: $[0]: 'dtk' is a required property" in found
    assert "build-matrix.json: $[2].family: unknown family 'nobody'" in found
    assert "config/locks/neuron.json: is not JSON" in found
    assert "config/drivers/neuron.yaml: $.strip: 'everything' is not one of ['debug', 'none']" in found


@pytest.mark.parametrize("text, fault", [
    ("families: {neuron: 3}", "config/profiles/local.yaml: $.families.neuron: 3 is not of type 'object'"),
    ("families: {neuron: {labels: 3}}", "config/profiles/local.yaml: $.families.neuron.labels: 3"),
    ("families: {neuron: {patches: [1]}}", "config/profiles/local.yaml: $.families.neuron.patches[0]: 1"),
    ("matrix: [3]", "config/profiles/local.yaml: $.matrix[0]: 3"),
    ("families: {nouron: {strip: none}}", "config: $.families.nouron: there is no config/drivers/nouron.yaml"),
    ("families: {neuron: {containerfile: none}}", "config/drivers/neuron.yaml: $.containerfile: none does not exist"),
    ("families: {neuron: {repository: {url: 'https://u:p@mirror/'}}}", "config/profiles/local.yaml: $.families.neuron"),
])
def test_a_profile_with_faults(checkout: Checkout, text: str, fault: str) -> None:
    checkout.write("config/profiles/local.yaml", text)
    assert any(line.startswith(fault) for line in faults(checkout)), faults(checkout)


@pytest.mark.parametrize("changes", [
    "families: {neuron: {source: {ignore: [PATCH]}}}",
    "families: {neuron: {archive: {release_notes: {url: 'https://example.org/n', license: CC-BY-4.0}}}}",
    "families: {neuron: {further_packages: {blobs: {repository: {url: 'https://e.org', packages: [x]}}}}}",
    "releases: {exclude: [4.18.15]}", "toolkits: {publish: {registry: r.example.org}}",
])
def test_a_profile_and_the_defaults_take_the_same(checkout: Checkout, changes: str) -> None:
    checkout.write("config/profiles/local.yaml", changes)
    in_profile = load(checkout)
    checkout.write("config/profiles/local.yaml", "{}")
    into_defaults(checkout, changes)
    in_defaults = load(checkout)
    assert in_profile.settings == in_defaults.settings
    assert {name: family.data for name, family in in_profile.families.items()} == {
        name: family.data for name, family in in_defaults.families.items()
    }


@pytest.mark.parametrize("changes", [
    "families: {neuron: {source: {ignore: [POST_BUILD]}}}", "families: {neuron: {source: {ignored: [PATCH]}}}",
    "families: {neuron: {additional_patches: [{id: a, why: b, edits: [], drivers: 'none'}]}}",
    "family: {title: x}", "releases: {exclude: [4.18]}", "unknown: 1",
])
def test_a_profile_and_the_defaults_refuse_the_same(checkout: Checkout, changes: str) -> None:
    checkout.write("config/profiles/local.yaml", changes)
    in_profile = faults(checkout)
    checkout.write("config/profiles/local.yaml", "{}")
    into_defaults(checkout, changes)
    expected = [line.replace("config/profiles/local.yaml", "config/defaults.yaml") for line in in_profile]
    assert sorted(faults(checkout)) == sorted(expected)


def into_defaults(checkout: Checkout, changes: str) -> None:
    text = (checkout.root / "config/defaults.yaml").read_text(encoding="utf-8")
    checkout.write("config/defaults.yaml", yaml.safe_dump(merged(yaml.safe_load(text), yaml.safe_load(changes))))


@pytest.mark.parametrize("changes, fault", [
    ("{neuron: {download: {name: x}}}", "$.families.neuron.download: 'url' is a required property"),
    ("{neuron: {further_packages: {blobs: {download: {name: x}, signature: none}}}}",
     "$.families.neuron.further_packages.blobs.download: 'url' is a required property"),
    ("{neuron: {further_packages: {blobs: {signing: {fingerprint: %s}}}}}" % ("A" * 40),
     "$.families.neuron.further_packages.blobs.signing: 'key_url' is a required property"),
    ("{habanalabs: {base: {busybox: {labels: {a: b}}}}}",
     "$.families.habanalabs.base.busybox: 'sources' is a required property"),
    ("{habanalabs: {archive: {branch: main, license: x}}}",
     "$.families.habanalabs.archive: 'copyright' is a required property"),
])
def test_a_family_is_checked_again_with_its_changes(checkout: Checkout, changes: str, fault: str) -> None:
    """File and changes are each right alone; the fault is in the file that changes the family."""
    checkout.write("config/profiles/local.yaml", f"families: {changes}")
    assert f"config/profiles/local.yaml: {fault}" in faults(checkout)
    checkout.write("config/profiles/local.yaml", "families: {}")
    into_defaults(checkout, f"families: {changes}")
    assert f"config/defaults.yaml: {fault}" in faults(checkout)


_WHOLE = {"versions": ["1.0"], "kernels": 2, "releases": {"4.16.30": 0}}


@pytest.mark.parametrize("changes, expected", [
    ({"services": "sandbox"}, {
        f"$.sandbox.{name}: is missing: `services: sandbox` needs it" for name in ("versions", "kernels", "releases")}),
    ({"services": "sandbox", "sandbox": {"versions": ["1.0"], "kernels": 1}}, {"$.sandbox.releases: is missing"}),
    ({"services": "sandbox", "sandbox": {**_WHOLE, "releases": {"4.16.30": 2}, "rt": [0, 9]}},
     {"$.sandbox.releases.4.16.30: there is no kernel 2: `kernels` is 2", "$.sandbox.rt[1]: there is no kernel 9"}),
    ({"services": "sandbox", "sandbox": {**_WHOLE, "families": {"none": {"version": "1", "kernels": "*"}}}},
     {"$.sandbox.families.none: there is no such family"}),
    ({"services": "sandbox", "sandbox": _WHOLE}, set()),
    ({"sandbox": {"rt": [9]}}, set()),
])
def test_a_setting_that_needs_another_one(checkout: Checkout, changes: dict[str, Any], expected: set[str]) -> None:
    """Said when the profile is read, not in the middle of a run."""
    checkout.write("config/profiles/local.yaml", {"image_repository": "localhost/kmod", **changes})
    if not expected:
        load(checkout)
        return
    said = faults(checkout)
    assert len(said) == len(expected)
    assert all(any(f"config/profiles/local.yaml: {fault}" in line for line in said) for fault in expected)


def test_two_licences_of_one_name(checkout: Checkout) -> None:
    checkout.write("container/other/GPL-2.0.txt", "another")
    checkout.edit("config/drivers/neuron.yaml", "licenses:\n", "licenses:\n  - container/other/GPL-2.0.txt\n")
    assert faults(checkout) == ["config/drivers/neuron.yaml: $.licenses: two files are called GPL-2.0.txt"]


def test_a_label_with_an_unknown_field(checkout: Checkout) -> None:
    checkout.edit("config/drivers/neuron.yaml", 'kernel-version: "{kernel}"', 'kernel-version: "{kernle}"')
    [fault] = faults(checkout)
    assert fault.startswith("config/drivers/neuron.yaml: $.labels['kernel-version']: unknown field {kernle}; known: ")


def test_unknown_family_names_the_known_ones(checkout: Checkout) -> None:
    checkout.write("build-matrix.json", [{"driver": "2.2", "family": "nobody", "ocp_versions": ["4.16"]}])
    assert faults(checkout) == ["build-matrix.json: $[0].family: unknown family 'nobody'; known: habanalabs, neuron"]


def test_one_driver_name_belongs_to_one_family(checkout: Checkout) -> None:
    text = (checkout.root / "config/drivers/neuron.yaml").read_text(encoding="utf-8")
    checkout.write("config/drivers/other.yaml", text)
    checkout.write("build-matrix.json", [
        {"driver": "2.2", "ocp_versions": ["4.16"]}, {"driver": "2.2", "family": "other", "ocp_versions": ["4.18"]},
    ])
    assert faults(checkout) == [
        "build-matrix.json: $[1].driver: 2.2 is already of family neuron (build-matrix.json $[0]); a profile with"
        " a matrix of its own can have this one"
    ]


@pytest.mark.parametrize("group, field", [
    ("repository", "url: https://yum"), ("repository", "packages: ["), ("signing", "key_url:"),
    ("signing", "fingerprint:"), ("source", "root:"),
])
def test_a_family_needs_all_its_fields(checkout: Checkout, group: str, field: str) -> None:
    path = checkout.root / "config/drivers/neuron.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if not line.strip().startswith(field)), encoding="utf-8")
    assert any(line.startswith("config/drivers/neuron.yaml: $") and group in line for line in faults(checkout))


def test_a_lock_without_what_a_label_shows(checkout: Checkout) -> None:
    base = {name: value for name, value in LOCK["base"].items() if name != "busybox"}
    checkout.write("config/locks/neuron.json", {**LOCK, "base": base})
    with pytest.raises(ConfigError, match=r"config/locks/neuron\.json: \$\.base: the label busybox\.version") as raised:
        _ = States(load(checkout)).cells
    assert len(raised.value.faults) == 1


@pytest.mark.parametrize("driver", ["../x", "a/b", "a=b", "a b", "", "..", "-n", "x" * 65, "1..2"])
def test_drivers_that_could_be_no_file_or_task(checkout: Checkout, driver: str) -> None:
    checkout.write("build-matrix.json", [{"driver": driver, "ocp_versions": ["4.16"]}])
    assert all(line.startswith("build-matrix.json: $[0].driver") for line in faults(checkout))


def test_yaml_faults_have_a_place(checkout: Checkout) -> None:
    checkout.write("config/profiles/local.yaml", "a: [1\nb: 2\n")
    [fault] = faults(checkout)
    assert fault.startswith("config/profiles/local.yaml: is not YAML")
    assert "line 2" in fault


@pytest.mark.parametrize("name", ["x", "../x", "."])
def test_unknown_profile_names_the_known_ones(checkout: Checkout, name: str) -> None:
    with pytest.raises(UsageError, match=r"there is no profile .*local") as raised:
        resolve(checkout.root, {"KMOD_PROFILE": name})
    assert raised.value.exit_code == EXIT_CONFIG


def test_a_release_twice_in_the_catalogue(checkout: Checkout) -> None:
    checkout.write("driver-toolkit/driver-toolkit.json", [CATALOGUE[0], CATALOGUE[0]])
    assert faults(checkout) == ["driver-toolkit/driver-toolkit.json: $[1]: 4.16.30 x86_64 is already at $[0]"]


def test_gaps_are_named(checkout: Checkout) -> None:
    checkout.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.99", "4.18.99"]}])
    plan = make_plan(load(checkout))
    assert [fault.render() for fault in gap_faults(plan)] == [
        f"build-matrix.json: $[0].ocp_versions[{number}]: driver-toolkit/driver-toolkit.json has no release {release}:"
        " run `doit toolkit`" for number, release in ((2, "4.18.99"), (1, "4.99"))
    ]


def test_entries_without_kernel_stay_readable(checkout: Checkout) -> None:
    checkout.write("driver-toolkit/driver-toolkit.json", [entry("4.16.30", "a", None), *CATALOGUE[2:]])
    plan = make_plan(load(checkout))
    assert [fault.message for fault in gap_faults(plan)] == [
        "4.16: 1 release without a kernel (4.16.30): run `doit toolkit`"
    ]
    assert len(plan.cells) == 1


def test_good_files_are_not_checked_twice(checkout: Checkout) -> None:
    load(checkout)
    kept = checkout.root / "build/local/validation.json"
    assert len(json.loads(kept.read_text(encoding="utf-8"))) == 10
    before = kept.stat().st_mtime_ns
    load(checkout)
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize("environ, name", [
    ({"KMOD_PROFILE": "ecr", "GITHUB_ACTIONS": "true"}, "ecr"),
    ({"GITHUB_ACTIONS": "true", "AWS_PROFILE": "x"}, "github"),
    ({"AWS_PROFILE": "x"}, "ecr"), ({"KMOD_ECR_REPOSITORY_NAME": "x"}, "ecr"), ({}, "local"),
])
def test_profiles_first_that_applies(checkout: Checkout, environ: dict[str, str], name: str) -> None:
    assert resolve(checkout.root, {"HOME": str(checkout.root), **environ}).name == name


def test_profiles_chosen_and_from_files(checkout: Checkout) -> None:
    tmp_path = checkout.root
    environ = {"HOME": str(tmp_path)}
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("")
    assert resolve(tmp_path, environ).name == "ecr"
    (tmp_path / ".kmod-profile").write_text("sandbox\n")
    assert resolve(tmp_path, environ).name == "sandbox"


@pytest.mark.parametrize("value", ["2.22.2.0\n", "2.22.2.0\n\n"])
def test_a_newline_is_no_part_of_a_name(checkout: Checkout, value: str) -> None:
    """Python's `$` lets one follow: it would get into folders, tasks and tags."""
    checkout.write("build-matrix.json", [{"driver": value, "ocp_versions": ["4.16"]}])
    assert [fault.partition(": '")[0] for fault in faults(checkout)] == ["build-matrix.json: $[0].driver"]
    checkout.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16\n"]}])
    checkout.write("driver-toolkit/driver-toolkit.json", [entry("4.16.30", "a", OLD + "\n")])
    assert [fault.partition(": '")[0] for fault in faults(checkout)] == [
        "build-matrix.json: $[0].ocp_versions[0]", "driver-toolkit/driver-toolkit.json: $[0].kernel",
    ]


@pytest.mark.parametrize("content, words", [
    ("[" * 100_000, "nested too deep"), ("[" * 900 + "]" * 900, ""), ('[{"driver": NaN}]', "NaN is no JSON value"),
    ('[{"driver": "\\ud800"}]', "surrogates not allowed"), ("\ufffe", "is not JSON"),
])
def test_json_that_is_none(checkout: Checkout, content: str, words: str) -> None:
    checkout.write("build-matrix.json", content)
    [fault] = faults(checkout)
    assert fault.startswith("build-matrix.json: ")
    assert words in fault


@pytest.mark.parametrize("content, words", [
    ("a: " + "[" * 100_000, "nested deeper than 50 levels"), ("- " * 100_000, "nested deeper than 50 levels"),
    ("&a [*a]", "refers to itself"), ("title: 2025-01-02", "put it in quotes"), ("1: x", "has the key 1"),
    ("title: 2025-02-30", "a value that can't be read"), ("title: !!int x", "a value that can't be read"),
    ("title: .nan", "put it in quotes"), ("title: !!set {a}", "put it in quotes"), ("title: !!x y", "is not YAML"),
    ("a: &a [x,x,x,x]\n" + "".join(f"a{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)),
     "too many values"),
])
def test_yaml_that_json_could_not_say(checkout: Checkout, content: str, words: str) -> None:
    checkout.write("config/drivers/neuron.yaml", content)
    [fault] = [fault for fault in faults(checkout) if not fault.startswith("build-matrix.json")]
    assert fault.startswith("config/drivers/neuron.yaml: ")
    assert words in fault


def test_aliases_are_yaml_too(checkout: Checkout) -> None:
    checkout.edit("config/drivers/neuron.yaml", "title: AWS Neuron driver", "title: &title AWS Neuron driver")
    checkout.edit("config/drivers/neuron.yaml", "vendor: Amazon Web Services", "vendor: *title")
    assert load(checkout).families["neuron"]["labels"]["vendor"] == "AWS Neuron driver"


@pytest.mark.parametrize("name", ["a\\0b", "x" * 5000])
def test_names_that_no_file_can_have(checkout: Checkout, name: str) -> None:
    families = f'families: {{neuron: {{containerfile: "{name}"}}}}'
    checkout.write("config/profiles/local.yaml", f'matrix: ["{name}"]\n{families}')
    found = faults(checkout)
    assert len(found) == 2
    assert any("can't be read" in fault for fault in found)
    assert any(fault.startswith("config/drivers/neuron.yaml: $.containerfile") for fault in found)


@pytest.mark.parametrize("field, value, words", [
    ("created", "2025-99-99T00:00:00Z", "a time that there is not"),
    ("created", "\u0662025-01-01T00:00:00Z", "created"),
    ("build_time", 10**30, "maximum"), ("build_time", 1.0, "integer"), ("build_time", 1e300, "integer"),
])
def test_times_that_there_are_not(checkout: Checkout, field: str, value: object, words: str) -> None:
    lock = json.loads(json.dumps(LOCK))
    (lock["base"] if field == "created" else lock["packages"]["2.22.2.0"])[field] = value
    checkout.write("config/locks/neuron.json", lock)
    with pytest.raises(ConfigError, match=words):
        _ = States(load(checkout)).cells


def test_versions_are_short(checkout: Checkout) -> None:
    """Python refuses to read numbers of more than 4300 digits."""
    checkout.write("build-matrix.json", [{"driver": "2.2", "ocp_versions": ["9" * 5000 + ".1"]}])
    checkout.edit("config/drivers/neuron.yaml", '">=2.16.7.0,<2.18.12.0"', '"<' + "9" * 5000 + '"')
    assert [fault.partition(": '")[0] for fault in faults(checkout)] == [
        "build-matrix.json: $[0].ocp_versions[0]", "config/drivers/neuron.yaml: $.patches[0].drivers",
    ]


def test_a_validation_cache_that_is_none(checkout: Checkout) -> None:
    checkout.write("build/local/validation.json", [["x"], 1, None])
    assert load(checkout).wants


def test_json_with_a_byte_order_mark(checkout: Checkout) -> None:
    """Windows' editors put one there."""
    text = (checkout.root / "build-matrix.json").read_text(encoding="utf-8")
    checkout.write("build-matrix.json", "\ufeff" + text)
    assert len(load(checkout).wants) == 1
