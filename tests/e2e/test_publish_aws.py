"""The profiles `ecr` and `github`, whole: AWS's APIs and a registry with log-in, all at other addresses."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
import requests

from tests.harness.aws import ACCOUNT, ALIAS, ecr_fake, moto_server
from tests.harness.clone import Clone, Run
from tests.harness.front import Front, front
from tests.harness.github import GitHub, github_fake
from tests.harness.registry import OCI_MANIFEST, Pusher, htpasswd, real_registry
from tests.harness.secrets import PASSWORD, USER

HOST = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
SECRET_KEY, SESSION = "secret-key-canary-0815", "session-canary-4711"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIACANARY0815", "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_SESSION_TOKEN": SESSION,
        "AWS_EC2_METADATA_DISABLED": "true"}


def token_of(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Front]:
    """A real registry that wants the user and password that the fakes of AWS give out."""
    with real_registry(tmp_path / "registry", htpasswd(tmp_path / "registry")) as address, front(address) as one:
        yield one


def held(one: Front, repository: str) -> dict[str, str]:
    """Tag → digest, by the registry's own list."""
    base, auth = f"http://{one.upstream}/v2/{repository}", (USER, PASSWORD)
    answer = requests.get(f"{base}/tags/list", auth=auth, timeout=30)
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    return {
        tag: requests.head(f"{base}/manifests/{tag}", auth=auth, headers=accept, timeout=30).headers[
            "Docker-Content-Digest"]
        for tag in (answer.json().get("tags") or [] if answer.status_code == 200 else [])
    }


def images(found: dict[str, str]) -> dict[str, str]:
    return {tag: digest for tag, digest in found.items() if not tag.startswith(("ledger-", "sha256-"))}


def no_secrets(clone: Clone, *runs: Run, pushed: Path | None = None) -> None:
    """No secret in anything that a run showed, started, left or pushed."""
    secrets = (SECRET_KEY, SESSION, PASSWORD, token_of(USER, PASSWORD))
    for run in runs:
        for text in (run.text, json.dumps(run.processes)):
            assert not any(secret in text for secret in secrets)
    for path in [*clone.root.rglob("*"), *(pushed.rglob("*") if pushed else ())]:
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            assert not any(secret.encode() in data for secret in secrets), path


def expected(clone: Clone) -> dict[str, str]:
    return {row["tag"]: row["digest"] for row in clone.status().values()}


def test_ecr_whole(copied: Clone, registry: Front, tmp_path: Path) -> None:
    copied.use_profile("ecr", {HOST: registry.address})
    copied.edit("config/profiles/ecr.yaml", "create_repository: false", "create_repository: true")
    repository = "team/kmod"
    with ecr_fake() as fake:
        fake.token = token_of(USER, PASSWORD)
        copied.extra = {**KEYS, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_ECR": fake.url,
                        "KMOD_ECR_REPOSITORY_NAME": repository, "AWS_ACCOUNT_ID": ACCOUNT, "HOME": str(tmp_path)}
        first = copied.doit("publish")
        assert first.code == 0, first.text
        assert first.compiled == []
        assert repository in fake.repositories, "made, as `create_repository` says"
        assert images(held(registry, repository)) == expected(copied)
        asked = fake.asked("GetAuthorizationToken")
        assert 1 <= asked <= 2, "one token for all cells"
        again = copied.doit("publish")
        assert (again.code, again.connections, again.processes) == (0, [], [])
        released = copied.doit("release")
        assert released.code == 0, released.text
        for folder in (copied.build / "release").iterdir():
            assert f"{HOST}/{repository}@sha256:" in (folder / "notes.md").read_text()
            assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, check=False).returncode == 0
            assert list(folder.glob("*-modified-source.tar.gz")) and list(folder.glob("busybox-*.tar.*"))
        assert not list(copied.build.glob("release/*/github.log")), "no GitHub in this profile"
        pushed = datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
        fake.repositories[repository] = [
            {"imageDigest": digest, "imageTags": [tag], "imageSizeInBytes": 4711, "imagePushedAt": pushed,
             "registryId": ACCOUNT, "repositoryName": repository}
            for tag, digest in held(registry, repository).items()
        ]
        fake.page = 2
        export = copied.doit("export", "--json")
        assert export.code == 0, export.text
        table = json.loads(export.out)
        assert {row["tag"]: row["digest"] for row in table} == expected(copied)
        assert {(row["size"], row["pushed"], row["state"]) for row in table} == {(4711, "2025-10-09T08:53:20Z", "ok")}
        assert all(row["image"].startswith(f"{HOST}/{repository}@sha256:") for row in table)
        assert fake.violations == []
        no_secrets(copied, first, again, export, pushed=tmp_path / "registry" / "storage")


def test_ecr_asks_sts_for_the_account(copied: Clone, registry: Front, tmp_path: Path) -> None:
    """Region from a profile's file, account from STS: moto is both ECR and STS here."""
    copied.use_profile("ecr", {HOST: registry.address})
    config = tmp_path / "aws"
    config.write_text(f"[profile ci]\nregion = us-east-1\naws_access_key_id = AKIACANARY\n"
                      f"aws_secret_access_key = {SECRET_KEY}\n")
    with moto_server() as url:
        copied.extra = {"AWS_PROFILE": "ci", "AWS_CONFIG_FILE": str(config), "AWS_ENDPOINT_URL": url,
                        "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
        run = copied.doit("publish")
        assert run.code == 3
        assert f"there is no repository {HOST}/neuron-operator/kmod" in run.err
        command = "aws ecr create-repository --repository-name neuron-operator/kmod --region us-east-1"
        assert f"hint: {command}" in run.err
        assert run.compiled == []
        client = boto3.client("ecr", region_name="us-east-1", endpoint_url=url, aws_access_key_id="x",
                              aws_secret_access_key="x")
        client.create_repository(repositoryName="neuron-operator/kmod")
        made = copied.doit("publish")
        assert made.code == 0, made.text
        assert images(held(registry, "neuron-operator/kmod")) == expected(copied)
        no_secrets(copied, run, made)


@pytest.fixture
def hub() -> Iterator[GitHub]:
    """GitHub, which the profile `github` asks for ledgers."""
    with github_fake() as one:
        yield one
        assert one.violations == []


def test_github_publishes_to_ecr_public_and_ghcr(
    copied: Clone, registry: Front, hub: GitHub, tmp_path: Path
) -> None:
    public, ghcr = f"{ALIAS}/neuron-openshift/neuron-kernel-module", "awslabs/kmod/neuron-driver"
    copied.use_profile("github", {"public.ecr.aws": registry.address, "ghcr.io": registry.address})
    path = copied.root / "config/profiles/github.yaml"
    first = f"publish:\n- registry: ghcr.io\n  repository: {ghcr}\n"
    path.write_text(path.read_text().replace("publish:\n", first))
    with ecr_fake("ecr-public") as fake:
        fake.token = token_of(USER, PASSWORD)
        fake.repositories["neuron-openshift/neuron-kernel-module"] = []
        copied.extra = {**KEYS, "GITHUB_ACTIONS": "true", "KMOD_PROFILE": "", "AWS_ENDPOINT_URL_ECR_PUBLIC": fake.url,
                        "GITHUB_TOKEN": PASSWORD, "GITHUB_ACTOR": USER, "HOME": str(tmp_path),
                        "GITHUB_API_URL": hub.url, "GITHUB_REPOSITORY": hub.repo}
        run = copied.doit("publish")
        assert run.code == 0, run.text
        assert "profile github: GITHUB_ACTIONS is set" in run.err
        for repository in (public, ghcr):
            assert images(held(registry, repository)) == expected(copied)
        for path in copied.build.glob("release/*/images.json"):
            for row in json.loads(path.read_text())["cells"]:
                assert row["registries"] == [f"ghcr.io/{ghcr}", f"public.ecr.aws/{public}"]
        again = copied.doit("publish")
        assert (again.code, again.connections) == (0, [])
        assert fake.violations == []
        no_secrets(copied, run, again)


def test_a_target_that_is_added_later_is_given_what_is_published(
    copied: Clone, registry: Front, hub: GitHub, tmp_path: Path
) -> None:
    """Copied from registry to registry: the archives are gone, nothing is built again."""
    copied.use_profile("github", {"public.ecr.aws": registry.address, "ghcr.io": registry.address})
    path = copied.root / "config/profiles/github.yaml"
    with ecr_fake("ecr-public") as fake:
        fake.token = token_of(USER, PASSWORD)
        fake.repositories["neuron-openshift/neuron-kernel-module"] = []
        copied.extra = {**KEYS, "AWS_ENDPOINT_URL_ECR_PUBLIC": fake.url, "GITHUB_TOKEN": PASSWORD,
                        "GITHUB_ACTOR": USER, "HOME": str(tmp_path), "GITHUB_API_URL": hub.url,
                        "GITHUB_REPOSITORY": hub.repo}
        assert copied.doit("publish").code == 0
        path.write_text(path.read_text().replace("publish:\n", "publish:\n- registry: ghcr.io\n  repository: a/b\n"))
        run = copied.doit("publish")
        assert run.code == 0, run.text
        assert (run.compiled, run.imaged) == ([], 0)
        assert images(held(registry, "a/b")) == expected(copied)


def test_no_credentials(copied: Clone, registry: Front, tmp_path: Path) -> None:
    """Said before anything is built, with the places that were looked at."""
    copied.use_profile("ecr", {HOST: registry.address})
    (copied.build / "cells").rename(tmp_path / "cells")
    copied.extra = {"AWS_REGION": "us-east-1", "AWS_ACCOUNT_ID": ACCOUNT, "AWS_EC2_METADATA_DISABLED": "true",
                    "HOME": str(tmp_path)}
    run = copied.doit("publish")
    assert run.code == 3
    assert "without credentials" in run.err
    assert "AWS credentials (ECR token)" in run.err
    assert run.compiled == []
    copied.extra = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    run = copied.doit("publish")
    assert run.code == 3
    assert "region" in run.err and "hint:" in run.err


def test_an_auth_file_is_enough(copied: Clone, registry: Front, tmp_path: Path) -> None:
    """`aws ecr get-login-password | podman login` on a machine without AWS credentials."""
    copied.use_profile("ecr", {HOST: registry.address})
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {HOST: {"auth": token_of(USER, PASSWORD)}}}))
    copied.extra = {"AWS_REGION": "us-east-1", "AWS_ACCOUNT_ID": ACCOUNT, "REGISTRY_AUTH_FILE": str(file),
                    "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    run = copied.doit("publish")
    assert run.code == 0, run.text
    assert images(held(registry, "neuron-operator/kmod")) == expected(copied)
    no_secrets(copied, run)


def test_toolkits_are_pulled_with_the_same_credentials(copied: Clone, registry: Front, tmp_path: Path) -> None:
    """A mirror of the toolkits that wants a log-in: the auth file is private, and gone after the pull."""
    catalogue = copied.catalogue()
    source = json.loads((copied.services / "state.json").read_text())["registry"]["address"]
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false",
         f"--dest-creds={USER}:{PASSWORD}", f"docker://{source}/driver-toolkit@{catalogue[0]['dtk'].partition('@')[2]}",
         f"docker://{registry.upstream}/mirror/toolkit:x"],
        check=True,
    )
    # another digest: podman knows an image by it, whatever its name
    manifest = requests.get(f"http://{registry.upstream}/v2/mirror/toolkit/manifests/x", auth=(USER, PASSWORD),
                            headers={"Accept": OCI_MANIFEST}, timeout=30).json()
    pusher = Pusher(registry.upstream, "mirror/toolkit", auth=(USER, PASSWORD))
    digest = pusher.manifest({**manifest, "annotations": {"mirrored": "yes"}})["digest"]
    copied.edit("config/profiles/sandbox.yaml", "services: sandbox",
                f"services: sandbox\naddresses: {{mirror.internal: '{registry.address}'}}")
    copied.write("build/sandbox/driver-toolkit.json", [
        {"version": "4.16.30", "arch": "x86_64", "dtk": f"mirror.internal/mirror/toolkit@{digest}"}])
    copied.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    # else the releases' own toolkits would be found
    copied.edit("config/profiles/sandbox.yaml", "\nreleases:\n", '\nreleases:\n  exclude: ["4.16.30", "4.16.48"]\n')
    copied.extra = {"HOME": str(tmp_path)}
    run = copied.doit("toolkit")
    assert run.code == 3
    assert "mirror.internal refuses mirror/toolkit" in run.out
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {"mirror.internal": {"auth": token_of(USER, PASSWORD)}}}))
    copied.extra["QUAY_AUTH_FILE"] = str(file)  # of quay.io alone
    assert copied.doit("toolkit").code == 3
    copied.extra["REGISTRY_AUTH_FILE"] = str(file)
    runs = [copied.doit("toolkit"), copied.doit("build", FORCE_BUILD="true")]
    assert [run.code for run in runs] == [0, 0], runs[-1].text
    pulls = [argv for run in runs for argv in run.podman("pull") if "mirror.internal" in " ".join(argv)]
    assert len(pulls) == 1
    [option] = [word for word in pulls[0] if word.startswith("--authfile=")]
    assert not Path(copied.root, option.partition("=")[2]).exists()
    assert not list(copied.build.glob("engine/auth-*"))
    no_secrets(copied, *runs)
    subprocess.run(["podman", "image", "rm", pulls[0][-1]], check=True, capture_output=True)
