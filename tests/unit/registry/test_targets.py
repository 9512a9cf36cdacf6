"""Targets: what the environment fills in, what stays open, and which names are a target's own."""

from __future__ import annotations

import pytest

from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.config.settings import ImagePlace
from foundry.registry.targets import Target, targets_of, toolkits_at
from tests.harness.checkout import Checkout

ECR = "{aws_account}.dkr.ecr.{aws_region}.amazonaws.com"
ACCOUNT = {"AWS_ACCOUNT_ID": "123456789012", "AWS_REGION": "eu-west-1"}
FILLED = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def target(name: str) -> Target:
    registry, _, repository = name.partition("/")
    return Target(registry, repository, create_repository=False)


@pytest.mark.parametrize("name, other", [
    ("r/kmod", "r/kmod-old"), ("r/kmod", "old.r/kmod"), ("r/kmod", "r/kmod/x"), ("r/kmod", "r/kmo"), ("r/kmod", ""),
    ("r.io/kmod", "rxio/kmod"), ("r:5000/kmod", "r:50001/kmod"), ("r/a.b", "r/aab"), ("r/kmod", "r/kmod\n"),
    (f"{ECR}/kmod", f"{FILLED}/kmod-old"), (f"{ECR}/kmod", f"{FILLED}.evil.test/kmod"),
    (f"{ECR}/kmod", "evil.test/1.dkr.ecr.eu-west-1.amazonaws.com/kmod"),
    (f"{ECR}/kmod", "1.dkr.ecr.a.b.amazonaws.com/kmod"), (f"{ECR}/kmod", ".dkr.ecr.eu-west-1.amazonaws.com/kmod"),
    (f"{ECR}/kmod", "1.dkr.ecr.amazonaws.com/kmod"), ("r/{family}", "r/a/b"), ("r/{family}", "r/"),
])
def test_names_of_others(name: str, other: str) -> None:
    """A row that names such a place is no row of this profile's: its image would not count as published."""
    assert not target(name).is_in([other])


@pytest.mark.parametrize("name, own", [
    ("r/kmod", "r/kmod"), ("r:5000/a/b", "r:5000/a/b"), (f"{ECR}/kmod", f"{FILLED}/kmod"),
    (f"{ECR}/kmod", "1.dkr.ecr.us-gov-west-1.amazonaws.com/kmod"), ("r/{family}", "r/neuron"),
])
def test_names_of_its_own(name: str, own: str) -> None:
    """What is open may be anything that has neither dot nor slash."""
    assert target(name).is_in([own])
    assert target(name).is_in(["elsewhere/x", own])


def test_no_names() -> None:
    assert not target("r/kmod").is_in([])


@pytest.mark.parametrize("profile, repository", [
    ("sandbox", "neuron-driver"), ("ecr", "neuron-operator/kmod"),
    ("github", "q5p6u7h8/neuron-openshift/neuron-kernel-module"),
])
def test_every_profile_has_a_repository_for_each_family(checkout: Checkout, profile: str, repository: str) -> None:
    settings = load_config(checkout.root, Profile(profile, "test")).settings
    [neuron], [other] = (targets_of(settings.publish, family, {}) for family in ("neuron", "habanalabs"))
    assert (neuron.repository, neuron.registry) == (repository, other.registry)
    assert other.repository != repository and "habanalabs" in other.repository


@pytest.mark.parametrize("said, repository", [
    ("kmod", "kmod"), ("acme/{family}", "acme/neuron"), ("{aws_region}", "{aws_region}"),
])
def test_the_ecr_repository_of_the_environment(said: str, repository: str) -> None:
    [found] = targets_of([ImagePlace("r", "{ecr_repository}")], "neuron", {"KMOD_ECR_REPOSITORY_NAME": said})
    assert found.repository == repository


@pytest.mark.parametrize("environ, registry, open_fields", [
    ({}, ECR, ("aws_account", "aws_region")),
    ({"AWS_REGION": "eu-west-1"}, "{aws_account}.dkr.ecr.eu-west-1.amazonaws.com", ("aws_account",)),
    ({"AWS_ACCOUNT_ID": "1"}, "1.dkr.ecr.{aws_region}.amazonaws.com", ("aws_region",)),
    (ACCOUNT, FILLED, ()),
    ({**ACCOUNT, "AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-1"}, FILLED, ()),
    ({**ACCOUNT, "AWS_DEFAULT_REGION": "us-east-1"}, FILLED, ()),
])
def test_what_the_environment_says_of_aws(
    environ: dict[str, str], registry: str, open_fields: tuple[str, ...]
) -> None:
    [found] = targets_of([ImagePlace(ECR, "{ecr_repository}")], "neuron", environ)
    assert found == Target(registry, "neuron-operator/kmod", create_repository=False)
    assert found.open_fields == open_fields


def test_what_is_open_is_filled_later() -> None:
    one = target(f"{ECR}/kmod")
    half = one.filled({"aws_account": "123456789012"})
    assert half.open_fields == ("aws_region",)
    assert half.filled({"aws_region": "eu-west-1", "aws_account": "2"}).name == f"{FILLED}/kmod"
    assert one.filled({"unknown": "x"}) == one


def test_open_fields_are_looked_for_in_the_repository_too() -> None:
    assert target("r/{aws_account}/kmod").open_fields == ("aws_account",)
    assert target("r/{family}").open_fields == (), "that is not AWS's to say"


def test_targets_keep_their_order_and_have_the_familys_name() -> None:
    places = [ImagePlace("b", "{family}-driver", create_repository=True), ImagePlace("a", "{ecr_repository}")]
    found = targets_of(places, "neuron", {"KMOD_ECR_REPOSITORY_NAME": "mine/kmod"})
    assert found == (Target("b", "neuron-driver", create_repository=True),
                     Target("a", "mine/kmod", create_repository=False))
    assert targets_of((), "neuron", {}) == ()


PLACE = ImagePlace(ECR, "{dtk_ecr_repository}", create_repository=True)


@pytest.mark.parametrize("environ, repository", [
    (ACCOUNT, "neuron-operator/driver-toolkit"),
    ({**ACCOUNT, "DTK_ECR_REPOSITORY_NAME": "mine/dtk", "KMOD_ECR_REPOSITORY_NAME": "mine/kmod"}, "mine/dtk"),
])
def test_places_of_toolkits(environ: dict[str, str], repository: str) -> None:
    assert toolkits_at(PLACE, environ) == Target(FILLED, repository, create_repository=True)


@pytest.mark.parametrize("place", [ImagePlace("", ""), ImagePlace("", "x"), ImagePlace("x", "")])
def test_no_place_of_toolkits(place: ImagePlace) -> None:
    assert toolkits_at(place, {}) is None
