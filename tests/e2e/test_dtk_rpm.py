"""Toolkits of RPM kernels: Debian's dnf installs them from a repository of packages with RHEL's names.

The kernels compile and pass the gate for real. What stands in for Red Hat's own: the packages' contents, and a
subscription manager that takes one organisation and one key.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from foundry.podman.engine import Engine
from tests.harness.clone import Clone, Run, registry_login, registry_port
from tests.harness.registry import OCI_MANIFEST
from tests.harness.rpmrepo import RT_PACKAGES, Repository, Tree, recipe
from tests.harness.store import cold_store

EXACT, VERSION, OTHER = (f"5.14.0-427.{number}.1.el9_4.x86_64" for number in (68, 69, 70))
BEFORE, RT = "5.14.0-284.11.1.el9_2.x86_64", "5.14.0-284.11.1.rt14.296.el9_2.x86_64"
OTHER_RT = ("5.14.0-284.11.1.rt14.99.el9_2.x86_64", "5.14.0-284.12.1.rt14.300.el9_2.x86_64")
GCC = "gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2)"
NEWEST = "gcc (GCC) 11.5.0 20240719 (Red Hat 11.5.0-5)"
_RUN = str(os.getpid())  # others may run this test on the machine, too
ORGANISATION, ACTIVATION_KEY = f"canary-organisation-{_RUN}", f"canary-activation-key-{_RUN}"
SECRETS = {"DTK_RHSM_ORG": ORGANISATION, "DTK_RHSM_ACTIVATION_KEY": ACTIVATION_KEY}
PROFILE = "config/profiles/sandbox.yaml"
# It registers only with the right words, says the wrong ones aloud, and looks whether its own command line has them.
_MANAGER = """\
#!/usr/bin/python3
import pathlib, sys
line = pathlib.Path("/proc/self/cmdline").read_bytes()
state = pathlib.Path("/etc/pki/consumer/cert.pem")
if sys.argv[1] == "register":
    if ("can" + "ary-").encode() in line:
        sys.exit("the command line holds a secret")
    if pathlib.Path("/etc/rhsm-host").is_symlink():
        sys.exit("operations disabled when running inside a container")
    if sys.argv[2:] != ["--org=" + "-".join(["canary", "organisation", "RUN"]),
                        "--activationkey=" + "-".join(["canary", "activation", "key", "RUN"])]:
        sys.exit("None of the activation keys " + sys.argv[3] + " exist for " + sys.argv[2])
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text(" ".join(sys.argv))
    pathlib.Path("/var/log/rhsm").mkdir(parents=True, exist_ok=True)
    pathlib.Path("/var/log/rhsm/rhsm.log").write_text(" ".join(sys.argv))
elif sys.argv[1] == "unregister":
    state.unlink()
"""
_CONTAINERFILE = """\
ARG BASE
FROM ${BASE}
RUN apt-get -q -o Acquire::Languages=none update && DEBIAN_FRONTEND=noninteractive \
    apt-get -q -o Dpkg::Options::=--force-unsafe-io install --yes --no-install-recommends dnf rpm \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY subscription-manager /usr/sbin/subscription-manager
RUN chmod 755 /usr/sbin/subscription-manager && ln -s /run/secrets/rhsm /etc/rhsm-host
"""


@dataclass
class World:
    """A base with dnf in the sandbox's registry, and the URL of the packages."""

    base: str
    url: str
    engine: Engine


@pytest.fixture(scope="module")
def world(services: Clone, kernels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("rpm")
    state = json.loads((services.services / "state.json").read_text())
    engine = Engine(services.services / "engine" / "engine.json",
                    {"registry.sandbox.internal": state["registry"]["address"]})
    catalogue = services.catalogue()
    toolkit = next(entry["dtk"] for entry in catalogue if entry["kernel"] == kernels[0])
    engine.pull(toolkit)
    base = _base(engine, toolkit, folder, state["registry"]["address"])
    repository = Repository(folder / "repository")
    tree = _tree(engine, toolkit, kernels[0], folder / "tree")
    repository.kernel(EXACT, tree, GCC, rt=[f"{EXACT}+rt"])
    repository.kernel(BEFORE, tree, GCC, rt=[*OTHER_RT, RT])
    repository.kernel(VERSION, tree, GCC.replace("4.1-2", "4.1-9"))
    repository.kernel(OTHER, tree, "gcc (GCC) 12.9.9 20300101 (Red Hat 12.9.9-1)")
    repository.gcc("11.4.1", "2.el9", GCC)
    repository.gcc("11.5.0", "5.el9", NEWEST)
    for name in recipe("", "")["arguments"]["TOOLS"]:  # type: ignore[index]  # reason: a test's own data
        repository.package(name, "1", "1.el9")
    repository.index()
    with repository.served() as url:
        yield World(base, url, engine)


def _base(engine: Engine, toolkit: str, folder: Path, address: str) -> str:
    """Debian with dnf and a compiler, pushed; a toolkit has what the kernel's build tree needs besides."""
    context = folder / "context"
    context.mkdir()
    (context / "subscription-manager").write_text(_MANAGER.replace("RUN", _RUN))
    (context / "Containerfile").write_text(_CONTAINERFILE)
    engine.call("build", "--quiet", "--pull=never", "--network=host", f"--build-arg=BASE={toolkit}",
                "--timestamp=1700000000", "--tag=localhost/dtk-test-base", str(context))
    for release in ("9.2", "9.4"):
        engine.call("push", "--quiet", "--tls-verify=false", "localhost/dtk-test-base",
                    f"docker://{address}/dtk-test/rpmbase:{release}")
    engine.remove_image("localhost/dtk-test-base")
    return "registry.sandbox.internal/dtk-test/rpmbase:{rhel}"


def _tree(engine: Engine, toolkit: str, kernel: str, folder: Path) -> Tree:
    folder.mkdir()
    engine.call(
        "run", "--rm", "--network=none", f"--volume={folder}:/out", "--security-opt=label=disable", toolkit,
        "/bin/sh", "-c", f"cp -a /usr/src/linux-headers-{kernel} /out/tree; cp -a /lib/modules/{kernel} /out/modules",
       )
    return Tree(folder / "tree", kernel, folder / "modules")


@pytest.fixture
def clone(new_clone: Callable[[], Clone], world: World) -> Clone:
    clone = new_clone()
    path = clone.root / PROFILE
    profile = yaml.safe_load(path.read_text())
    place = {"registry": "registry.sandbox.internal", "repository": f"{clone.repository}-dtk"}
    profile["toolkits"] |= {"recipes": ["ubi"], "publish": place}
    profile["toolkit_recipes"] = {"ubi": recipe(world.url, world.base)}
    path.write_text(yaml.safe_dump(profile))
    clone.extra = dict(SECRETS)
    return clone


def labels(clone: Clone, kernel: str) -> dict[str, str]:
    record: dict[str, Any] = json.loads((clone.build / "dtk" / kernel / "dtk.json").read_text())
    found: dict[str, str] = record["labels"]
    return found


def refused(clone: Clone, run: Run, kernel: str, code: int, reason: str, *texts: str) -> None:
    """One sentence with a hint, nothing half-done, no secret."""
    assert run.code == code, run.text
    for text in (*texts, "hint:"):
        assert text in run.text
    assert "Traceback" not in run.text and "canary" not in run.text
    folder = clone.build / "dtk" / kernel
    assert not (folder / "dtk.json").exists() and not (folder / "image").exists()
    failure = folder / "failure.json"
    assert json.loads(failure.read_text())["reason"] == reason
    assert [path.name for path in folder.glob(".*")] == []


@contextmanager
def watched() -> Iterator[list[str]]:
    """Command lines and environments of all processes on the machine that hold a secret, but doit's own."""
    seen: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for place in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        data = (place / name).read_bytes()
                        line = (place / "cmdline").read_bytes()
                    except OSError:
                        continue
                    if any(word.encode() in data for word in SECRETS.values()) and b"doit" not in line:
                        seen.append(f"{name} of {line!r}")
            done.wait(0.05)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def test_the_watch_sees_what_it_looks_for() -> None:
    with watched() as seen:
        subprocess.run(["sleep", "1"], env={"X": ORGANISATION}, check=True)
        subprocess.run(["sh", "-c", f"sleep 1; : {ACTIVATION_KEY}"], check=True)
    assert {line.partition(" ")[0] for line in seen} == {"environ", "cmdline"}


def test_the_kernels_own_compiler_and_no_trace_of_secrets(clone: Clone, world: World, tmp_path: Path) -> None:
    with cold_store(tmp_path / "store") as store, watched() as seen:
        clone.extra |= store
        run = clone.doit(f"dtk:publish:{EXACT}")
        assert run.code == 0, run.text
        left = subprocess.run(["grep", "-rlF", "-e", "canary-organisation", "-e", "canary-activation", str(tmp_path),
                               str(clone.root)], capture_output=True, text=True, check=False)
        assert left.stdout == ""
    assert seen == [] and "canary" not in run.text + json.dumps(run.processes)
    found = labels(clone, EXACT)
    assert found | {"kmod-foundry.key": ""} == found | {
        "kmod-foundry.key": "", "kernel-version": EXACT, "kernel-rt-version": f"{EXACT}+rt",
        "driver-toolkit.compiler": GCC, "driver-toolkit.compiler.kernel": GCC, "driver-toolkit.compiler.match": "exact",
        "org.opencontainers.image.base.name": "registry.sandbox.internal/dtk-test/rpmbase:9.4",
    }
    assert found["org.opencontainers.image.base.digest"].startswith("sha256:")
    [row] = json.loads((clone.build / "dtk" / "ledger.json").read_text())["toolkits"]
    reference = f"{row['registry']}@{row['digest']}"
    for blob in _layers(clone, row["registry"].partition("/")[2], row["digest"]):
        assert b"canary-" not in blob
    world.engine.pull(reference)
    script = "cat /etc/driver-toolkit-release.json; rpm -qa; ls /etc/yum.repos.d /etc/pki /var/log;" \
             " readlink /etc/rhsm-host"
    said = world.engine.call("run", "--rm", "--network=none", reference, "/bin/sh", "-c", script).stdout
    world.engine.remove_image(reference)
    assert json.loads(said.splitlines()[0]) == {
        "KERNEL_VERSION": EXACT, "RT_KERNEL_VERSION": f"{EXACT}+rt", "RHEL_VERSION": "9.4"}
    for name in (*RT_PACKAGES, "kernel-core", "kernel-devel", "kernel-modules-extra"):
        assert f"{name}-5.14.0-427.68.1.el9_4.x86_64" in said
    assert "kernel-abi-stablelists-5.14.0-427.68.1.el9_4.noarch" in said and "gcc-11.4.1-2.el9" in said
    assert "driver-toolkit.repo" not in said and "consumer" not in said and "rhsm\n" not in said.rpartition("/run")[0]
    assert said.splitlines()[-1] == "/run/secrets/rhsm"


def _layers(clone: Clone, repository: str, digest: str) -> Iterator[bytes]:
    import requests

    def read(name: str) -> requests.Response:
        answer = requests.get(f"http://127.0.0.1:{registry_port(clone.services)}/v2/{repository}/{name}",
                              headers={"Accept": OCI_MANIFEST}, auth=registry_login(clone.services), timeout=60)
        answer.raise_for_status()
        return answer

    manifest = read(f"manifests/{digest}")
    yield manifest.content
    document = manifest.json()
    yield read(f"blobs/{document['config']['digest']}").content
    for layer in document["layers"]:
        yield gzip.decompress(read(f"blobs/{layer['digest']}").content)


@pytest.mark.parametrize("kernel, compiler, match", [(VERSION, GCC, "version"), (OTHER, NEWEST, "base")])
def test_another_compiler_is_said(clone: Clone, kernel: str, compiler: str, match: str) -> None:
    run = clone.doit(f"dtk:{kernel}")
    assert run.code == 0, run.text
    found = labels(clone, kernel)
    assert (found["driver-toolkit.compiler"], found["driver-toolkit.compiler.match"]) == (compiler, match)
    assert found["driver-toolkit.compiler.kernel"] != compiler
    assert "kernel-rt-version" not in found, "the repository has no real-time kernel of it"
    assert f"the toolkit of {kernel} has no real-time kernel: the package repositories have no {kernel}+rt" in run.text


def test_a_real_time_kernel_with_a_version_of_its_own(clone: Clone, world: World) -> None:
    """RHEL up to 9.2: …rt14.296.el9_2, of several the newest, and none of another kernel."""
    run = clone.doit(f"dtk:{BEFORE}")
    assert run.code == 0, run.text
    assert "has no real-time kernel" not in run.text
    assert labels(clone, BEFORE)["kernel-rt-version"] == RT
    blobs = [path.read_bytes() for path in (clone.build / "dtk" / BEFORE / "image").rglob("*") if path.is_file()]
    layers = [gzip.decompress(blob) for blob in blobs if blob.startswith(b"\x1f\x8b")]
    assert [f'"RT_KERNEL_VERSION": "{RT}"'.encode() in layer for layer in layers].count(True) == 1


def test_a_kernel_that_the_repositories_lack(clone: Clone) -> None:
    kernel = "5.14.0-427.99.1.el9_4.x86_64"
    run = clone.doit(f"dtk:{kernel}")
    refused(clone, run, kernel, 3, "kernel-missing", f"no kernel {kernel}", f"{EXACT} {VERSION} {OTHER}")


def test_secrets_missing_or_wrong(clone: Clone) -> None:
    clone.extra = {"DTK_RHSM_ORG": ORGANISATION}
    run = clone.doit(f"dtk:{EXACT}")
    refused(clone, run, EXACT, 3, "secret-missing", "DTK_RHSM_ACTIVATION_KEY is not set")
    assert run.podman("build") == []
    clone.extra = {**SECRETS, "DTK_RHSM_ACTIVATION_KEY": "canary-wrong"}
    run = clone.doit(f"dtk:{EXACT}")
    refused(clone, run, EXACT, 3, "rhsm-refused", "does not register")
    log = (clone.build / "dtk" / EXACT / "build.log").read_text()
    assert "None of the activation keys" in log and "canary" not in log and "***" in log


def test_a_repository_that_is_away(clone: Clone, world: World) -> None:
    clone.edit(PROFILE, world.url, "http://127.0.0.1:9/")
    run = clone.doit(f"dtk:{EXACT}")
    refused(clone, run, EXACT, 3, "repositories-unreachable", "the package repositories can't be had")


def test_a_base_that_is_gone(clone: Clone) -> None:
    bases = {"registry.sandbox.internal/dtk-test/rpmbase:9.4": {"digest": f"sha256:{'0' * 64}",
                                                                 "created": "2025-01-02T03:04:05Z"}}
    clone.write("build/sandbox/kernels.json", {"schema": 1, "bases": bases, "releases": []})
    run = clone.doit(f"dtk:{EXACT}")
    refused(clone, run, EXACT, 1, "base-gone", "0" * 64, "--update-base")
