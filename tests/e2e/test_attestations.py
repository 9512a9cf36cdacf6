"""Provenance, bills of materials and test results lie signed beside images; consumers' own programs read them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shlex
import shutil
import tarfile
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from foundry.signing.new import PUBLIC_FILE, write_image_pair
from tests.e2e.test_image_signatures import DRIVER, REGISTRY, Consumer, delete, put
from tests.harness import witness
from tests.harness.clone import AccessLogs, Clone, registry_login, registry_port
from tests.harness.released import images, ledger, manifests

TYPES = {"provenance": "slsaprovenance1", "sbom": "cyclonedx",
         "test-result": "https://in-toto.io/attestation/test-result/v0.1"}
INDEX = "application/vnd.oci.image.index.v1+json"


def attested(consumer: Consumer, digest: str, public: Path, kind: str) -> list[bytes]:
    """The statements of a kind that cosign believes; none where it believes none."""
    trusted = consumer.folder / "trusted_root.json"
    trusted.write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    done = witness.run(
        "cosign", "verify-attestation", "--new-bundle-format", "--key", public, "--insecure-ignore-tlog=true",
        f"--trusted-root={trusted}", "--allow-http-registry", f"--type={TYPES[kind]}",
        f"{consumer.place}/{consumer.clone.repository}@{digest}", DOCKER_CONFIG=str(consumer.folder))
    if done.returncode != 0:
        assert "tuf" not in done.stderr, done.stderr
        return []
    return [base64.b64decode(json.loads(line)["payload"]) for line in done.stdout.splitlines() if line]


def get(clone: Clone, what: str) -> bytes:
    url = f"http://127.0.0.1:{registry_port(clone.services)}/v2/{clone.repository}/{what}"
    accept = {"Accept": f"{INDEX}, application/vnd.oci.image.manifest.v1+json"}
    answer = requests.get(url, headers=accept, auth=registry_login(clone.services), timeout=30)
    assert answer.status_code == 200, (url, answer.text)
    return answer.content


def referrers_tag(digest: str) -> str:
    return digest.replace(":", "-")


def list_of(clone: Clone, digest: str) -> dict[str, Any]:
    """The list of what refers to an image, as the registry has it under its tag."""
    found: dict[str, Any] = json.loads(get(clone, f"manifests/{referrers_tag(digest)}"))
    return found


def put_list(clone: Clone, digest: str, entries: list[dict[str, Any]]) -> None:
    put(clone, referrers_tag(digest), json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), INDEX)


def put_blob(clone: Clone, data: bytes) -> str:
    base = f"http://127.0.0.1:{registry_port(clone.services)}/v2/{clone.repository}/blobs/uploads/"
    login, digest = registry_login(clone.services), f"sha256:{hashlib.sha256(data).hexdigest()}"
    begun = requests.post(base, auth=login, timeout=30)
    answer = requests.put(begun.headers["Location"], params={"digest": digest}, data=data, auth=login, timeout=30)
    assert answer.status_code == 201
    return digest


def files_in(clone: Clone, digest: str) -> dict[str, bytes]:
    """The plain files of an image, unpacked by Python's own tarfile."""
    found: dict[str, bytes] = {}
    for layer in json.loads(get(clone, f"manifests/{digest}"))["layers"]:
        with tarfile.open(fileobj=io.BytesIO(get(clone, f"blobs/{layer['digest']}"))) as archive:
            for member in archive:
                if member.isfile():
                    reader = archive.extractfile(member)
                    assert reader is not None
                    found[member.name] = reader.read()
    return found


def statement(consumer: Consumer, digest: str, public: Path, kind: str) -> dict[str, Any]:
    [payload] = attested(consumer, digest, public, kind)
    found: dict[str, Any] = json.loads(payload)
    assert found["subject"][0]["digest"] == {"sha256": digest.removeprefix("sha256:")}
    return dict(found["predicate"])


def test_consumers_read_what_is_attested(copied: Clone, access: AccessLogs, tmp_path: Path) -> None:
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 0 and run.compiled == [], run.text
    public, consumer = copied.build / "keys" / PUBLIC_FILE, Consumer(copied, tmp_path / "consumer")
    write_image_pair(tmp_path / "other")
    rows = ledger(copied, DRIVER)["cells"]
    for row in rows:
        for kind in TYPES:
            [payload] = attested(consumer, row["digest"], public, kind)
            assert hashlib.sha256(payload).hexdigest() == row["attestations"][kind]
            assert attested(consumer, row["digest"], tmp_path / "other" / PUBLIC_FILE, kind) == []
    row = rows[0]
    cell = copied.build / "cells" / f"{DRIVER}-{row['kernel']}"

    build = statement(consumer, row["digest"], public, "provenance")["buildDefinition"]
    assert build["externalParameters"] == {"driver": DRIVER, "family": "neuron", "kernel": row["kernel"],
                                           "arch": row["arch"]}
    assert build["internalParameters"]["key"] == row["key"]
    into = {one["name"]: one for one in build["resolvedDependencies"]}
    package = copied.build / "sources" / DRIVER / "package.rpm"
    assert into["aws-neuronx-dkms"]["digest"] == {"sha256": hashlib.sha256(package.read_bytes()).hexdigest()}
    assert into["aws-neuronx-dkms"]["annotations"]["signer"] == (
        copied.build / "keys/neuron.fingerprint").read_text().strip()
    assert into["toolkit"]["uri"] == f"docker://{row['toolkit']}"
    for name in ("build-module.sh", "Containerfile"):
        content = (copied.root / "container" / name).read_bytes()
        assert into[name]["digest"] == {"sha256": hashlib.sha256(content).hexdigest()}

    bill = statement(consumer, row["digest"], public, "sbom")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    named = {part["hashes"][0]["content"]: part for part in bill["components"]}
    there = {hashlib.sha256(data).hexdigest(): name for name, data in files_in(copied, row["digest"]).items()}
    assert named.keys() == there.keys()
    module = named[hashlib.sha256((cell / "signed/neuron.ko").read_bytes()).hexdigest()]
    assert (module["type"], module["name"], module["version"]) == ("device-driver", "neuron", DRIVER)
    [busybox] = [part for part in bill["components"] if part["type"] == "application"]
    assert busybox["version"] in busybox["cpe"] and busybox["purl"] == f"pkg:generic/busybox@{busybox['version']}"

    result = statement(consumer, row["digest"], public, "test-result")
    assert result["result"] == "PASSED" and result["failedTests"] == []
    assert any("neuron.ko: vermagic" in one and row["kernel"] in one for one in result["passedTests"])

    # attached once: a second run, and one that must look for itself, leave what is there
    before = manifests(copied)
    access.new()
    assert copied.doit(f"publish:{DRIVER}").code == 0
    assert access.new() == []
    for path in (copied.build / "release" / DRIVER).iterdir():
        path.unlink()
    assert copied.doit(f"publish:{DRIVER}").code == 0
    assert not any('"PUT ' in line or '"POST ' in line for line in access.new() if "ledger-" not in line
                   and "/blobs/" not in line)
    assert {tag: at for tag, at in manifests(copied).items() if tag.startswith("sha256-")} == {
        tag: at for tag, at in before.items() if tag.startswith("sha256-")}
    assert [one["attestations"] for one in ledger(copied, DRIVER)["cells"]] == [one["attestations"] for one in rows]


def test_the_same_provenance_when_made_again(copied: Clone) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    rows = ledger(copied, DRIVER)["cells"]
    run = copied.doit(f"publish:{DRIVER}", FORCE_BUILD="true")
    assert run.code == 0 and len(run.compiled) == len(rows), run.text
    for one, other in zip(rows, ledger(copied, DRIVER)["cells"], strict=True):
        assert one["digest"] == other["digest"]
        for kind in ("provenance", "sbom"):
            assert one["attestations"][kind] == other["attestations"][kind]


@pytest.mark.parametrize("how", ["stripped", "moved", "changed"])
def test_what_was_tampered_with_is_not_believed(copied: Clone, tmp_path: Path, how: str) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    public, consumer = copied.build / "keys" / PUBLIC_FILE, Consumer(copied, tmp_path / "consumer")
    [bad, good, *_] = sorted(images(copied).values())
    if how == "stripped":
        put_list(copied, bad, [one for one in list_of(copied, bad)["manifests"]
                               if "provenance" not in json.dumps(one["annotations"])])
    elif how == "moved":  # signed by us, about another image
        put_list(copied, bad, list_of(copied, good)["manifests"])
    else:
        entries = list_of(copied, bad)["manifests"]
        [entry] = [one for one in entries if "provenance" in json.dumps(one["annotations"])]
        manifest = json.loads(get(copied, f"manifests/{entry['digest']}"))
        bundle = json.loads(get(copied, f"blobs/{manifest['layers'][0]['digest']}"))
        payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
        changed = payload.replace(b'"driver":"2.22.2.0"', b'"driver":"2.22.2.1"')
        assert changed != payload
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()
        data = json.dumps(bundle).encode()
        manifest["layers"][0] |= {"digest": put_blob(copied, data), "size": len(data)}
        made = json.dumps(manifest).encode()
        digest = put(copied, f"sha256:{hashlib.sha256(made).hexdigest()}", made, manifest["mediaType"])
        entries[entries.index(entry)] = {**entry, "digest": digest, "size": len(made)}
        put_list(copied, bad, entries)
    assert attested(consumer, bad, public, "provenance") == []
    assert len(attested(consumer, good, public, "provenance")) == 1
    run = copied.doit("verify", DRIVER)
    assert run.code == 1 and "its provenance, which the ledger names, is not beside it" in run.text, run.text
    assert run.text.count("BAD") == 1


def test_a_list_that_is_none_stops_the_push_and_the_next_run_attests(copied: Clone) -> None:
    """The registry took the image, and its statements could not be attached: nothing is published, the rest is."""
    [bad, *others] = sorted((row["digest"], name) for name, row in copied.status().items() if row["driver"] == DRIVER)
    config = put_blob(copied, b"{}")
    image = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}}).encode()
    in_the_way = put(copied, referrers_tag(bad[0]), image, "application/vnd.oci.image.manifest.v1+json")
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 1 and "something else than a list of an image's referrers" in run.text, run.text
    assert {row["digest"] for row in ledger(copied, DRIVER)["cells"]} == {digest for digest, _ in others}
    delete(copied, in_the_way)
    run = copied.doit(f"publish:{DRIVER}")
    assert (run.code, run.compiled, run.imaged) == (0, [], 0), run.text
    assert len(ledger(copied, DRIVER)["cells"]) == len(others) + 1
    assert copied.doit("verify", DRIVER).code == 0


def commands(readme: str) -> list[list[str]]:
    """The lines of a page's shell blocks that consumers can run here."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith(("cosign ", "skopeo "))]


def test_the_commands_for_consumers(copied: Clone, tmp_path: Path) -> None:
    """Each line of ``verify/README.md`` as it stands there, but for where the sandbox's registry is served."""
    assert copied.doit(f"release:{DRIVER}").code == 0
    place, consumer = tmp_path / "verify", Consumer(copied, tmp_path / "consumer")
    with tarfile.open(copied.build / "release" / DRIVER / "verify.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    for name in ("images.json", "images.json.sigstore.json"):
        shutil.copy(copied.build / "release" / DRIVER / name, place)
    (place / "registries.conf").write_text(
        f'[[registry]]\nprefix = "{REGISTRY}"\nlocation = "{consumer.place}"\ninsecure = true\n')
    shutil.copy(consumer.folder / "registries.d/one.yaml", place / "registries.d")  # also where it is served
    lines = commands((place / "README.md").read_text())
    assert [" ".join(line[:2]) for line in lines] == [
        "cosign verify", *["cosign verify-attestation"] * 3, "cosign verify-blob", "skopeo --policy"]

    def runs(line: list[str]) -> bool:
        program, *words = line
        if program == "cosign":
            words = [word.replace(REGISTRY, consumer.place) for word in words]
            more = [] if "verify-blob" in words else ["--allow-http-registry"]
            done = witness.run(program, words[0], *more, *words[1:], cwd=place, DOCKER_CONFIG=str(consumer.folder))
        else:
            shutil.rmtree(place / "copied", ignore_errors=True)
            done = witness.run(program, f"--registries-conf={place / 'registries.conf'}", *words[:words.index("copy")],
                               "copy", f"--authfile={consumer.folder / 'config.json'}",
                               *words[words.index("copy") + 1:], cwd=place)
        return done.returncode == 0

    assert [line for line in lines if not runs(line)] == []
    # any tag of the repository may be pulled, whichever the signature names
    tagged = [word.partition("@")[0] + ":" + copied_tag(copied, word) if "docker://" in word else word
              for word in lines[-1]]
    assert runs(tagged)
    write_image_pair(tmp_path / "other")
    shutil.copy(tmp_path / "other" / PUBLIC_FILE, place / "image.pub")
    policy = json.loads((place / "policy.json").read_bytes())
    for rules in policy["transports"]["docker"].values():
        rules[0]["keyData"] = base64.b64encode((place / "image.pub").read_bytes()).decode()
    (place / "policy.json").write_text(json.dumps(policy))
    assert [line for line in lines if runs(line)] == []


def copied_tag(clone: Clone, name: str) -> str:
    """Another tag of the image, which the signature does not name."""
    digest = name.partition("@")[2]
    put(clone, "another-name", get(clone, f"manifests/{digest}"), "application/vnd.oci.image.manifest.v1+json")
    return "another-name"


def test_policies_are_what_their_readers_expect(copied: Clone) -> None:
    """As far as it can be seen without a cluster: kinds, scopes, and the very key."""
    assert copied.doit(f"release:{DRIVER}").code == 0
    place = copied.build / "release" / DRIVER / "verify"
    key, name = (place / "image.pub").read_bytes(), f"{REGISTRY}/{copied.repository}"
    assert key == (copied.build / "keys" / PUBLIC_FILE).read_bytes()
    for file, version in (("cluster-image-policy.yaml", "v1"), ("cluster-image-policy-v1alpha1.yaml", "v1alpha1")):
        document = yaml.safe_load((place / file).read_bytes())
        assert (document["apiVersion"], document["kind"]) == (f"config.openshift.io/{version}", "ClusterImagePolicy")
        assert document["spec"]["scopes"] == [name]
        assert base64.b64decode(document["spec"]["policy"]["rootOfTrust"]["publicKey"]["keyData"]) == key
    text = (place / "kyverno.yaml").read_text()
    assert "&id" not in text and "|" in text
    rules = yaml.safe_load(text)["spec"]["rules"]
    [classic, bundle] = [rule["verifyImages"][0] for rule in rules]
    assert classic["imageReferences"] == [f"{name}:*", f"{name}@*"]
    for entries in (classic["attestors"][0]["entries"], bundle["attestations"][0]["attestors"][0]["entries"]):
        assert entries[0]["keys"]["publicKeys"].encode() == key
    # a release that is there is left as it is
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert copied.doit(f"release:{DRIVER}").code == 0
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_a_mirror_carries_them(copied: Clone, tmp_path: Path) -> None:
    """As docs/attest.md says: the signature comes with the image, all referrers with the tag of their list."""
    assert copied.doit(f"publish:{DRIVER}").code == 0
    public, consumer = copied.build / "keys" / PUBLIC_FILE, Consumer(copied, tmp_path / "consumer")
    digest, mirror = min(images(copied).values()), f"mirror/{copied.repository}"
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    for name, tag in ((f"@{digest}", "image"), (f":{referrers_tag(digest)}", referrers_tag(digest))):
        done = witness.run(
            "skopeo", f"--policy={tmp_path / 'policy.json'}", f"--registries.d={consumer.folder / 'registries.d'}",
            "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
            f"--authfile={consumer.folder / 'config.json'}", f"docker://{consumer.place}/{copied.repository}{name}",
            f"docker://{consumer.place}/{mirror}:{tag}")
        assert done.returncode == 0, done.stderr
    elsewhere = copy(copied)
    elsewhere.repository = mirror
    there = Consumer(elsewhere, tmp_path / "elsewhere")
    assert there.cosign(digest, public)
    for kind in TYPES:
        assert len(attested(there, digest, public, kind)) == 1
