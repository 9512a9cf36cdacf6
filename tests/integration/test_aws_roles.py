"""The roles that docs/operations.md has, enforced by moto: the one reads, the other pushes, none deletes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from tests.harness.aws import moto_server
from tests.harness.clone import ROOT
from tests.harness.registry import OCI_MANIFEST

REGION = "eu-west-1"
WORDS = {"ACCOUNT": "123456789012", "REGION": REGION, "REPOSITORY": "neuron-operator/kmod"}
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST})
CALLS: dict[str, dict[str, Any]] = {
    "get_authorization_token": {}, "describe_repositories": {"repositoryNames": [WORDS["REPOSITORY"]]},
    "describe_images": {"repositoryName": WORDS["REPOSITORY"]}, "list_images": {"repositoryName": WORDS["REPOSITORY"]},
    "batch_get_image": {"repositoryName": WORDS["REPOSITORY"], "imageIds": [{"imageTag": "x"}]},
    "put_image": {"repositoryName": WORDS["REPOSITORY"], "imageManifest": MANIFEST, "imageTag": "y"},
    "create_repository": {"repositoryName": "another"},
    "batch_delete_image": {"repositoryName": WORDS["REPOSITORY"], "imageIds": [{"imageTag": "x"}]},
    "delete_repository": {"repositoryName": WORDS["REPOSITORY"], "force": True},
}
READS = {"get_authorization_token", "describe_repositories", "describe_images", "list_images", "batch_get_image"}


def documented() -> list[Any]:
    """The JSON texts of the page, with a real account in them: the trust, then ECR Public's rights and ECR's."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    found = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for word, value in WORDS.items():
        found = [one.replace(word, value) for one in found]
    return [json.loads(one) for one in found]


def actions(policy: Any) -> set[str]:
    found: set[str] = set()
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        named = statement["Action"]
        found |= {named} if isinstance(named, str) else set(named)
    return found


def test_each_action_is_one_of_aws() -> None:
    """As the service's own model has them; the role that reads has some of the other's, and none that writes."""
    _, *services = documented()
    assert len(services) == 2
    for service, roles in zip(("ecr-public", "ecr"), services, strict=True):
        known = boto3.client(service, region_name="us-east-1").meta.service_model.operation_names  # type: ignore[call-overload]  # reason: two services
        names = {role: {name for name in actions(policy) if name != "sts:GetServiceBearerToken"}
                 for role, policy in roles.items()}
        for name in names["push"] | names["read"]:
            assert name.partition(":")[0] == service
            assert name.partition(":")[2] in known or name == "ecr:GetDownloadUrlForLayer"
        assert names["read"] < names["push"]
        assert all(re.match(r"Get|Batch(Get|Check)|List|Describe", name.partition(":")[2]) for name in names["read"])


def test_who_trusts_whom() -> None:
    """The jobs in the environment that pushes, as the workflows name it."""
    trust = documented()[0]["Statement"][0]["Condition"]["StringEquals"]
    assert trust["token.actions.githubusercontent.com:sub"] == "repo:OWNER/NAME:environment:publish"
    assert trust["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"


@pytest.fixture
def enforced(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with a repository, and a user for each role of a private registry, whose policies count from then on."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with moto_server() as url:
        mine = {"region_name": REGION, "endpoint_url": url, "aws_access_key_id": "x", "aws_secret_access_key": "x"}
        ecr = boto3.client("ecr", **mine)  # type: ignore[call-overload]  # reason: settings in a dictionary
        ecr.create_repository(repositoryName=WORDS["REPOSITORY"])
        ecr.put_image(repositoryName=WORDS["REPOSITORY"], imageManifest=MANIFEST, imageTag="x")
        yield url
        requests.post(f"{url}/moto-api/reset-auth", data="inf", timeout=10)


@pytest.mark.parametrize("role, allowed", [("read", READS), ("push", READS | {"put_image"})])
def test_what_a_role_may(enforced: str, role: str, allowed: set[str]) -> None:
    mine = {"region_name": REGION, "endpoint_url": enforced, "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    iam = boto3.client("iam", **mine)  # type: ignore[call-overload]  # reason: settings in a dictionary
    iam.create_user(UserName=role)
    policy = documented()[2][role]
    ours = f"arn:aws:ecr:{REGION}:{WORDS['ACCOUNT']}:repository/{WORDS['REPOSITORY']}"
    for statement in policy["Statement"]:
        assert statement["Resource"] in ("*", ours)
        statement["Resource"] = "*"  # moto knows no others
    iam.put_user_policy(UserName=role, PolicyName="documented", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=role)["AccessKey"]
    requests.post(f"{enforced}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
    ecr = boto3.client("ecr", region_name=REGION, endpoint_url=enforced, aws_access_key_id=key["AccessKeyId"],
                       aws_secret_access_key=key["SecretAccessKey"])
    let = set()
    for name, parameters in CALLS.items():
        try:
            getattr(ecr, name)(**parameters)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 403:
                continue
        let.add(name)
    assert let == allowed
