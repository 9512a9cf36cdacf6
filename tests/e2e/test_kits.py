"""Kits: one tar has all that a site without a network needs; the same bytes each time; what is not ours stays out."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from foundry.signing.new import PUBLIC_FILE, write_image_pair
from tests.e2e.test_attestations import TYPES, attested
from tests.e2e.test_bundles import tags_in
from tests.e2e.test_image_signatures import DRIVER, REGISTRY, Consumer
from tests.harness import witness
from tests.harness.clone import AccessLogs, Clone, registry_login, registry_port
from tests.harness.released import ledger

PLACE = f"{REGISTRY}/mirrored"
NAME = f"neuron-{DRIVER}-kit"


@pytest.fixture
def kit(copied: Clone) -> Path:
    run = copied.doit(f"release:{DRIVER}")
    assert run.code == 0, run.text
    run = copied.doit(f"kit:{DRIVER}")
    assert run.code == 0 and run.compiled == [], run.text
    return copied.build / "release" / DRIVER / f"{NAME}.tar"


def unpacked(kit: Path, folder: Path) -> Path:
    with tarfile.open(kit) as packed:
        packed.extractall(folder, filter="data")
    return folder / NAME


def key_of(clone: Clone, folder: Path) -> Path:
    return Path(shutil.copy(clone.build / "keys" / PUBLIC_FILE, folder / "image.pub"))


def test_the_same_bytes_each_time(kit: Path, copied: Clone, access: AccessLogs, tmp_path: Path) -> None:
    before = hashlib.sha256(kit.read_bytes()).hexdigest()
    access.new()
    again = copied.doit(f"kit:{DRIVER}")
    assert (again.code, again.processes, again.connections, access.new()) == (0, [], [], []), again.text
    other = copied.checkout(tmp_path / "another/path/with more words")  # it knows the ledger of the registry alone
    assert other.doit(f"fetch:{DRIVER}").code == 0
    shutil.copytree(copied.build / "keys", other.build / "keys", dirs_exist_ok=True)
    run = other.doit(f"kit:{DRIVER}")
    assert run.code == 0 and run.compiled == [], run.text
    made = other.build / "release" / DRIVER / kit.name
    assert hashlib.sha256(made.read_bytes()).hexdigest() == before


def test_a_site_needs_nothing_else(kit: Path, copied: Clone, tmp_path: Path) -> None:
    """Everything that published images have, by programs of others."""
    folder, public = unpacked(kit, tmp_path), key_of(copied, tmp_path)
    rows = ledger(copied, DRIVER)["cells"]
    assert subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, check=False
                          ).returncode == 0
    signed = witness.run(
        "cosign", "verify-blob", "--new-bundle-format", "--key", public, "--insecure-ignore-tlog=true",
        f"--trusted-root={folder}/verify/trusted_root.json", f"--bundle={folder}/SHA256SUMS.sigstore.json",
        folder / "SHA256SUMS")
    assert signed.returncode == 0, signed.stderr
    assert (folder / "kmm/base/module.yaml").is_file() and (folder / "verify/policy.json").is_file()
    sources = sorted(path.name for path in (folder / "sources").iterdir())
    assert f"aws-neuronx-dkms-{DRIVER}-modified-source.tar.gz" in sources and len(sources) == 2
    assert copied.doit("verify", f"--offline={kit}", f"--key={public}").code == 0
    run = copied.doit("verify", f"--offline={folder}", f"--key={public}")
    assert run.code == 0 and f"{len(rows) + 2} files: {len(rows) + 2} ok" in run.out, run.text
    # an image by skopeo alone, into a registry
    tag, login = rows[0]["tags"][0], ":".join(registry_login(copied.services))
    place = f"127.0.0.1:{registry_port(copied.services)}/by-skopeo"
    subprocess.run(["skopeo", "copy", "--quiet", "--preserve-digests", f"--dest-creds={login}",
                    "--dest-tls-verify=false", f"oci:{folder}:{tag}", f"docker://{place}:{tag}"], check=True)
    assert tags_in(copied, "by-skopeo") == {tag}


def test_it_is_loaded_and_proven(kit: Path, copied: Clone, tmp_path: Path) -> None:
    public, rows = key_of(copied, tmp_path), ledger(copied, DRIVER)["cells"]
    kit = Path(shutil.copy(kit, tmp_path / "carried.tar"))
    run = copied.doit("kit:load", f"--key={public}", str(kit), PLACE)
    assert run.code == 0 and f"{len(rows)} images: {len(rows)} ok" in run.out, run.text
    there = f"mirrored/{copied.repository}"
    assert {row["tags"][0] for row in rows} <= tags_in(copied, there)
    # what the site's own programs say of the mirror; the repository is another one than was signed for
    consumer = Consumer(copied, tmp_path / "consumer")
    consumer.clone = type(copied)(copied.root, copied.services)
    consumer.clone.repository = there
    for row in rows:
        for kind in TYPES:
            assert len(attested(consumer, row["digest"], public, kind)) == 1, kind
    # nothing is new the second time
    before = tags_in(copied, there)
    run = copied.doit("kit:load", f"--key={public}", str(kit), PLACE, "--json")
    assert run.code == 0 and [one["ok"] for one in json.loads(run.out)] == [True] * len(rows), run.text
    assert tags_in(copied, there) == before
    # the manifests lead there: the overlay with this mirror
    folder = unpacked(kit, tmp_path)
    overlay = folder / "kmm/overlays/example/kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("mirror.example.com/drivers", PLACE))
    done = witness.run("kubectl", "kustomize", overlay.parent)
    assert done.returncode == 0, done.stderr
    [module] = yaml.safe_load_all(done.stdout)
    named = [one["containerImage"] for one in module["spec"]["moduleLoader"]["container"]["kernelMappings"]]
    assert set(named[:-1]) == {f"{REGISTRY}/{there}@{row['digest']}" for row in rows}


def test_what_was_changed_on_its_way_is_not_loaded(kit: Path, copied: Clone, tmp_path: Path) -> None:
    public = key_of(copied, tmp_path)
    foreign = tmp_path / "foreign"
    write_image_pair(foreign)

    def refused(folder: Path, said: str, key: Path = public) -> None:
        run = copied.doit("kit:load", f"--key={key}", str(folder), f"{REGISTRY}/refused")
        assert run.code == 1 and said in run.out and "Traceback" not in run.text, run.text
        assert tags_in(copied, f"refused/{copied.repository}") == set()

    refused(kit, "none of the keys signed it", foreign / PUBLIC_FILE)
    for name, change in {
        "kmm/base/module.yaml": "kmm/base/module.yaml is not what it says", "images.json": "none of the keys signed it",
        "SHA256SUMS": "none of the keys signed it",
    }.items():
        folder = unpacked(kit, tmp_path / name.replace("/", "-"))
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"6.12", b"6.13"))
        refused(folder, change)
    folder = unpacked(kit, tmp_path / "more")
    (folder / "kmm/base/more.yaml").write_text("a: b\n")
    refused(folder, "kmm/base/more.yaml is not in it")
    folder = unpacked(kit, tmp_path / "less")
    largest = max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    refused(folder, "a blob differs from its digest")
    for content in (b"", b"no tar", kit.read_bytes()[:100_000]):
        (tmp_path / "bad.tar").write_bytes(content)
        run = copied.doit("kit:load", f"--key={public}", str(tmp_path / "bad.tar"), PLACE)
        assert run.code == 2 and "is no kit" in run.text and "Traceback" not in run.text, run.text
    run = copied.doit("kit:load", "--key=nowhere.pub", str(kit), PLACE)
    assert run.code == 2 and "--key names" in run.text, run.text


def test_images_for_nodes_that_boot_come_along(copied: Clone, tmp_path: Path) -> None:
    copied.edit("config/profiles/sandbox.yaml", "image_repository:",
                f"kmm: {{boot_repository: '{REGISTRY}/{copied.repository}-boot/{{driver}}'}}\nimage_repository:")
    assert copied.doit(f"release:{DRIVER}").code == 0
    assert copied.doit(f"kit:{DRIVER}").code == 0
    kit = copied.build / "release" / DRIVER / f"{NAME}.tar"
    run = copied.doit("kit:load", str(kit), f"{REGISTRY}/site")
    assert run.code == 0, run.text
    rows = ledger(copied, DRIVER)["cells"]
    there = tags_in(copied, f"site/{copied.repository}-boot/{DRIVER}")
    assert {tag for tag in there if not tag.startswith("sha256-")} == {
        row["kernel"] for row in rows if "+" not in row["kernel"]}
    sets = list(yaml.safe_load_all((unpacked(kit, tmp_path) / "kmm/mirror/mirror-sets.yaml").read_text()))
    assert f"{REGISTRY}/{copied.repository}-boot/{DRIVER}" in [
        one["source"] for one in sets[1]["spec"]["imageTagMirrors"]]


def test_a_kit_without_signatures(copied: Clone, tmp_path: Path) -> None:
    text = (copied.root / "config/profiles/sandbox.yaml").read_text()
    begin = text.index("image_signing:")
    end = text.index("\n", text.index("public_keys", begin))
    (copied.root / "config/profiles/sandbox.yaml").write_text(text[:begin] + text[end + 1:])
    assert copied.doit(f"release:{DRIVER}").code == 0
    assert copied.doit(f"kit:{DRIVER}").code == 0
    kit = copied.build / "release" / DRIVER / f"{NAME}.tar"
    run = copied.doit("kit:load", str(kit), PLACE)
    assert run.code == 2 and "no public key" in run.text, run.text
    run = copied.doit("kit:load", "--unsigned", str(kit), PLACE)
    rows = ledger(copied, DRIVER)["cells"]
    assert run.code == 0 and f"{len(rows)} images: {len(rows)} ok" in run.out, run.text
    assert tags_in(copied, f"mirrored/{copied.repository}") == {row["tags"][0] for row in rows}
