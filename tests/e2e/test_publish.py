"""`doit publish` in the sandbox: once, proven, told in a ledger that a fresh checkout finds."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import requests

from foundry.base.names import KEY_LABEL, tag_of
from foundry.formats.modules.signature import signed, split
from foundry.signing.certificate import read_certificate
from foundry.signing.keys import open_signer
from foundry.signing.new import CERTIFICATE_FILE, KEY_FILE, write_pair
from tests.harness.clone import AccessLogs, Clone, registry_login, registry_port
from tests.harness.registry import LAYER, OCI_MANIFEST, Pusher, tar_of
from tests.harness.released import beside, images, ledger, manifests

DRIVER = "2.22.2.0"


def writes(lines: list[str]) -> list[str]:
    return [line for line in lines if any(f'"{verb} ' in line for verb in ("PUT", "POST", "PATCH", "DELETE"))]


def test_published_once_and_never_twice(copied: Clone, access: AccessLogs, tmp_path: Path) -> None:
    cells = {tag_of(name): row["digest"] for name, row in copied.status().items()}
    archives = sorted(path.parent.name for path in copied.build.glob("cells/*/image.oci.tar"))
    run = copied.doit("publish")
    assert run.code == 0, run.text
    assert run.compiled == []
    assert images(copied) == cells
    assert archives
    assert not list(copied.build.glob("cells/*/image.oci.tar")), "what is published needs no archive"
    rows = {f"{one['driver']}-{row['kernel']}": row for one in (
        json.loads(path.read_text()) for path in copied.build.glob("release/*/images.json")) for row in one["cells"]}
    assert {tag_of(name): row["digest"] for name, row in rows.items()} == cells
    for row in rows.values():
        assert row["registries"] == [f"registry.sandbox.internal/{copied.repository}"]
        assert row["releases"] and row["key"] and row["toolkit"] and row["content_sha256"] and row["published"]
    assert {row["state"] for row in copied.status().values()} == {"published"}
    access.new()
    run = copied.doit("publish")
    assert (run.code, run.processes, run.connections, access.new()) == (0, [], [], [])
    # A fresh checkout asks for the ledgers, proves each row by its manifest, its config and the signature with what
    # is signed, and asks nothing else.
    fresh = copied.checkout(tmp_path / "fresh")
    access.new()
    run = fresh.doit("publish")
    assert run.code == 0, run.text
    assert run.processes == [], "neither toolkit nor compiler"
    asked = access.new()
    published = list(fresh.status().values())
    assert len(asked) <= 4 * len({one["driver"] for one in published}) + 4 * len(published), asked
    assert writes(asked) == []
    assert {row["state"] for row in fresh.status().values()} == {"published"}
    run = fresh.doit("publish")
    assert (run.code, run.processes, run.connections, access.new()) == (0, [], [], [])


def test_a_push_leaves_its_row_here_and_another_checkout_collects_it(copied: Clone, tmp_path: Path) -> None:
    """One machine writes ledgers: what another one pushed is known when that one has collected it."""
    cell = next(name for name in sorted(copied.status()) if name.startswith(DRIVER))
    run = copied.doit(f"push:{cell}")
    assert run.code == 0, run.text
    [digest] = images(copied).values()
    assert sorted(manifests(copied)) == sorted([tag_of(cell), *beside(digest)]), "no ledger"
    assert copied.record(cell, "push")["row"] == ledger(copied, DRIVER)["cells"][0]
    fresh = copied.checkout(tmp_path / "fresh")
    run = fresh.doit("collect", str(copied.build), str(tmp_path / "lost"))
    assert (run.code, run.out) == (0, f"{copied.build}: 1 published, {len(copied.status()) - 1} neither\n")
    assert "lost: no shard left anything here" in run.err
    run = fresh.doit("run", "--no-build", f"release:{DRIVER}")
    assert run.code == 1, "other cells are pending"
    assert run.compiled == []
    third = copied.checkout(tmp_path / "third")
    assert third.doit("shards").code == 0
    assert ledger(fresh, DRIVER)["cells"] == ledger(third, DRIVER)["cells"]
    states = {name: row["state"] for name, row in fresh.status().items() if name.startswith(DRIVER)}
    assert states == {name: "published" if name == cell else "pending" for name in states}
    assert all(f"{name} is not published" in run.text for name in states if name != cell)
    assert fresh.doit("run", "--no-build", "build").code == 2


def test_blobs_that_images_share_are_sent_once(copied: Clone, access: AccessLogs) -> None:
    archives = list(copied.build.glob("cells/*/image.oci.tar"))
    cells = len(archives)
    access.new()
    assert copied.doit("publish").code == 0
    puts = [line for line in access.new() if '"PUT ' in line and "/blobs/uploads/" in line]
    ledgers = len({row["driver"] for row in copied.status().values()})
    # each image has a config and a layer of its own, a signature and four bundles; base and licences are common;
    # ledgers are signed, and all share an empty config
    assert len(puts) <= (3 + 4) * cells + 3 + 2 * ledgers + 1, puts


def test_a_changed_cell_replaces_its_tag_and_says_why(copied: Clone) -> None:
    assert copied.doit("publish").code == 0
    before = images(copied)
    copied.edit("config/profiles/sandbox.yaml", "vendor: kmod-foundry", "vendor: kmod-foundry two")
    assert {row["state"] for row in copied.status().values()} == {"pending"}
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 0, run.text
    assert run.compiled == [], "labels alone changed"
    after = images(copied)
    changed = {tag for tag, found in after.items() if found != before[tag]}
    assert changed == {tag for tag in before if tag.startswith(DRIVER)}
    for row in ledger(copied, DRIVER)["cells"]:
        [tag] = row["tags"]
        assert row["replaces"] == {
            "digest": before[tag], "key": row["replaces"]["key"], "reason": "changed: the labels"}


def test_a_tag_of_somebody_else_is_not_overwritten(copied: Clone) -> None:
    """The registry has another image under the tag, and no ledger that knows it. One cell is enough to see it."""
    copied.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16"]}])
    other = copied.checkout(copied.root.with_name("other"))
    other.copy_state(copied, "cells", "sources")
    other.edit("config/profiles/sandbox.yaml", "vendor: kmod-foundry", "vendor: somebody else")
    assert other.doit(f"publish:{DRIVER}").code == 0
    before = images(copied)
    for path in (copied.build / "release").glob("*"):
        shutil.rmtree(path)
    delete_ledgers(copied)
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 1
    assert "images that the ledger does not know; nothing was built" in run.text
    assert all(words in run.text for words in ("`doit adopt`", "`leave_tags`", "FORCE_BUILD=true"))
    assert images(copied) == before
    run = copied.doit(f"publish:{DRIVER}", FORCE_BUILD="true")
    assert run.code == 0, run.text
    assert set(images(copied)) == set(before)
    assert not set(images(copied).values()) & set(before.values())
    assert {row["replaces"]["reason"] for row in ledger(copied, DRIVER)["cells"]} == {"FORCE_BUILD is set"}


def push_as_scripts_did(clone: Clone, name: str, **labels: str) -> str:
    """A built cell's image under its tag, without our label and with these instead of its own; its digest."""
    from foundry.formats.images.oci import read_archive

    image = read_archive(clone.cell(name) / "image.oci.tar")
    manifest = json.loads(image.blobs[image.digest])
    own = json.loads(image.blobs[manifest["config"]["digest"]])["config"]["Labels"]
    kept = {label: text for label, text in own.items() if label != KEY_LABEL}
    pusher = Pusher(f"127.0.0.1:{registry_port(clone.services)}", clone.repository, registry_login(clone.services))
    pushed = pusher.image([image.blobs[layer["digest"]] for layer in manifest["layers"]], labels=kept | labels,
                          tag=tag_of(name))
    return str(pushed["digest"])


def test_tags_that_the_shell_scripts_filled(copied: Clone, tmp_path: Path, access: AccessLogs) -> None:
    """They are found before anything is compiled; then they are taken over, left alone or replaced."""
    copied.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16.30", "4.17", "4.18.16"]}])
    good, bad = list(copied.status())[:2]
    before = {tag_of(good): push_as_scripts_did(copied, good),
              tag_of(bad): push_as_scripts_did(copied, bad, **{"kernel-version": "5.14.0-1.el9_4.x86_64"})}
    fresh = copied.checkout(tmp_path / "fresh")
    run = fresh.doit(f"publish:{DRIVER}")
    assert (run.code, run.compiled) == (1, []), run.text
    assert all(tag in run.text for tag in before)
    assert images(fresh) == before

    run = copied.doit("adopt")
    assert run.code == 1, run.text
    assert run.compiled == []
    assert f"ok   registry.sandbox.internal/{copied.repository}:{tag_of(good)}" in run.out
    assert f"BAD  registry.sandbox.internal/{copied.repository}:{tag_of(bad)}" in run.out
    assert "its label kernel-version is '5.14.0-1.el9_4.x86_64', not " in run.out
    [row] = ledger(copied, DRIVER)["cells"]
    assert (row["tags"], row["replaces"]["digest"]) == ([tag_of(good)], before[tag_of(good)])
    assert images(copied) == {tag_of(good): row["digest"], tag_of(bad): before[tag_of(bad)]}
    url = f"http://127.0.0.1:{registry_port(copied.services)}/v2/{copied.repository}/blobs/{row['config_digest']}"
    labels = requests.get(url, auth=registry_login(copied.services), timeout=10).json()["config"]["Labels"]
    assert labels["kmod-foundry.adopted"] == before[tag_of(good)], "the image alone says that others built it"
    assert copied.status()[good]["state"] == "published"
    assert copied.doit("verify", DRIVER).code == 0

    copied.edit("config/defaults.yaml", "leave_tags: []", f"leave_tags: ['{tag_of(bad)}']")
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 0, run.text
    assert f"`leave_tags` leaves images of others alone: {tag_of(bad)}" in run.text
    assert images(copied)[tag_of(bad)] == before[tag_of(bad)]
    assert bad not in copied.status()
    copied.edit("config/defaults.yaml", f"leave_tags: ['{tag_of(bad)}']", "leave_tags: []")
    assert copied.doit(f"publish:{DRIVER}", FORCE_BUILD="true").code == 0
    assert images(copied)[tag_of(bad)] != before[tag_of(bad)]
    fresh = copied.checkout(tmp_path / "later")
    assert fresh.doit(f"publish:{DRIVER}").compiled == [], "the ledger is believed elsewhere"


def delete_ledgers(clone: Clone) -> None:
    for tag, found in manifests(clone).items():
        if tag.startswith("ledger-"):
            url = f"http://127.0.0.1:{registry_port(clone.services)}/v2/{clone.repository}/manifests/{found}"
            assert requests.delete(url, auth=registry_login(clone.services), timeout=30).status_code == 202


def test_killed_between_push_and_ledger(copied: Clone, tmp_path: Path) -> None:
    """The ledger is lost everywhere; what the registry has is adopted: nothing is sent or compiled again."""
    cells = {tag_of(name): row["digest"] for name, row in copied.status().items()}
    process = subprocess.Popen(
        copied.command("publish"), cwd=copied.root, env=copied.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not images(copied) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.rmtree(copied.build / "release", ignore_errors=True)
    delete_ledgers(copied)
    run = copied.doit("publish")
    assert run.code == 0, run.text
    assert run.compiled == []
    assert images(copied) == cells
    assert {row["state"] for row in copied.status().values()} == {"published"}
    ledgers = {f"ledger-{row['driver']}" for row in copied.status().values()}
    assert set(manifests(copied)) - set(cells) == ledgers.union(*map(beside, cells.values()))


def test_one_bad_cell_hides_nothing(copied: Clone) -> None:
    """What could be published is, with its ledger; the run fails. All must be compiled anew."""
    copied.write("build-matrix.json", [
        {"driver": "2.16.7.0", "ocp_versions": ["4.16"]}, {"driver": DRIVER, "ocp_versions": ["4.16", "4.17"]},
    ])
    bad = min(copied.status())
    (copied.cell(bad) / "image.json").unlink()
    (copied.cell(bad) / "module.json").unlink()
    copied.edit("container/build-module.sh", "set -eu", "set -eu\n# changed\n")
    copied.edit("container/build-module.sh", "# changed", f'[ "$KERNEL" != "{bad.partition("-")[2]}" ] || exit 9')
    run = copied.doit("publish")
    assert run.code == 1
    failed = {name for name, row in copied.status().items() if row["state"] == "failed"}
    assert bad in failed
    published = {name for name, row in copied.status().items() if row["state"] == "published"}
    assert published == set(copied.status()) - failed
    assert set(images(copied)) == {tag_of(name) for name in published}
    assert any(tag.startswith("ledger-") for tag in manifests(copied))


def test_further_tags(copied: Clone) -> None:
    copied.edit("config/defaults.yaml", "extra_tags: []", 'extra_tags: ["{driver}-ocp{release}-{kernel}"]')
    assert copied.doit("publish").code == 0
    rows = ledger(copied, DRIVER)["cells"]
    for row in rows:
        assert row["tags"][1:] == [
            f"{DRIVER}-ocp{release}-{row['kernel']}".replace("+", "_") for release in row["releases"]]
        assert {images(copied)[tag] for tag in row["tags"]} == {row["digest"]}


def test_export_compares_the_registry_with_the_ledger(copied: Clone) -> None:
    assert copied.doit("publish").code == 0
    run = copied.doit("export")
    assert run.code == 0, run.text
    rows = list(csv.DictReader(io.StringIO(run.out)))
    assert {row["tag"]: row["digest"] for row in rows} == images(copied)
    assert {row["state"] for row in rows} == {"ok"}
    for row in rows:
        assert row["image"] == f"registry.sandbox.internal/{copied.repository}@{row['digest']}"
        assert int(row["size"]) > 100_000
        assert row["releases"] and row["kernel"] and row["pushed"].endswith("Z")
        assert (row["family"], row["arch"], row["flavour"]) == ("neuron", "x86_64", "default")
    gone, stray = rows[0], "9.9-stray"
    api = f"http://127.0.0.1:{registry_port(copied.services)}/v2/{copied.repository}/manifests"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    login = registry_login(copied.services)
    kept = requests.get(f"{api}/{rows[1]['digest']}", headers=accept, auth=login, timeout=30)
    put = requests.put(f"{api}/{stray}", data=kept.content, headers={"Content-Type": kept.headers["Content-Type"]},
                       auth=login, timeout=30)
    assert put.status_code == 201
    assert requests.delete(f"{api}/{gone['digest']}", auth=login, timeout=30).status_code == 202
    run = copied.doit("export", "--json")
    assert run.code == 1
    found = {row["tag"]: row for row in json.loads(run.out)}
    assert found[gone["tag"]]["state"] == "not in registry"
    assert found[stray]["state"] == "not in ledger"
    assert found[rows[1]["tag"]]["state"] == "ok"
    assert f"warning: {gone['tag']}: not in registry" in run.err


def test_verify_looks_at_what_is_published(copied: Clone) -> None:
    assert copied.doit("publish").code == 0
    run = copied.doit("verify")
    assert run.code == 0, run.text
    assert len([line for line in run.out.splitlines() if line.startswith("ok ")]) == len(images(copied))
    assert run.compiled == []
    assert "1 images" in copied.doit("verify", "--sample=1").out
    run = copied.doit("verify", "--tags")
    assert (run.code, run.processes) == (0, []), "no toolkit is pulled, no container started"
    # somebody changes what the ledger says, or the registry's content
    path = copied.build / "release" / DRIVER / "images.json"
    document = ledger(copied, DRIVER)
    first, second = document["cells"][:2]
    first["digest"], second["digest"] = second["digest"], first["digest"]
    path.write_text(json.dumps(document))
    run = copied.doit("verify", DRIVER)
    assert run.code == 1
    assert "neuron.ko is missing" in run.out
    assert "not the ledger's key" in run.out
    assert f"its tag {first['tags'][0]} is" in run.out
    assert "Traceback" not in run.text
    assert copied.doit("verify", "nope").code == 2
    first["digest"], second["digest"] = second["digest"], with_another_module(copied, first, second["kernel"])
    path.write_text(json.dumps(document))
    run = copied.doit("verify", DRIVER)
    assert run.code == 1
    assert "gate vermagic" in run.out


def test_verify_looks_at_signatures_and_proofs(copied: Clone, tmp_path: Path) -> None:
    """The certificate in the image signed its modules, and is the ledger's; the modules that were booted are these."""
    assert copied.doit("publish").code == 0
    document = ledger(copied, DRIVER)
    row = document["cells"][0]
    document["cells"] = [row]
    path = copied.build / "release" / DRIVER / "images.json"
    folder = f"opt/lib/modules/{row['kernel']}"
    module = (copied.cell(f"{DRIVER}-{row['kernel']}") / "signed/neuron.ko").read_bytes()
    good, proof = row["digest"], {"outcome": "proven", "key": "0" * 64, "modules": {
        "neuron.ko": hashlib.sha256(module).hexdigest()}}

    def verified(digest: str = good, **said: Any) -> tuple[int, str]:
        path.write_text(json.dumps({**document, "cells": [{**row, "digest": digest, **said}]}))
        run = copied.doit("verify", DRIVER)
        assert "Traceback" not in run.text
        return run.code, run.out

    assert verified(proof=proof)[0] == 0
    other = {**proof, "modules": {"neuron.ko": "1" * 64, "gone.ko": "2" * 64}}
    code, out = verified(proof=other)
    assert code == 1 and "neuron.ko is not the module that was booted" in out
    assert "gone.ko is not the module that was booted" in out
    code, out = verified(signature={**row["signature"], "certificate": "3" * 64})
    assert code == 1 and "the ledger has" in out and "3" * 64 in out

    write_pair(tmp_path, "kmod-foundry sandbox", years=1)
    stranger = open_signer(KEY_FILE, read_certificate(tmp_path / CERTIFICATE_FILE), {}, tmp_path)
    bare, _ = split(module)
    for content, said in (
        (bare, "neuron.ko: the module is not signed"), (module[:-1], "cut off"),
        (signed(bare, stranger, "sha256"), "; the certificate is that of "),
        (bare[:-1] + b"x" + module[len(bare):], "changed after it was signed"),
    ):
        code, out = verified(with_files(copied, row, {f"{folder}/neuron.ko": content}), proof=proof)
        assert code == 1 and said in out, out
        assert "neuron.ko is not the module that was booted" in out
    code, out = verified(with_files(copied, row, {"licenses/module-signing.der": stranger.certificate.der}))
    assert code == 1 and "/licenses/module-signing.der is missing or not the certificate that its labels name" in out


def with_another_module(clone: Clone, row: dict[str, Any], kernel: str) -> str:
    """The image of a row (its digest is in the registry) with a module of another kernel on top; the new digest."""
    module = next(clone.build.glob(f"cells/{DRIVER}-{row['kernel']}/neuron.ko")).read_bytes()
    return with_files(clone, row, {f"opt/lib/modules/{kernel}/neuron.ko": module})


def with_files(clone: Clone, row: dict[str, Any], files: dict[str, bytes]) -> str:
    """The image of a row with these files on top; the new digest."""
    registry = f"127.0.0.1:{registry_port(clone.services)}"
    login = registry_login(clone.services)
    pusher = Pusher(registry, clone.repository, auth=login)
    base = f"http://{registry}/v2/{clone.repository}"
    old = requests.get(f"{base}/manifests/{row['digest']}", headers={"Accept": OCI_MANIFEST}, auth=login,
                       timeout=30).json()
    config = requests.get(f"{base}/blobs/{old['config']['digest']}", auth=login, timeout=30).json()
    layer = tar_of(files)
    config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(layer).hexdigest()}")
    made = pusher.manifest({
        **old, "config": {**old["config"], **pusher.blob(json.dumps(config).encode())},
        "layers": [*old["layers"], {"mediaType": LAYER, **pusher.blob(layer)}],
    })
    return str(made["digest"])


def test_the_registry_is_down(copied: Clone) -> None:
    """Nothing is taken for unpublished because nobody answers."""
    copied.edit("config/profiles/sandbox.yaml", "registry: registry.sandbox.internal", "registry: 127.0.0.1:1")
    assert copied.doit("build").code == 0, "what is built here needs no ledger"
    (copied.cell(min(copied.status())) / "image.json").unlink()
    for command in ("build", "export"):
        run = copied.doit(command)
        assert run.code == 3, (command, run.text)
        assert "can't be reached" in run.err
        assert run.compiled == []
    assert "the profile local builds without asking" in copied.doit("build").err
    assert copied.doit("list").code == 0


def test_force_build_pushes_what_it_built(copied: Clone) -> None:
    """Also where the ledger has the same key: somebody put another image with it under the tag."""
    assert copied.doit("publish").code == 0
    row = ledger(copied, DRIVER)["cells"][0]
    [tag] = row["tags"]
    other = with_another_module(copied, row, row["kernel"])
    base = f"http://127.0.0.1:{registry_port(copied.services)}/v2/{copied.repository}/manifests"
    login = registry_login(copied.services)
    made = requests.get(f"{base}/{other}", headers={"Accept": OCI_MANIFEST}, auth=login, timeout=30)
    requests.put(f"{base}/{tag}", data=made.content, headers={"Content-Type": OCI_MANIFEST}, auth=login, timeout=30)
    assert images(copied)[tag] == other != row["digest"]
    run = copied.doit("verify", "--tags")
    assert run.code == 1 and f"its tag {tag} is {other}" in run.out and run.processes == []
    run = copied.doit(f"push:{DRIVER}-{row['kernel']}", FORCE_BUILD="true")
    assert run.code == 0, run.text
    assert len(run.compiled) == 1
    assert images(copied)[tag] == row["digest"], "the same inputs, the same bytes"
    assert ledger(copied, DRIVER)["cells"][0]["replaces"]["reason"] == "FORCE_BUILD is set"
