"""The sandbox's services and images, for real."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import stat
import subprocess
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from foundry.base.errors import OutsideError
from foundry.config.settings import SandboxContent
from foundry.podman.engine import Engine
from foundry.sandbox import web
from foundry.sandbox.daemons import REGISTRY, WEB, Daemons, start_time
from foundry.sandbox.debian import choose_kernels
from foundry.sandbox.made import Made
from foundry.sandbox.make import Sandbox
from foundry.signing.certificate import read_certificate
from foundry.signing.keys import open_signer
from tests.harness.clone import Clone, registry_login

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
CONTENT = SandboxContent(
    ("2.16.7.0", "2.22.2.0", "2.28.0.0"), 3,
    {"4.16.30": 0, "4.16.48": 0, "4.17.12": 1, "4.18.15": 1, "4.18.16": 2, "4.19.3": 2}, (1,),
)
HELLO = """\
#include <linux/module.h>
static int __init hello_init(void) { pr_info("hello\\n"); return 0; }
static void __exit hello_exit(void) { }
module_init(hello_init);
module_exit(hello_exit);
MODULE_LICENSE("GPL");
"""

@pytest.fixture
def sandbox(services: Clone) -> Sandbox:
    """The session's sandbox, up."""
    found = Sandbox(services.services, services.root, CONTENT, services.build)
    found.ensure_running()
    return found


def catalogue(sandbox: Sandbox) -> list[dict[str, str]]:
    return list(json.loads((sandbox.output / "driver-toolkit.json").read_text()))


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def resolves(sandbox: Sandbox, reference: str) -> bool:
    repository, _, digest = reference.removeprefix(f"{REGISTRY}/").partition("@")
    answer, _ = ask(
        sandbox.addresses()[REGISTRY], f"/v2/{repository.partition(':')[0]}/manifests/{digest}", "HEAD",
        Accept=MANIFESTS, Authorization=basic(sandbox))
    return answer.status == HTTPStatus.OK and answer.headers["Docker-Content-Digest"] == digest


def basic(sandbox: Sandbox) -> str:
    return f"Basic {base64.b64encode(':'.join(registry_login(sandbox.folder)).encode()).decode()}"


def references(sandbox: Sandbox) -> set[str]:
    base = json.loads((sandbox.output / "locks/neuron.json").read_text())["base"]
    images = {entry[kind] for entry in catalogue(sandbox) for kind in ("dtk", "payload")}
    return {*images, f"{base['name']}@{base['digest']}"}


def test_the_second_up_starts_no_process(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = sandbox.daemons.state.read_bytes()
    sandbox.up(tmp_path / "log")
    connects: list[object] = []
    connect = socket.create_connection

    def counted(*args: Any, **kwargs: Any) -> socket.socket:
        connects.append(args)
        return connect(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail(f"started {args}"))
    monkeypatch.setattr(socket, "create_connection", counted)
    sandbox.up(tmp_path / "log")
    sandbox.ensure_running()
    assert sandbox.daemons.state.read_bytes() == before
    assert len(connects) <= 2 * 2  # two for each call


def test_down_leaves_no_process_and_up_has_the_same_data(sandbox: Sandbox) -> None:
    known = json.loads(sandbox.daemons.state.read_text())
    addresses = sandbox.addresses()
    sandbox.down()
    assert all(start_time(known[name]["pid"]) != known[name]["started"] for name in ("registry", "web"))
    assert not sandbox.daemons.state.exists()
    assert not sandbox.running() and sandbox.addresses() == {}
    sandbox.down()
    for _ in range(5):
        sandbox.ensure_running()
        assert sandbox.running()
        before, addresses = addresses, sandbox.addresses()
        if addresses == before:  # the previous ports, when they are still free
            break
        sandbox.down()
    assert addresses == before
    assert all(resolves(sandbox, reference) for reference in references(sandbox))


def test_up_and_down_say_a_line(sandbox: Sandbox, services: Clone) -> None:
    for verb, line in (("down", "the sandbox is down; what was made stays"),
                       ("down", "the sandbox is down already; what was made stays"), ("up", "the sandbox is up: ")):
        done = services.doit(f"sandbox:{verb}")
        assert done.code == 0
        assert done.out.startswith(line) and len(done.out.splitlines()) == 1
    assert all(address in done.out for address in sandbox.addresses().values())


def test_a_service_that_died_comes_back_alone(sandbox: Sandbox) -> None:
    known = json.loads(sandbox.daemons.state.read_text())
    os.kill(known["registry"]["pid"], 9)
    while start_time(known["registry"]["pid"]) == known["registry"]["started"]:
        pass
    assert not sandbox.running()
    sandbox.ensure_running()
    after = json.loads(sandbox.daemons.state.read_text())
    assert after["web"] == known["web"] and after["registry"]["pid"] != known["registry"]["pid"]


# -- another user of the machine -------------------------------------------------


WRONG = f"Basic {base64.b64encode(b'sandbox:' + b'0' * 64).decode()}"


@pytest.mark.parametrize("method, path", [
    ("GET", "/v2/"), ("GET", "/v2/_catalog"), ("GET", "/v2/busybox/tags/list"),
    ("HEAD", "/v2/busybox/manifests/stable"), ("POST", "/v2/busybox/blobs/uploads/"),
    ("PUT", "/v2/busybox/manifests/stable"), ("DELETE", f"/v2/busybox/manifests/sha256:{'0' * 64}"),
])
@pytest.mark.parametrize("headers", [{}, {"Authorization": WRONG}])
def test_who_has_no_password_reads_and_writes_nothing(
    sandbox: Sandbox, method: str, path: str, headers: dict[str, str]
) -> None:
    """Whom the port lets in could change what is compiled with here; with the password each is an answer."""
    address = sandbox.addresses()[REGISTRY]
    assert ask(address, path, method, **headers)[0].status == HTTPStatus.UNAUTHORIZED
    answer, _ = ask(address, path, method, Authorization=basic(sandbox))
    assert answer.status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def test_only_this_user_can_read_the_password(sandbox: Sandbox) -> None:
    """And nothing else of the sandbox has it: no log, no other file, no process's arguments or environment."""
    user, password = registry_login(sandbox.folder)
    assert len(password) >= 32
    for name in ("auth.json", "htpasswd", "registry.json"):
        assert stat.S_IMODE((sandbox.folder / name).stat().st_mode) == 0o600
    secrets = [password.encode(), base64.b64encode(f"{user}:{password}".encode())]
    files = [path for root in (sandbox.folder, sandbox.output) for path in root.rglob("*")
             if path.is_file() and not path.is_symlink() and path != sandbox.daemons.auth_file
             and not path.is_relative_to(sandbox.daemons.registry_storage)]
    pid = json.loads(sandbox.daemons.state.read_text())["registry"]["pid"]
    files += [Path(f"/proc/{pid}/cmdline"), Path(f"/proc/{pid}/environ")]
    assert sandbox.folder / "registry.log" in files
    assert [path for path in files if any(secret in path.read_bytes() for secret in secrets)] == []


def test_each_start_has_another_password(sandbox: Sandbox) -> None:
    before = registry_login(sandbox.folder)
    sandbox.down()
    sandbox.ensure_running()
    assert registry_login(sandbox.folder) != before
    assert all(resolves(sandbox, reference) for reference in references(sandbox))


def test_a_registry_whose_password_nobody_knows_is_started_again(sandbox: Sandbox) -> None:
    """As one that an earlier version started, which asks for none."""
    pid = json.loads(sandbox.daemons.state.read_text())["registry"]["pid"]
    sandbox.daemons.auth_file.unlink()
    assert not sandbox.running()
    sandbox.ensure_running()
    assert json.loads(sandbox.daemons.state.read_text())["registry"]["pid"] != pid
    assert all(resolves(sandbox, reference) for reference in references(sandbox))


def test_the_users_own_tools_take_the_auth_file(sandbox: Sandbox) -> None:
    """As the README says."""
    name = f"docker://{sandbox.addresses()[REGISTRY]}/busybox"
    for more, code in (([], 1), ([f"--authfile={sandbox.daemons.auth_file}"], 0)):
        done = subprocess.run(["skopeo", "list-tags", "--tls-verify=false", *more, name], capture_output=True,
                              check=False, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
        assert done.returncode == code, done.stderr


def test_a_copied_folder_is_another_sandbox(sandbox: Sandbox, tmp_path: Path) -> None:
    for name in ("state.json", "ports.json"):
        shutil.copy(sandbox.folder / name, tmp_path)
    copied = Daemons(tmp_path, sandbox.project)
    assert not copied.running()
    copied.ensure_running()
    try:
        assert not set(copied.addresses().values()) & set(sandbox.addresses().values())
    finally:
        copied.down()
    assert sandbox.running()


def test_a_recycled_process_number_is_left_alone(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        entry = {"port": 1, "pid": process.pid, "started": (start_time(process.pid) or 0) - 1}
        (tmp_path / "state.json").write_text(json.dumps({"folder": str(tmp_path), "registry": entry}))
        Daemons(tmp_path, tmp_path).down()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_what_is_written_resolves(sandbox: Sandbox) -> None:
    entries = catalogue(sandbox)
    assert [entry["version"] for entry in entries] == sorted(CONTENT.releases)
    assert len({entry["kernel"] for entry in entries}) == CONTENT.kernels
    assert all(resolves(sandbox, reference) for reference in references(sandbox))
    base = json.loads((sandbox.output / "locks/neuron.json").read_text())["base"]
    assert f"busybox_{base['busybox']['version']}.orig.tar" in base["busybox"]["source"]
    fingerprint = (sandbox.output / "keys/neuron.fingerprint").read_text().strip()
    assert len(fingerprint) == 40
    key, made = sandbox.output / "keys/signing.key", sandbox.folder / "signing"
    assert key.read_bytes() == (made / "signing.key").read_bytes()
    assert key.stat().st_mode & 0o777 == (made / "signing.key").stat().st_mode & 0o777 == 0o600
    signer = open_signer(str(key), read_certificate(sandbox.output / "keys/signing.crt"), {}, sandbox.output)
    assert signer.certificate.not_after.year > 2100 and signer.warnings == ()
    assert (sandbox.output / "keys/neuron.asc").read_text().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_a_toolkit_compiles_a_module_without_network(sandbox: Sandbox, tmp_path: Path) -> None:
    engine = Engine(sandbox.folder / "engine/engine.json", sandbox.addresses())
    newest = catalogue(sandbox)[-1]
    had_it = engine.has_image(newest["dtk"])
    (tmp_path / "hello.c").write_text(HELLO)
    (tmp_path / "Kbuild").write_text("obj-m := hello.o\n")
    kernel = newest["kernel"]
    script = (f"make -C /lib/modules/{kernel}/build M=/work modules && modinfo -F vermagic /work/hello.ko "
              f"&& ls /lib/modules/{kernel} && cat /etc/driver-toolkit-release.json")
    try:
        engine.pull(newest["dtk"])
        done = engine.call("run", "--rm", "--network=none", "--security-opt=label=disable",
                           f"--volume={tmp_path}:/work", newest["dtk"], "/bin/sh", "-ec", script)
        labels = json.loads(engine.call("image", "inspect", "--format={{json .Labels}}", newest["dtk"]).stdout)
    finally:
        if not had_it:
            engine.remove_image(newest["dtk"])
    lines = done.stdout.splitlines()
    assert any(line.startswith(f"{kernel} ") for line in lines)
    assert {"vmlinuz", "modules.builtin", "modules.builtin.modinfo", "modules.order", "config", "build"} <= set(lines)
    assert not any(line.startswith("initrd") for line in lines)
    assert json.loads(lines[-1])["KERNEL_VERSION"] == kernel
    assert labels["kernel-version"] == kernel


def test_the_web_server(sandbox: Sandbox) -> None:
    address = sandbox.addresses()[WEB]
    path = "/yum/repodata/repomd.xml"
    answer, whole = ask(address, path)
    tag = str(answer.headers["ETag"])
    assert whole == (sandbox.folder / "web/yum/repodata/repomd.xml").read_bytes()
    assert ask(address, path, If_None_Match=tag)[0].status == HTTPStatus.NOT_MODIFIED
    part, content = ask(address, path, Range="bytes=5-9")
    assert (part.status, content) == (HTTPStatus.PARTIAL_CONTENT, whole[5:10])
    assert ask(address, path, Range=f"bytes={len(whole)}-")[0].status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    assert ask(address, path, "HEAD")[1] == b""
    key = "keys/signing-key.asc"
    assert (sandbox.folder / "web" / key).is_file()
    for hidden in ("/../state.json", "/%2e%2e/state.json", f"/{key}", f"/yum/../{key}", "/"):
        assert ask(address, hidden)[0].status == HTTPStatus.NOT_FOUND, hidden


def test_the_release_graph(sandbox: Sandbox) -> None:
    address = sandbox.addresses()[WEB]
    answer, body = ask(address, f"{web.GRAPH_PATH}?channel=stable-4.18&arch=amd64")
    graph = json.loads(body)
    payloads = {entry["version"]: entry["payload"] for entry in catalogue(sandbox)}
    assert answer.status == HTTPStatus.OK
    assert {node["version"]: node["payload"] for node in graph["nodes"]} == {
        version: payload for version, payload in payloads.items() if version < "4.19"}
    for query in ("arch=amd64", "channel=", "channel=stable-4.99", "channel=nothing"):
        answer, body = ask(address, f"{web.GRAPH_PATH}?{query}")
        assert answer.status == HTTPStatus.BAD_REQUEST and set(json.loads(body)) == {"kind", "value"}


def test_a_changed_stand_in_remakes_the_rpm_repository_alone(
    sandbox: Sandbox, services: Clone, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    """And says the steps of that, each with its time."""
    project = tmp_path / "project"
    for name in ("container", "config/toolkits", "foundry"):
        shutil.copytree(services.root / name, project / name)
    other = Sandbox(sandbox.folder, project, CONTENT, tmp_path)
    assert other.missing() == []
    (project / "container/sandbox/standin/Kbuild").write_text("# changed\n")
    assert other.missing() == ["repository"]
    capsys.readouterr()
    other.up(tmp_path / "log")
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == f"sandbox: making repository; log: {tmp_path / 'log'}"
    assert [re.sub(r"  \d+\.\d s$", "", line) for line in shown[1:]] == [
        "sandbox: services done", "sandbox: driver packages done"]
    assert other.missing() == []
    sandbox.up(tmp_path / "log")
    (project / "container/driver-toolkit/toolkit.sh").write_text("# changed\n")
    assert other.missing() == ["archive", "repository", "releases"]


def test_what_is_gone_is_made_again(tmp_path: Path) -> None:
    made = Made(tmp_path / "made.json", tmp_path / "registry")
    calls: list[int] = []

    def make() -> dict[str, Any]:
        calls.append(1)
        (tmp_path / "file").touch()
        return {"files": ["file"]}

    made.part("one", [1], make)
    made.part("one", [1], make)
    assert len(calls) == 1
    (tmp_path / "file").unlink()
    made.part("one", [1], make)
    made.part("one", [2], make)
    assert len(calls) == 3
    assert made.known("one", [2]) is not None
    with pytest.raises(KeyboardInterrupt):
        made.part("two", [], lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert made.known("two", []) is None


def test_kernels_are_chosen_from_what_there_is() -> None:
    offered = ("6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "6.1.0-8-cloud-amd64", "6.12.5+deb12-cloud-amd64",
               "6.1.0-11-amd64", "6.12-cloud-amd64", "cloud-amd64", "6.1.0-10-cloud-arm64")
    chosen = ["6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "6.12.5+deb12-cloud-amd64"]
    assert choose_kernels(offered, "x86_64", 3) == chosen
    assert choose_kernels(offered, "x86_64", 1) == chosen[2:]
    assert choose_kernels(offered, "aarch64", 1) == ["6.1.0-10-cloud-arm64"]
    with pytest.raises(OutsideError):
        choose_kernels(offered, "x86_64", 5)


@pytest.mark.parametrize(("header", "span"), [
    ("bytes=0-0", (0, 0)), ("bytes=2-", (2, 9)), ("bytes=-3", (7, 9)), ("bytes=5-99", (5, 9)),
    ("bytes=10-", None), ("bytes=-", None), ("bytes=5-2", None), ("lines=1-2", None), ("bytes=-0", None),
])
def test_ranges(header: str, span: tuple[int, int] | None) -> None:
    assert web.byte_range(header, 10) == span
