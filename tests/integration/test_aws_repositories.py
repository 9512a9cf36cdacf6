"""Repositories of ECR (moto) and ECR Public (the fake), what they hold; and the fake itself."""

from __future__ import annotations

import json
import time
from datetime import datetime

import pytest

from foundry.aws import session as aws
from foundry.base.errors import OutsideError
from foundry.registry.ecr.repositories import describe_images, ensure_repository
from tests.harness.aws import ALIAS, FakeEcr, Fault, ecr_public_fake, image_detail
from tests.harness.aws_settings import PRIVATE, PUBLIC, Environment, refused


def test_a_private_repository(moto: str, environment: Environment) -> None:
    environment.set(AWS_ENDPOINT_URL=moto)
    with pytest.raises(OutsideError) as caught:
        ensure_repository(PRIVATE, "neuron/x", create=False)
    error = refused("repository-missing", caught)
    assert f"{PRIVATE}/neuron/x" in error.message
    assert error.hint == "aws ecr create-repository --repository-name neuron/x --region us-east-1"
    with pytest.raises(OutsideError) as caught:
        list(describe_images(PRIVATE, "neuron/x"))
    refused("repository-missing", caught)
    assert ensure_repository(PRIVATE, "neuron/x", create=True) == "created"
    assert ensure_repository(PRIVATE, "neuron/x", create=True) == "there"
    assert ensure_repository(PRIVATE, "neuron/x", create=False) == "there"
    assert list(describe_images(PRIVATE, "neuron/x")) == []


def test_images_of_a_private_repository(moto: str, environment: Environment) -> None:
    environment.set(AWS_ENDPOINT_URL=moto)
    ecr = aws.client("ecr", "us-east-1")
    ecr.create_repository(repositoryName="held")
    pushed = {}
    for number in range(3):
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
                               "digest": f"sha256:{number:064x}"}, "layers": []}
        made = ecr.put_image(repositoryName="held", imageManifest=json.dumps(manifest), imageTag=f"tag-{number}")
        pushed[f"tag-{number}"] = made["image"]["imageId"]["imageDigest"]
    held = list(describe_images(PRIVATE, "held"))
    assert {image.tags[0]: image.digest for image in held} == pushed
    for image in held:
        assert abs(datetime.fromisoformat(image.pushed_at).timestamp() - time.time()) < 60
        assert image.pushed_at.endswith("Z")


def test_a_public_repository(public: FakeEcr) -> None:
    name = f"{ALIAS}/neuron-openshift/x"
    with pytest.raises(OutsideError) as caught:
        ensure_repository(PUBLIC, name, create=False)
    command = "aws ecr-public create-repository --repository-name neuron-openshift/x --region us-east-1"
    assert refused("repository-missing", caught).hint == command
    assert ensure_repository(PUBLIC, name, create=True) == "created"
    assert list(public.repositories) == ["neuron-openshift/x"]
    before = len(public.requests)
    assert ensure_repository(PUBLIC, name, create=True) == "there"
    assert len(public.requests) == before + 1  # the URI fits: nothing more is asked


def test_a_second_alias_of_a_public_registry(public: FakeEcr) -> None:
    public.aliases = ["company", ALIAS]
    public.repositories["repo"] = [image_detail(1)]
    for alias in public.aliases:
        assert ensure_repository(PUBLIC, f"{alias}/repo", create=False) == "there"
        assert len(list(describe_images(PUBLIC, f"{alias}/repo"))) == 1
    assert ensure_repository(PUBLIC, f"{ALIAS}/new", create=True) == "created"


@pytest.mark.parametrize("there", [True, False])
def test_somebody_elses_public_registry(public: FakeEcr, there: bool) -> None:
    public.repositories.update({"repo": []} if there else {})
    for work in (lambda: ensure_repository(PUBLIC, "other/repo", create=True),
                 lambda: list(describe_images(PUBLIC, "other/repo"))):
        with pytest.raises(OutsideError) as caught:
            work()
        error = refused("repository-foreign", caught)
        assert "public.ecr.aws/other " in error.message
        assert f"public.ecr.aws/{ALIAS}" in error.hint
    assert public.asked("CreateRepository") == 0


def refusal(operation: str) -> Fault:
    return Fault(operation, 400, "AccessDeniedException", "no")


def test_a_role_that_may_not_ask(public: FakeEcr, private: FakeEcr) -> None:
    for host, fake in ((PUBLIC, public), (PRIVATE, private)):
        fake.faults.append(refusal("DescribeRepositories"))
        assert ensure_repository(host, f"{ALIAS}/repo", create=True) == "unknown"
        assert fake.asked("CreateRepository") == 0
        fake.repositories |= {"repo": [], f"{ALIAS}/repo": []}
        fake.faults.append(refusal("DescribeImages"))
        with pytest.raises(OutsideError) as caught:
            list(describe_images(host, f"{ALIAS}/repo"))
        refused("aws-denied", caught)
    public.faults.append(refusal("DescribeRegistries"))
    assert ensure_repository(PUBLIC, "perhaps-ours/repo", create=False) == "unknown"
    public.faults.append(refusal("DescribeRegistries"))
    with pytest.raises(OutsideError) as caught:
        ensure_repository(PUBLIC, "perhaps-ours/new", create=True)
    refused("repository-foreign", caught)  # known by what was made


def test_a_role_that_may_not_create(private: FakeEcr) -> None:
    private.faults.append(refusal("CreateRepository"))
    with pytest.raises(OutsideError) as caught:
        ensure_repository(PRIVATE, "repo", create=True)
    error = refused("aws-denied", caught)
    assert "ecr:CreateRepository" in error.message
    assert "aws ecr create-repository --repository-name repo" in error.hint


def test_another_process_creates_it_first(private: FakeEcr) -> None:
    private.repositories["repo"] = []
    private.faults.append(Fault("DescribeRepositories", 400, "RepositoryNotFoundException"))
    assert ensure_repository(PRIVATE, "repo", create=True) == "created"


@pytest.mark.parametrize("host", [PRIVATE, PUBLIC])
def test_images_come_page_by_page(host: str, private: FakeEcr, public: FakeEcr) -> None:
    fake, name = (public, "repo") if host == PUBLIC else (private, f"{ALIAS}/repo")
    fake.repositories[name] = [image_detail(number, *["a", "b"][:number % 3]) for number in range(7)]
    fake.page = 3
    found = describe_images(host, f"{ALIAS}/repo")
    first = next(found)
    assert fake.asked("DescribeImages") == 1
    held = [first, *found]
    assert fake.asked("DescribeImages") == 3
    assert [image.digest for image in held] == [f"sha256:{number:064x}" for number in range(7)]
    assert [image.tags for image in held[:3]] == [(), ("a",), ("a", "b")]
    assert (held[5].size_bytes, held[5].pushed_at) == (1005, "2025-01-02T03:09:05Z")


def test_a_page_that_can_not_be_had_is_no_end(public: FakeEcr) -> None:
    public.repositories["repo"] = [image_detail(number) for number in range(4)]
    public.page = 2
    found = describe_images(PUBLIC, f"{ALIAS}/repo")
    next(found)
    public.faults.append(Fault("DescribeImages", 500, "ServerException"))
    with pytest.raises(OutsideError) as caught:
        list(found)
    assert refused("aws-failed", caught).retry


# -- the fake ------------------------------------------------------------------


def test_the_fake_holds_both_sides_to_the_model(environment: Environment) -> None:
    with ecr_public_fake() as fake:
        environment.set(AWS_ENDPOINT_URL_ECR_PUBLIC=fake.url)
        public = aws.client("ecr-public", "us-west-2")
        public.describe_repositories()
        assert [found for found in fake.violations if "us-west-2" in found]
        for headers, body in (({"X-Amz-Target": "SpencerFrontendService.Delete"}, b"{}"),
                              ({"X-Amz-Target": "SpencerFrontendService.CreateRepository"}, b'{"name": 1}')):
            fake.violations.clear()
            fake.answer({"Content-Type": "application/x-amz-json-1.1", **headers}, body)
            assert fake.violations
        fake.violations.clear()
        fake.repositories["repo"] = [{"imageDigest": 1}]
        fake.faults.append(Fault("CreateRepository", 400, "NoSuchError"))
        fake.requests.clear()
        wrong = aws.client("ecr-public", "us-east-1")
        wrong.describe_images(repositoryName="repo")
        with pytest.raises(wrong.exceptions.ClientError):
            wrong.create_repository(repositoryName="new")
        assert [found.split(":")[0] for found in fake.violations] == ["DescribeImages", "CreateRepository"]
        assert [one.authorized for one in fake.requests] == [True, True]
