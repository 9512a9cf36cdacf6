"""Images are signed: consumers' own programs believe our key and no other, and so does a fresh checkout."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import boto3
import requests

from foundry.base.names import tag_of
from foundry.formats.images.simple_signing import signature_tag
from foundry.signing.new import IMAGE_KEY_FILE, PUBLIC_FILE, write_image_pair
from tests.harness import witness
from tests.harness.aws import kms_that_signs_digests, moto_server
from tests.harness.clone import AccessLogs, Clone, registry_login, registry_port
from tests.harness.released import images, ledger, manifests

DRIVER = "2.22.2.0"
REGISTRY = "registry.sandbox.internal"


def fingerprint(public: Path) -> str:
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], capture_output=True,
                         check=True).stdout
    return hashlib.sha256(der).hexdigest()


class Consumer:
    """Somebody with a login to the registry, a public key, and the programs of Debian 13."""

    def __init__(self, clone: Clone, folder: Path) -> None:
        self.clone, self.folder = clone, folder
        self.place = f"127.0.0.1:{registry_port(clone.services)}"
        folder.mkdir()
        login = requests.auth._basic_auth_str(*registry_login(clone.services)).removeprefix("Basic ")
        (folder / "config.json").write_text(json.dumps({"auths": {self.place: {"auth": login}}}))
        (folder / "registries.d").mkdir()
        (folder / "registries.d/one.yaml").write_text(f"docker:\n  {self.place}:\n    use-sigstore-attachments: true\n")

    def cosign(self, digest: str, public: Path) -> bool:
        done = witness.run(
            "cosign", "verify", "--key", public, "--insecure-ignore-tlog=true", "--allow-http-registry",
            f"{self.place}/{self.clone.repository}@{digest}", DOCKER_CONFIG=str(self.folder))
        if done.returncode == 0:
            assert json.loads(done.stdout)[0]["critical"]["image"]["docker-manifest-digest"] == digest
        return done.returncode == 0

    def skopeo(self, name: str, public: Path) -> bool:
        """Whether an image (``:tag`` or ``@digest``) may be copied under a policy that wants the key's signature."""
        policy, copied = self.folder / "policy.json", self.folder / "copied"
        policy.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {self.place: [{
            "type": "sigstoreSigned", "keyPath": str(public), "signedIdentity": {
                "type": "remapIdentity", "prefix": self.place, "signedPrefix": REGISTRY}}]}}}))
        done = witness.run(
            "skopeo", f"--policy={policy}", f"--registries.d={self.folder / 'registries.d'}", "copy",
            "--src-tls-verify=false", f"--authfile={self.folder / 'config.json'}",
            f"docker://{self.place}/{self.clone.repository}{name}", f"dir:{copied}")
        assert done.returncode == 0 or "signature" in done.stderr.lower(), done.stderr
        return done.returncode == 0


def delete(clone: Clone, digest: str) -> None:
    url = f"http://127.0.0.1:{registry_port(clone.services)}/v2/{clone.repository}/manifests/{digest}"
    assert requests.delete(url, auth=registry_login(clone.services), timeout=30).status_code == 202


def put(clone: Clone, tag: str, manifest: bytes, kind: str) -> str:
    """Have a manifest under a tag; its digest."""
    url = f"http://127.0.0.1:{registry_port(clone.services)}/v2/{clone.repository}/manifests/{tag}"
    answer = requests.put(url, data=manifest, headers={"Content-Type": kind}, auth=registry_login(clone.services),
                          timeout=30)
    assert answer.status_code == 201
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def move_signature(clone: Clone, source: str, target: str) -> None:
    """Have one image's signature under the tag for another's."""
    base = f"http://127.0.0.1:{registry_port(clone.services)}/v2/{clone.repository}/manifests"
    login, kind = registry_login(clone.services), "application/vnd.oci.image.manifest.v1+json"
    there = requests.get(f"{base}/{signature_tag(source)}", headers={"Accept": kind}, auth=login, timeout=30)
    put(clone, signature_tag(target), there.content, kind)


def test_consumers_believe_our_key_alone(copied: Clone, tmp_path: Path) -> None:
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 0 and run.compiled == [], run.text
    public, found = copied.build / "keys" / PUBLIC_FILE, images(copied)
    rows = ledger(copied, DRIVER)["cells"]
    assert {row["image_signer"] for row in rows} == {fingerprint(public)}
    write_image_pair(tmp_path / "other")
    other, consumer = tmp_path / "other" / PUBLIC_FILE, Consumer(copied, tmp_path / "consumer")
    tags = sorted(found)
    for tag in tags:
        assert consumer.cosign(found[tag], public)
    assert not consumer.cosign(found[tags[0]], other)
    for name in (f":{tags[0]}", f"@{found[tags[0]]}"):
        assert consumer.skopeo(name, public)
        assert not consumer.skopeo(name, other)
    # a signature that was made for another image
    move_signature(copied, found[tags[0]], found[tags[1]])
    assert not consumer.cosign(found[tags[1]], public)
    assert not consumer.skopeo(f":{tags[1]}", public)
    assert "no key of `image_signing.public_keys` signed it" in copied.doit("verify", DRIVER).text


def test_a_fresh_checkout_believes_signed_images_alone(copied: Clone, tmp_path: Path) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    found = images(copied)
    bad = min(name for name, row in copied.status().items() if row["driver"] == DRIVER)
    delete(copied, manifests(copied)[signature_tag(found[tag_of(bad)])])
    fresh = copied.checkout(tmp_path / "fresh")
    run = fresh.doit(f"fetch:{DRIVER}")
    assert "1 of 3 rows" in run.text and "image_signing.public_keys" in run.text, run.text
    states = {name: row["state"] for name, row in fresh.status().items() if row["driver"] == DRIVER}
    assert states.pop(bad) != "published" and set(states.values()) == {"published"}


def test_a_new_key_signs_anew_and_the_old_one_stays(copied: Clone, tmp_path: Path) -> None:
    assert copied.doit(f"publish:{DRIVER}").code == 0
    old, new = copied.build / "keys" / PUBLIC_FILE, copied.build / "keys/new"
    write_image_pair(new)
    name = f"build/{copied.build.name}/keys"
    copied.edit("config/profiles/sandbox.yaml",
                f"image_signing: {{key: {name}/{IMAGE_KEY_FILE}, public_keys: [{name}/{PUBLIC_FILE}]}}",
                f"image_signing: {{key: {name}/new/{IMAGE_KEY_FILE},"
                f" public_keys: [{name}/new/{PUBLIC_FILE}, {name}/{PUBLIC_FILE}]}}")
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 0 and run.compiled == [] and run.imaged == 0, run.text
    assert {row["image_signer"] for row in ledger(copied, DRIVER)["cells"]} == {fingerprint(new / PUBLIC_FILE)}
    consumer, digest = Consumer(copied, tmp_path / "consumer"), min(images(copied).values())
    assert consumer.cosign(digest, old) and consumer.cosign(digest, new / PUBLIC_FILE)


def test_an_image_without_its_signature_is_not_published(copied: Clone) -> None:
    """The registry took the image and not the signature: no ledger names it, and the next run signs it."""
    cells = [name for name, row in copied.status().items() if row["driver"] == DRIVER]
    bad, kind = min(cells), "application/vnd.oci.image.index.v1+json"
    digest = copied.status()[bad]["digest"]
    in_the_way = put(copied, signature_tag(digest), json.dumps(
        {"schemaVersion": 2, "mediaType": kind, "manifests": []}).encode(), kind)
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code == 1 and "something else than an image's signatures" in run.text, run.text
    assert images(copied)[tag_of(bad)] == digest, "it was pushed"
    assert copied.status()[bad]["state"] != "published"
    assert {row["digest"] for row in ledger(copied, DRIVER)["cells"]} == set(images(copied).values()) - {digest}
    delete(copied, in_the_way)
    run = copied.doit(f"publish:{DRIVER}")
    assert (run.code, run.compiled, run.imaged) == (0, [], 0), run.text
    assert {copied.status()[name]["state"] for name in cells} == {"published"}
    assert signature_tag(digest) in manifests(copied)


def test_nothing_is_pushed_that_cannot_be_signed(copied: Clone) -> None:
    write_image_pair(copied.build / "keys/other")
    (copied.build / "keys" / IMAGE_KEY_FILE).write_bytes((copied.build / "keys/other" / IMAGE_KEY_FILE).read_bytes())
    run = copied.doit(f"publish:{DRIVER}")
    assert run.code != 0 and "is not the private half of" in run.text and "Traceback" not in run.text
    assert images(copied) == {}


def test_a_key_in_aws_kms(copied: Clone, access: AccessLogs, tmp_path: Path) -> None:
    """It signs otherwise each time; what is there already is not signed again."""
    with moto_server() as url, kms_that_signs_digests():
        aws = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "secret",
               "AWS_REGION": "eu-west-1"}
        kms = boto3.client("kms", region_name="eu-west-1", endpoint_url=url, aws_access_key_id="AKIDTEST",
                           aws_secret_access_key="secret")
        key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
        public = copied.build / "keys/kms.pub"
        subprocess.run(["openssl", "pkey", "-pubin", "-inform", "DER", "-out", public], check=True,
                       input=kms.get_public_key(KeyId=key)["PublicKey"])
        name = f"build/{copied.build.name}/keys"
        copied.edit("config/profiles/sandbox.yaml",
                    f"image_signing: {{key: {name}/{IMAGE_KEY_FILE}, public_keys: [{name}/{PUBLIC_FILE}]}}",
                    f"image_signing: {{key: 'awskms:///{key}', public_keys: [{name}/kms.pub]}}")
        run = copied.doit(f"publish:{DRIVER}", **aws)
        assert run.code == 0 and run.compiled == [], run.text
        consumer, digest = Consumer(copied, tmp_path / "consumer"), min(images(copied).values())
        assert consumer.cosign(digest, public) and not consumer.cosign(digest, copied.build / "keys" / PUBLIC_FILE)
        before = manifests(copied)
        for path in (copied.build / "release" / DRIVER).iterdir():
            path.unlink()
        access.new()
        assert copied.doit(f"publish:{DRIVER}", **aws).code == 0
        assert not any('"PUT ' in line for line in access.new() if "/manifests/sha256" in line)
        assert {tag: at for tag, at in manifests(copied).items() if tag.startswith("sha256-")} == {
            tag: at for tag, at in before.items() if tag.startswith("sha256-")}
    run = copied.doit(f"publish:{DRIVER}", **aws, FORCE_BUILD="true")
    assert run.code == 3 and "AWS does not answer" in run.text and run.compiled == [], run.text
