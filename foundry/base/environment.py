"""The environment variables that are read, what each means, and which values of them are wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from foundry.base.errors import UsageError
from foundry.base.plain_text import keep_secret

_LINE_OF_A_KEY = 40  # characters; a shorter word of a secret would be hidden where it means something else
_LONGEST = 60  # characters of a value in a message
_ON, OFF = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}
_REPOSITORY = re.compile(r"[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}")
_NAME = re.compile(r"[a-z0-9{]([a-z0-9{}._/-]*[a-z0-9}])?")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/\S*)?")

# What variables are about; a page of `doit help` shows those of its subjects, and those of ALWAYS. MACHINE: no page.
ALWAYS, CELLS, PODMAN, REGISTRIES, AWS, GITHUB, ARCHIVE, TOOLKITS, SIGNING, MACHINE = (
    "always", "cells", "podman", "registries", "aws", "github", "archive", "toolkits", "signing", "machine")


def _flag(value: str) -> str:
    return "" if value.strip().lower() in _ON | OFF else "neither on (1, true, yes, on) nor off (0, false, no, off)"


def _count(value: str) -> str:
    return "" if re.fullmatch(r"[0-9]{0,6}", value) else "not a number"


def _folder(value: str) -> str:
    """A folder that is there, or that can be made."""
    path = Path(value).absolute()
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    return "" if there.is_dir() else f"not a folder: {there} is none"


def _fits(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    return lambda value: "" if not value or pattern.fullmatch(value) else f"not {what}"


def _shown(value: str) -> str:
    """As much of it as a message needs; an address may have a password in it."""
    return "…" if "@" in value else value[:_LONGEST]


def _anything(value: str) -> str:
    return ""


@dataclass(frozen=True)
class Variable:
    """Variables that mean something together. `fault` says what is wrong with a value; an empty text: nothing.

    Those without a rule here are looked at where they are used: `doit doctor` says what it finds.
    """

    names: tuple[str, ...]
    subject: str
    meaning: str
    fault: Callable[[str], str] = _anything


VARIABLES = (
    Variable(("KMOD_PROFILE",), ALWAYS, "the profile; goes before everything else that chooses one"),
    Variable(("GITHUB_ACTIONS",), ALWAYS, "`true` in GitHub Actions, where the profile is `github`", _flag),
    Variable(("FORCE_BUILD",), CELLS, "`1`, `true`, `yes` or `on`: rebuild what is selected, also what is published",
             _flag),
    Variable(("KMOD_SANDBOX",), CELLS, "folder of the sandbox's services, to share one sandbox", _folder),
    Variable(("CONTAINERS_STORAGE_CONF",), PODMAN, "podman's: where and how it keeps images"),
    Variable(("CONTAINERS_CONF",), PODMAN, "podman's: how it starts containers"),
    Variable(("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"), MACHINE, "folder of the lock that all checkouts of a user share"),
    Variable(("GITHUB_SERVER_URL", "GITHUB_WORKFLOW_REF", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT"), MACHINE,
             "the run of GitHub Actions, for provenance"),
    Variable(("GITHUB_STEP_SUMMARY",), MACHINE, "file that a job's summary is added to"),
    Variable(("QUAY_USERNAME", "QUAY_PASSWORD"), REGISTRIES, "credentials for quay.io"),
    Variable(("QUAY_AUTH_FILE",), REGISTRIES, "file with a pull secret, for quay.io"),
    Variable(("REGISTRY_AUTH_FILE",), REGISTRIES, "file with credentials, for all registries"),
    Variable(("DOCKER_CONFIG", "XDG_CONFIG_HOME"), REGISTRIES, "folders of docker's and podman's credentials"),
    Variable(("GITHUB_ACTOR",), REGISTRIES, "the user of `GITHUB_TOKEN` at ghcr.io"),
    Variable(("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"), REGISTRIES, "proxies; never used for loopback"),
    Variable(("AWS_REGION", "AWS_DEFAULT_REGION"), AWS, "the region; else that of the AWS profile"),
    Variable(("AWS_ACCOUNT_ID",), AWS, "the account, 12 digits; else AWS is asked"),
    Variable(("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), AWS,
             "where AWS credentials are, as the AWS CLI reads them"),
    Variable(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE",
              "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), AWS,
             "AWS credentials, as the AWS CLI reads them"),
    Variable(("AWS_CA_BUNDLE",), AWS, "file with the certificates that AWS's servers are trusted by"),
    Variable(("KMOD_ECR_REPOSITORY_NAME",), AWS, "the ECR repository of images; may hold `{family}`",
             _fits(_NAME, "the name of a repository")),
    Variable(("DTK_ECR_REPOSITORY_NAME",), AWS, "the ECR repository that toolkits are mirrored into",
             _fits(_NAME, "the name of a repository")),
    Variable(("GITHUB_TOKEN", "GH_TOKEN"), GITHUB, "token for releases and pull requests; for ghcr.io the first"),
    Variable(("GITHUB_REPOSITORY",), GITHUB, "OWNER/NAME of the repository with the releases",
             _fits(_REPOSITORY, "OWNER/NAME")),
    Variable(("GITHUB_API_URL",), GITHUB, "address of another server's API", _fits(_URL, "an http(s) address")),
    Variable(("KMOD_ARCHIVE_REMOTE",), ARCHIVE, "where archives are pushed; may hold `{family}`"),
    Variable(("KMOD_ARCHIVE_TOKEN",), ARCHIVE, "token for pushing there by https"),
    Variable(("GIT_CONFIG_COUNT",), ARCHIVE, "git's: how many settings `GIT_CONFIG_KEY_…` name", _count),
    Variable(("KMOD_SIGNING_KEY",), SIGNING, "the key in PEM that modules are signed with, for `env:…`"),
    Variable(("KMOD_SIGNING_PASSPHRASE",), SIGNING, "passphrase of that key, or PIN of the token that has it"),
    Variable(("KMOD_IMAGE_SIGNING_KEY",), SIGNING, "the key in PEM that images are signed with, for `env:…`"),
    Variable(("KMOD_IMAGE_SIGNING_PASSPHRASE",), SIGNING, "passphrase of that key, or PIN of the token that has it"),
    Variable(("DTK_RHSM_ORG", "DTK_RHSM_ACTIVATION_KEY"), TOOLKITS, "Red Hat subscription, for the recipe `ubi`"),
)


def refuse_faulty(environ: Mapping[str, str] = os.environ) -> None:
    """UsageError that names every variable whose value can't be meant."""
    faults = [
        f"{name}={_shown(environ[name])}: {fault}" for variable in VARIABLES for name in variable.names
        if name in environ and (fault := variable.fault(environ[name]))
    ]
    if faults:
        raise UsageError("; ".join(faults), hint="correct the environment variable, or unset it")


def flag(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a variable is on. UsageError for what means neither on nor off."""
    value = environ.get(name, "").strip().lower()
    if value not in _ON | OFF:
        raise UsageError(f"{name}={_shown(value)}: {_flag(value)}")
    return value in _ON


def take_secrets(names: Iterable[str], environ: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """What the environment holds under the names, taken out of it: no command that is started gets it."""
    found = {name: environ.pop(name, "").strip() for name in sorted(set(names))}
    for value in found.values():
        keep_secret(value, *(part for part in value.replace("\\n", "\n").split() if len(part) >= _LINE_OF_A_KEY))
    return found
