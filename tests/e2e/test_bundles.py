"""Manifests for clusters: from the ledger, by digest, as kubectl renders them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.e2e.test_image_signatures import DRIVER, REGISTRY
from tests.harness import witness
from tests.harness.clone import Clone, registry_login, registry_port
from tests.harness.released import ledger

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def tags_in(clone: Clone, repository: str) -> set[str]:
    answer = requests.get(f"{base(clone, repository)}/tags/list", auth=registry_login(clone.services), timeout=30)
    return set(answer.json()["tags"] if answer.status_code == 200 else ())


def digest_of(clone: Clone, repository: str, name: str) -> str:
    answer = requests.get(f"{base(clone, repository)}/manifests/{name}", headers={"Accept": MANIFEST},
                          auth=registry_login(clone.services), timeout=30)
    return f"sha256:{hashlib.sha256(answer.content).hexdigest()}"


def point_at(clone: Clone, repository: str, tag: str, digest: str) -> None:
    """Have another image under the tag."""
    login, place = registry_login(clone.services), f"{base(clone, repository)}/manifests"
    there = requests.get(f"{place}/{digest}", headers={"Accept": MANIFEST}, auth=login, timeout=30).content
    assert requests.put(f"{place}/{tag}", data=there, headers={"Content-Type": MANIFEST}, auth=login, timeout=30).ok


def base(clone: Clone, repository: str) -> str:
    return f"http://127.0.0.1:{registry_port(clone.services)}/v2/{repository}"


def rendered(folder: Path) -> list[dict[str, Any]]:
    done = witness.run("kubectl", "kustomize", folder)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_a_bundle(copied: Clone, tmp_path: Path) -> None:
    run = copied.doit(f"release:{DRIVER}")
    assert run.code == 0 and run.compiled == [], run.text
    with tarfile.open(copied.build / "release" / DRIVER / "kmm.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    rows = {row["kernel"]: row for row in ledger(copied, DRIVER)["cells"]}
    [module, rule] = sorted(rendered(tmp_path / "kmm"), key=lambda one: str(one["kind"]))
    place = f"{REGISTRY}/{copied.repository}"
    *literal, last = module["spec"]["moduleLoader"]["container"]["kernelMappings"]
    assert {one["literal"]: one["containerImage"] for one in literal} == {
        kernel: f"{place}@{row['digest']}" for kernel, row in rows.items()}
    assert literal[0]["literal"].startswith("6.12")
    assert last["containerImage"] == f"{place}:{DRIVER}-${{KERNEL_FULL_VERSION}}"
    # the rule names what modinfo of the published module names
    assert rule["kind"] == "NodeFeatureRule"
    [entry] = rule["spec"]["rules"][0]["matchAny"]
    assert entry["matchFeatures"][0]["matchExpressions"]["device"]["value"] == ["7164", "7264", "7364"]
    label = rule["spec"]["rules"][0]["labels"]
    assert module["spec"]["selector"] == label
    # an overlay: another namespace, a mirror, other nodes
    [module] = rendered(tmp_path / "kmm/overlays/example")
    assert module["metadata"]["namespace"] == "kmm-drivers"
    images = [one["containerImage"] for one in module["spec"]["moduleLoader"]["container"]["kernelMappings"]]
    assert all(one.startswith(f"mirror.example.com/drivers/{copied.repository}") for one in images)
    assert sum("@sha256:" in one for one in images) == len(rows)
    assert module["spec"]["selector"] == {"node-role.kubernetes.io/worker": ""}


def test_skopeo_mirrors_by_the_list(copied: Clone, tmp_path: Path) -> None:
    """Images by digest, and their signatures; the registry is given by its address, which its name has not here."""
    assert copied.doit(f"release:{DRIVER}").code == 0
    text = (copied.build / "release" / DRIVER / "kmm/mirror/skopeo-sync.yaml").read_text()
    address, login = f"127.0.0.1:{registry_port(copied.services)}", ":".join(registry_login(copied.services))
    (tmp_path / "sync.yaml").write_text(text.replace(f"{REGISTRY}:\n", f'"{address}":\n  tls-verify: false\n'))
    subprocess.run(["skopeo", "sync", "--src=yaml", "--dest=docker", f"--src-creds={login}", f"--dest-creds={login}",
                    "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests",
                    str(tmp_path / "sync.yaml"), f"{address}/synced"], check=True)
    there = f"synced/{copied.repository.rpartition('/')[2]}"
    for row in ledger(copied, DRIVER)["cells"]:
        assert digest_of(copied, there, row["digest"]) == row["digest"]
        assert row["digest"].replace(":", "-") + ".sig" in tags_in(copied, there)


def test_what_users_have_is_checked(copied: Clone, kernels: list[str]) -> None:
    assert copied.doit(f"release:{DRIVER}").code == 0
    place = copied.build / "release" / DRIVER / "kmm"
    written = [str(path) for path in sorted(place.rglob("*.yaml"))]
    run = copied.doit("check", *written, f"--kernel={kernels[0]}")
    assert (run.code, run.processes, run.connections) == (0, [], []), run.text
    assert "nothing found" in run.out
    # an image that there is not, of one kernel; the cluster goes to a release with another one
    module, row = place / "base/module.yaml", ledger(copied, DRIVER)["cells"][0]
    mine = copied.root / "mine.yaml"
    mine.write_text(module.read_text().replace(row["digest"], "sha256:" + "0" * 64))
    run = copied.doit("check", "mine.yaml", "--json")
    [told] = json.loads(run.out)
    assert (run.code, told["rule"], told["file"]) == (1, "unpublished", "mine.yaml")
    assert row["kernel"] in mine.read_text().splitlines()[told["line"] - 2]
    run = copied.doit("check", "--kernel=6.99.1-1.x86_64", *written)
    assert run.code == 1 and f"no image {DRIVER}-6.99.1-1.x86_64" in run.out, run.text
    mine.write_bytes(b"a: [")
    # a pipe, to its end, however slowly it comes
    done = subprocess.run(["bash", "-c", f"{copied.command('check')[0]} {' '.join(copied.command('check')[1:])}"
                           f" <(sleep 1; cat {module}; sleep 1; echo ---; sed s/sha256:/sha256:x/ {module})"],
                          cwd=copied.root, env=copied.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "image-name" in done.stdout, done.stdout + done.stderr
    for bad in ("mine.yaml", "nowhere.yaml", "config"):
        run = copied.doit("check", bad)
        assert run.code == 2 and "Traceback" not in run.text, run.text


def test_a_bundle_follows_the_ledger(copied: Clone) -> None:
    assert copied.doit(f"release:{DRIVER}").code == 0
    place = copied.build / "release" / DRIVER / "kmm"
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert copied.doit(f"release:{DRIVER}").processes == []
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    # a setting of the profile
    copied.edit("config/profiles/sandbox.yaml", "image_repository:",
                "kmm: {namespace: here, image_repo_secret: pull, mirror: mirror.example.org}\nimage_repository:")
    run = copied.doit(f"bundle:{DRIVER}")
    assert run.code == 0 and run.compiled == [], run.text
    [module] = yaml.safe_load_all((place / "base/module.yaml").read_bytes())
    assert module["metadata"]["namespace"] == "here" and module["spec"]["imageRepoSecret"] == {"name": "pull"}
    (place / "base/module.yaml").unlink()
    assert copied.doit(f"bundle:{DRIVER}").code == 0
    assert (place / "base/module.yaml").exists()


def mapped(clone: Clone) -> dict[str, str]:
    [module] = yaml.safe_load_all((clone.build / "release" / DRIVER / "kmm/base/module.yaml").read_bytes())
    return {one.get("literal", ""): one["containerImage"]
            for one in module["spec"]["moduleLoader"]["container"]["kernelMappings"]}


def test_a_part_of_a_bundle(copied: Clone, kernels: list[str]) -> None:
    assert copied.doit(f"release:{DRIVER}").code == 0
    rows = {row["kernel"]: row for row in ledger(copied, DRIVER)["cells"]}
    whole = mapped(copied)
    for options, wanted in {
        (f"--kernels={kernels[0]}",): {kernels[0], ""}, ("--kernels", "6.1.*", "--no-fallback"): {*kernels[:2]},
        (f"--releases={rows[kernels[2]]['releases'][0]}", "--no-fallback"): {kernels[2]},
        ("--minor", rows[kernels[0]]["releases"][0].rpartition(".")[0], "--kernels", kernels[0]): {kernels[0], ""},
    }.items():
        run = copied.doit(f"bundle:{DRIVER}", *options)
        assert run.code == 0 and set(mapped(copied)) == wanted, run.text
        assert "1 up to date" in copied.doit(f"bundle:{DRIVER}", *options).text
    place = copied.build / "release" / DRIVER / "kmm/preflight"
    assert copied.doit(f"bundle:{DRIVER}", "--kmm=2.4").code == 0
    assert {yaml.safe_load(path.read_bytes())["kind"] for path in place.iterdir()} == {"PreflightValidation"}
    for options, said in {
        ("--kernels=7.*",): "no image of", ("--kmm=1",): "no release of KMM", ("--kmm=2.4x",): "no release of KMM",
    }.items():
        run = copied.doit(f"bundle:{DRIVER}", *options)
        assert run.code != 0 and said in run.text and "Traceback" not in run.text, run.text
    run = copied.doit("bundle", "--minor=4.20")
    assert run.code == 2 and "go with one driver" in run.text, run.text
    assert copied.doit(f"release:{DRIVER}").code == 0  # the release has all of it
    assert mapped(copied) == whole


def test_images_by_kernel_alone(copied: Clone, kernels: list[str]) -> None:
    copied.edit("config/profiles/sandbox.yaml", "image_repository:",
                f"kmm: {{boot_repository: '{REGISTRY}/{copied.repository}-boot/{{driver}}'}}\nimage_repository:")
    run = copied.doit(f"release:{DRIVER}")
    assert run.code == 0 and run.compiled == [], run.text
    rows = {row["kernel"]: row for row in ledger(copied, DRIVER)["cells"]}
    there = f"{copied.repository}-boot/{DRIVER}"
    taken = [kernel for kernel in kernels if "+" not in kernel]
    assert {name for name in tags_in(copied, there) if not name.startswith("sha256-")} == set(taken)
    assert len(taken) < len(kernels) and "can be no tag" in run.text
    config = yaml.safe_load((copied.build / "release" / DRIVER / "kmm/boot/boot-module-config.yaml").read_bytes())
    image = config["spec"]["kernelModuleImage"]
    assert image == f"{REGISTRY}/{there}"
    for kernel in taken:  # as the node asks for it
        assert digest_of(copied, there, kernel) == rows[kernel]["digest"]
    assert copied.doit(f"release:{DRIVER}").processes == []
    # somebody else's image under such a tag is left alone
    record = copied.build / "release" / DRIVER / "day1.json"
    record.unlink()
    point_at(copied, there, taken[0], rows[taken[1]]["digest"])
    run = copied.doit(f"day1:{DRIVER}")
    assert run.code == 1 and "which the ledger does not know" in run.text, run.text


def test_nothing_published_is_said(copied: Clone) -> None:
    run = copied.doit(f"bundle:{DRIVER}")
    assert run.code == 0 and f"{DRIVER} has no image in a registry" in run.text, run.text
    assert not (copied.build / "release" / DRIVER / "kmm").exists()
