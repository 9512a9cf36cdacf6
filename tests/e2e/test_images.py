"""The images: what podman and KMM's worker see in them, and what their records say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry.base.schema import ValidationCache
from foundry.podman.engine import Engine
from tests.harness.clone import ROOT, Clone

DEPMOD = {"modules.alias", "modules.alias.bin", "modules.dep", "modules.dep.bin", "modules.symbols",
          "modules.symbols.bin", "modules.softdep", "modules.devname"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("engine") / "engine.json")


@pytest.fixture(scope="module", params=[0, -1])
def loaded(
    request: pytest.FixtureRequest, built: Clone, kernels: list[str], engine: Engine
) -> Iterator[tuple[str, str]]:
    """(cell, name of the image as `podman load` reports it)."""
    cell = f"2.22.2.0-{kernels[request.param]}"
    printed = engine.call("load", f"--input={built.cell(cell) / 'image.oci.tar'}").stdout
    name = printed.strip().rpartition(" ")[2]
    yield cell, name
    engine.remove_image(name)


def test_podman_loads_what_the_record_says(loaded: tuple[str, str], built: Clone, engine: Engine) -> None:
    cell, name = loaded
    record = built.record(cell, "image")
    assert name == f"localhost/neuron-driver-sandbox:{record['tag']}"
    [seen] = json.loads(engine.call("image", "inspect", name).stdout)
    assert f"sha256:{seen['Id']}" == record["config_digest"]
    assert seen["Labels"] == record["labels"]
    assert seen["RootFS"]["Layers"] == record["diff_ids"]
    assert (seen["Os"], seen["Architecture"]) == ("linux", "amd64")
    assert seen["Created"].startswith(record["labels"]["org.opencontainers.image.created"][:19])


def test_skopeo_sees_the_same_digest(built: Clone, kernels: list[str]) -> None:
    cell = f"2.22.2.0-{kernels[0]}"
    done = subprocess.run(
        ["skopeo", "inspect", f"oci-archive:{built.cell(cell) / 'image.oci.tar'}"], capture_output=True, text=True,
        check=True,
    )
    assert json.loads(done.stdout)["Digest"] == built.record(cell, "image")["digest"]


def test_kmm_can_use_it(loaded: tuple[str, str], built: Clone, engine: Engine, tmp_path: Path) -> None:
    """KMM's worker copies /opt with the image's own shell; modprobe then reads depmod's files."""
    cell, name = loaded
    kernel = built.record(cell, "image")["kernel"]
    copy = f"mkdir -p /host/opt/lib/modules && cp -R /opt/lib/modules/{kernel} /host/opt/lib/modules/"
    with engine.container("kmm") as container:
        engine.call("run", f"--name={container}", "--rm", "--network=none", "--security-opt=label=disable",
                    f"--volume={tmp_path}:/host", name, "/bin/sh", "-c", copy)
        licence = engine.call("run", f"--name={container}", "--rm", "--network=none", name, "/bin/cat",
                              "/licenses/GPL-2.0.txt").stdout
    assert "GNU GENERAL PUBLIC LICENSE" in licence
    folder = tmp_path / "opt/lib/modules" / kernel
    found = {path.name for path in folder.iterdir()}
    assert found >= DEPMOD | {"neuron.ko"}
    assert (folder / "modules.dep").read_text() == "neuron.ko:\n"
    assert "pci:v00001D0F" in (folder / "modules.alias").read_text()
    assert (folder / "neuron.ko").read_bytes() == (built.cell(cell) / "signed/neuron.ko").read_bytes()


def test_records_keep_to_their_schemas(built: Clone) -> None:
    validation = ValidationCache(ROOT, built.root / "none.json")
    records = [*built.build.glob("cells/*/module.json"), *built.build.glob("cells/*/image.json"),
               *built.build.glob("sources/*/fetch.json"), *built.build.glob("sources/*/source.json")]
    assert len(records) == 2 * 5 + 2 * 2
    for path in records:
        document = json.loads(path.read_text())
        assert validation.faults(f"record-{document['stage']}", document, str(path)) == []


def test_labels_that_are_addresses_resolve_in_the_profile(built: Clone, kernels: list[str], services: Clone) -> None:
    """Through the profile's own mapping of names; Debian's archive by its own name."""
    from urllib.request import Request, urlopen

    state = json.loads((services.services / "state.json").read_text())
    labels = built.record(f"2.22.2.0-{kernels[0]}", "image")["labels"]
    web = f"127.0.0.1:{state['web']['port']}"
    for name in ("neuron-driver.source", "busybox.source", "org.opencontainers.image.source"):
        url = labels[name].replace("web.sandbox.internal", web)
        with urlopen(Request(url, method="HEAD"), timeout=60) as answer:
            assert answer.status == 200, name


def test_the_modules_are_stripped_and_patched(built: Clone, kernels: list[str]) -> None:
    for driver, patches in (("2.16.7.0", set()), ("2.22.2.0", {"rhel-9.4-guard"})):
        record = built.record(f"{driver}-{kernels[0]}", "module")
        assert {entry["patch"] for entry in record["patches"]} == patches
        assert record["patches_inert"]["rhel-9.6-unmapped-area"] == f"driver {driver} is not >=2.28.0.0"
        sections = subprocess.run(
            ["objdump", "-h", built.cell(f"{driver}-{kernels[0]}") / "neuron.ko"], capture_output=True, text=True,
            check=True,
        ).stdout
        assert ".modinfo" in sections
        assert ".debug_info" not in sections
