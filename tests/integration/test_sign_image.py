"""`doit sign:image` on images of strangers in a real registry: what is new is the signature, and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import zstandard

from foundry.formats.modules.signature import MARK, signed
from tests.harness.project import Done, Project
from tests.harness.registry import Pusher, compressed, real_registry, tar_of
from tests.harness.signing import Pair, openssl, pair_named
from tests.unit.formats.test_elf import module

KERNEL = "5.14.0-427.el9.x86_64"
FOLDER = f"opt/lib/modules/{KERNEL}"
MODULE = f"{FOLDER}/extra/site.ko"
CERTIFICATE = "licenses/module-signing.der"
BASE = {"bin/sh": b"a shell", "etc/passwd": b"root"}
Layer = Mapping[str, bytes]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "checkout")


@dataclass(frozen=True)
class Place:
    """A repository of the registry, read by HTTP alone."""

    pusher: Pusher

    @property
    def name(self) -> str:
        return f"{self.pusher.address}/{self.pusher.repository}"

    def push(self, *layers: bytes, tag: str = "", labels: Mapping[str, str] | None = None) -> str:
        """The image's name by digest."""
        made = self.pusher.image(layers, labels=labels, tag=tag, created="2024-05-06T07:08:09Z")
        return f"{self.name}@{made['digest']}"

    def get(self, kind: str, reference: str) -> bytes:
        found = requests.get(f"http://{self.pusher.address}/v2/{self.pusher.repository}/{kind}/{reference}", timeout=10,
                             headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
        return found.content if found.ok else b""


@pytest.fixture
def place(address: str, request: pytest.FixtureRequest) -> Place:
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return Place(Pusher(address, f"test/{name}"))


def sign(project: Project, *words: str, pair: Pair | None = None, **environ: str) -> Done:
    pair = pair or pair_named("one")
    return project.doit("sign:image", f"--key={pair.key}", f"--certificate={pair.file}", *words, **environ)


class Archive:
    """An ``image.oci.tar``, read without code of ours."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.files = {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]
        self.digest = json.loads(self.files["index.json"])["manifests"][0]["digest"]
        self.manifest = json.loads(self.blob(self.digest))
        self.config = json.loads(self.blob(self.manifest["config"]["digest"]))
        self.plain = [unpacked(self.blob(one["digest"])) for one in self.manifest["layers"]]

    def blob(self, digest: str) -> bytes:
        data = self.files[f"blobs/sha256/{digest.removeprefix('sha256:')}"]
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
        return data

    def content(self, path: str) -> bytes:
        return {name: content for plain in self.plain for name, (_, content) in entries(plain).items()}[path]


def unpacked(data: bytes) -> bytes:
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.decompress(data)
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def entries(plain: bytes) -> dict[str, tuple[dict[str, Any], bytes]]:
    """The members in their order: what their headers say but for the size and its checksum, and the contents."""
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {one.name.removeprefix("./"): (
            {**one.get_info(), "size": 0, "chksum": 0, "pax": one.pax_headers},
            tar.extractfile(one).read() if one.isfile() else b"") for one in tar}  # type: ignore[union-attr]


def openssl_takes(content: bytes, pair: Pair, folder: Path) -> bytes | None:
    """The module without its signature, where openssl finds that the pair's key made that."""
    assert content.endswith(MARK)
    end = len(content) - len(MARK) - 12
    size = int.from_bytes(content[end + 8:end + 12], "big")
    (folder / "content").write_bytes(content[:end - size])
    (folder / "message").write_bytes(content[end - size:end])
    done = subprocess.run(
        ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "message", "-content",
         folder / "content", "-certfile", pair.file, "-nointern", "-noverify", "-out", "/dev/null"],
        capture_output=True, check=False)
    return content[:end - size] if done.returncode == 0 else None


def by_tar(folder: Path, form: str, files: Layer) -> bytes:
    """A layer as GNU tar packs it, with owners, modes, times below the second, links and a long name."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    long = folder / ("long" * 30) / ("name" * 30)
    long.parent.mkdir()
    long.write_bytes(b"long")
    (folder / "link").symlink_to("opt")
    (folder / "hard").hardlink_to(long)
    for path in sorted(folder.rglob("*.ko")):
        path.chmod(0o640)
    return subprocess.run(["tar", "--create", f"--format={form}", "--owner=site:1234", "--group=site:4321",
                           "--mtime=2020-02-03 04:05:06.789", "--sort=name", "--directory", folder, "."],
                          capture_output=True, check=True).stdout


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
def test_nothing_but_the_signature_is_new(project: Project, place: Place, tmp_path: Path, form: str) -> None:
    content = module()
    files = {MODULE: content, f"{FOLDER}/modules.dep": b"extra/site.ko:\n", CERTIFICATE: b"the one before"}
    # ustar has no names as long as these
    layer = tar_of(files) if form == "ustar" else by_tar(tmp_path / "layer", form, files)
    base = tar_of(BASE)
    labels = {"name": "site", "kmod-foundry.key": "0" * 64, "kmod-foundry.signer": "before"}
    image = place.push(base, layer, labels=labels)
    run = sign(project, image, "--json")
    assert run.code == 0, run.err
    [said] = json.loads(run.out)
    file = project.root / said["place"]
    made = Archive(file)
    assert file == project.root / f"build/local/signed/{made.digest.removeprefix('sha256:')}/image.oci.tar"
    assert said["digest"] == made.digest and said["image"] == image
    # Read without code of ours: the module.
    new = made.content(MODULE)
    assert openssl_takes(new, pair_named("one"), tmp_path) == content
    assert openssl_takes(new, pair_named("two"), tmp_path) is None
    assert made.content(CERTIFICATE) == pair_named("one").certificate.der
    # All else: the other layer is the same blob, and the tar is byte by byte what it was but for those two files.
    assert made.manifest["layers"][0]["digest"] == f"sha256:{hashlib.sha256(base).hexdigest()}"
    before, after = entries(layer), entries(made.plain[1])
    assert list(before) == list(after)
    assert {name for name in before if before[name][1] != after[name][1]} == {MODULE, CERTIFICATE}
    assert {name: facts for name, (facts, _) in before.items()} == {name: facts for name, (facts, _) in after.items()}
    # What the image says of itself.
    fingerprint = hashlib.sha256(pair_named("one").certificate.der).hexdigest()
    assert made.config.pop("config")["Labels"] == {
        "name": "site", "kmod-foundry.signer": "one", "kmod-foundry.certificate": fingerprint,
        "kmod-foundry.signature-hash": "sha256", "kmod-foundry.resigned": image.partition("@")[2]}
    manifest = json.loads(place.get("manifests", image.partition("@")[2]))
    old = json.loads(place.get("blobs", manifest["config"]["digest"]))
    assert made.config["created"] == "2024-05-06T07:08:09Z"
    assert made.config["rootfs"].pop("diff_ids") == [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in made.plain]
    assert {**made.config, "rootfs": 0} == {**{name: old[name] for name in old if name != "config"}, "rootfs": 0}
    assert (said["signer"], said["certificate"], said["hash"]) == ("one", fingerprint, "sha256")
    # Other programs take it, and the same inputs give the same bytes.
    subprocess.run(["skopeo", "copy", "--quiet", f"oci-archive:{file}", f"dir:{tmp_path / 'copied'}"], check=True)
    first = file.read_bytes()
    file.unlink()
    assert sign(project, image).code == 0
    assert file.read_bytes() == first
    assert [path.name for path in (project.root / "build/local/signed").iterdir()] == [file.parent.name]


@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
def test_an_image_without_certificate(project: Project, place: Place, tmp_path: Path, kind: str) -> None:
    """It comes behind the modules; layers may be packed in each way, and only what is shown is signed."""
    below, above = module(), module() + b"another"
    image = place.push(*(compressed(tar_of(files), kind) for files in (
        {**BASE, MODULE: below}, {MODULE: above, f"{FOLDER}/b.ko": module()}, {"etc/other": b""})))
    run = sign(project, image, f"--out={tmp_path / 'out'}")
    assert run.code == 0, run.err
    [file] = (tmp_path / "out").rglob("image.oci.tar")
    made = Archive(file)
    assert openssl_takes(made.content(MODULE), pair_named("one"), tmp_path) == above
    assert openssl_takes(made.content(f"{FOLDER}/b.ko"), pair_named("one"), tmp_path) == module()
    assert made.content(CERTIFICATE) == pair_named("one").certificate.der
    assert list(entries(made.plain[1])) == [MODULE, f"{FOLDER}/b.ko", "licenses", CERTIFICATE]
    old = json.loads(place.get("manifests", image.partition("@")[2]))["layers"]
    same = [one["digest"] == two["digest"] for one, two in zip(old, made.manifest["layers"], strict=True)]
    assert same == [True, False, True], "a module that the upper layer hides is left alone"
    assert f"/{MODULE}" in run.out and "signed by 'one' with sha256" in run.out


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("hash_name", ["", "sha384"])
def test_beside_another_signature(project: Project, place: Place, tmp_path: Path, hash_name: str, beside: bool) -> None:
    """Or instead of it. The hash is that of the one that is there, unless another is named."""
    image = place.push(tar_of({MODULE: signed(module(), pair_named("two"), "sha512")}))
    words = [image, f"--out={tmp_path / 'out'}", "--json", *(["--beside"] if beside else []),
             *([f"--hash={hash_name}"] if hash_name else [])]
    run = sign(project, *words)
    assert run.code == 0, run.err
    [said] = json.loads(run.out)
    new = Archive(Path(said["place"])).content(MODULE)
    assert said["hash"] == (hash_name or "sha512")
    assert (said["modules"][MODULE] != []) == beside and all("two" in who for who in said["modules"][MODULE])
    both = tmp_path / "both.crt"  # openssl wants the certificates of all signers
    both.write_bytes(pair_named("one").file.read_bytes() + pair_named("two").file.read_bytes())
    assert openssl_takes(new, Pair(Path(), both), tmp_path) == module()
    assert (openssl_takes(new, pair_named("one"), tmp_path) is None) == beside
    shown = subprocess.run(["openssl", "asn1parse", "-inform", "DER", "-in", tmp_path / "message"], capture_output=True,
                           check=True, text=True).stdout
    assert (":two" in shown) == beside and ":one" in shown
    # Once more with the same key: nothing piles up.
    again = sign(project, f"{said['image']}", *words[1:])
    assert json.loads(again.out)[0]["digest"] == said["digest"]


def test_pushed(project: Project, place: Place) -> None:
    """Read back by hand; done again it is the same; a tag is only taken from an image of the same origin."""
    image = place.push(tar_of({MODULE: module()}), tag="own")
    tagged = image.replace("@", ":own@")
    run = sign(project, image, "--to", f"{place.name}:site")
    assert run.code == 0, run.err
    manifest = place.get("manifests", "site")
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert f"in {place.name}:site@{digest}" in run.out and f"became {digest}" in run.out
    layer = unpacked(place.get("blobs", json.loads(manifest)["layers"][0]["digest"]))
    assert entries(layer)[MODULE][1].startswith(module())
    assert not list((project.root / "build/local/signed").iterdir())
    assert sign(project, image, "--to", f"{place.name}:site").code == 0
    assert place.get("manifests", "site") == manifest
    # Another key replaces what was made from the same image; nothing else is overwritten.
    assert sign(project, image, "--to", f"{place.name}:site", pair=pair_named("two")).code == 0
    assert place.get("manifests", "site") != manifest
    other = place.push(tar_of({MODULE: module() + b"other"}))
    before = place.get("manifests", "site"), place.get("manifests", "own")
    for words in ((other, "--to", f"{place.name}:site"), (tagged, "--to", place.name)):
        taken = sign(project, *words)
        assert taken.code == 1 and "hint: choose another tag" in taken.out, taken.out
    assert (place.get("manifests", "site"), place.get("manifests", "own")) == before
    elsewhere = f"{place.name}-site"
    assert sign(project, tagged, "--to", elsewhere).code == 0
    assert Place(Pusher(place.pusher.address, f"{place.pusher.repository}-site")).get("manifests", "own")


COMPRESSED = "opt/lib/modules/k/a.ko"
REFUSED: dict[str, tuple[Layer, str]] = {
    "no modules": ({"etc/a.ko": module()}, "the image has no modules below /opt/lib/modules/"),
    "xz": ({MODULE: module(), f"{COMPRESSED}.xz": b"x"}, f"modules are compressed: /{COMPRESSED}.xz"),
    "gz": ({f"{COMPRESSED}.gz": b"x"}, f"modules are compressed: /{COMPRESSED}.gz"),
    "zst": ({f"{COMPRESSED}.zst": b"x"}, f"modules are compressed: /{COMPRESSED}.zst"),
    "compressed all the same": ({MODULE: gzip.compress(module(), mtime=0)}, f"/{MODULE} is no module: it is not ELF"),
    "empty": ({MODULE: b""}, "it is not ELF"),
    "cut off": ({MODULE: signed(module(), pair_named("two"), "sha256")[:-1]}, "ends within a signature"),
    "a wrong length": ({MODULE: module() + bytes(11) + b"\xff" + MARK}, "the module's signature can't be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_images_that_are_refused(project: Project, place: Place, case: str) -> None:
    files, words = REFUSED[case]
    good = place.push(tar_of({MODULE: module() + case.encode()}))
    bad = place.push(tar_of(files))
    run = sign(project, bad, good)
    assert run.code == 1 and words in run.out and "1 signed, 1 bad" in run.out, run.out + run.err
    assert len(list((project.root / "build/local/signed").iterdir())) == 1, "of the other"


def linked(name: str, kind: bytes, target: str) -> bytes:
    """A layer with a module and a link."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        info = tarfile.TarInfo(MODULE)
        info.size = len(module())
        tar.addfile(info, io.BytesIO(module()))
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, target
        tar.addfile(link)
    return sink.getvalue()


@pytest.mark.parametrize("name, kind, target, words", [
    (f"{FOLDER}/weak/site.ko", tarfile.SYMTYPE, "../extra/site.ko", ""),
    (f"{FOLDER}/weak/site.ko", tarfile.SYMTYPE, f"/{MODULE}", ""),
    (f"{FOLDER}/site.ko", tarfile.LNKTYPE, MODULE, ""),
    (f"{FOLDER}/host", tarfile.SYMTYPE, f"/lib/modules/{KERNEL}", ""),
    (f"{FOLDER}/site.ko", tarfile.SYMTYPE, "/usr/src/site.ko", "is no plain file, and no link to one below"),
    ("usr/src/site.ko", tarfile.LNKTYPE, MODULE, "signing changes /usr/src/site.ko, which is more than"),
    ("licenses/module-signing.der", tarfile.SYMTYPE, "/etc/other", "is no plain file in a folder"),
])
def test_links(project: Project, place: Place, name: str, kind: bytes, target: str, words: str) -> None:
    """Those that lead to a module that is signed are as good as it; all others would be no proof."""
    run = sign(project, place.push(linked(name, kind, target)))
    assert run.code == (1 if words else 0) and words in run.out, run.out + run.err
    assert bool(list((project.root / "build").rglob("image.oci.tar"))) == (not words)


def test_licences_that_are_no_folder(project: Project, place: Place) -> None:
    run = sign(project, place.push(linked("licenses", tarfile.SYMTYPE, "usr/share/licenses")))
    assert run.code == 1 and "is no plain file in a folder" in run.out


def test_an_upper_layer_that_hides_the_certificate(project: Project, place: Place) -> None:
    """It would not be there: refused by the proof."""
    run = sign(project, place.push(tar_of({MODULE: module()}), tar_of({"licenses/.wh..wh..opq": b""})))
    assert run.code == 1 and f"signing changes /{CERTIFICATE}" in run.out
    assert not list((project.root / "build/local/signed").iterdir())


def test_modules_with_different_signatures(project: Project, place: Place, tmp_path: Path) -> None:
    """One hash for all, which the label names."""
    second = f"{FOLDER}/b.ko"
    image = place.push(tar_of({MODULE: module(), second: signed(module(), pair_named("two"), "sha384")}))
    run = sign(project, image, "--beside", "--json", f"--out={tmp_path / 'out'}")
    [said] = json.loads(run.out)
    assert said["hash"] == "sha384" and said["modules"][MODULE] == [] and len(said["modules"][second]) == 1
    assert openssl_takes(Archive(Path(said["place"])).content(MODULE), pair_named("one"), tmp_path) == module()


def test_dockers_form(project: Project, place: Place, tmp_path: Path) -> None:
    """The manifest stays of its kind, with the media types of that."""
    pusher, docker = place.pusher, "application/vnd.docker."
    layer = tar_of({MODULE: module()})
    config = {"architecture": "amd64", "os": "linux", "config": None, "created": "2024-05-06T07:08:09Z",
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}
    made = pusher.manifest({
        "schemaVersion": 2, "mediaType": f"{docker}distribution.manifest.v2+json",
        "config": {"mediaType": f"{docker}container.image.v1+json", **pusher.blob(json.dumps(config).encode())},
        "layers": [{"mediaType": f"{docker}image.rootfs.diff.tar.gzip", **pusher.blob(gzip.compress(layer, mtime=0))}],
    })
    run = sign(project, f"{place.name}@{made['digest']}", "--json", f"--to={place.name}:site")
    assert run.code == 0, run.out + run.err
    subprocess.run(["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{place.name}:site",
                    f"dir:{tmp_path / 'copied'}"], check=True)
    manifest = json.loads((tmp_path / "copied/manifest.json").read_text())
    assert manifest["mediaType"] == f"{docker}distribution.manifest.v2+json"
    [described] = manifest["layers"]
    assert described["mediaType"] == f"{docker}image.rootfs.diff.tar.gzip"
    plain = unpacked((tmp_path / "copied" / described["digest"].removeprefix("sha256:")).read_bytes())
    assert openssl_takes(entries(plain)[MODULE][1], pair_named("one"), tmp_path) == module()


def test_names_that_would_act_on_a_terminal(project: Project, place: Place) -> None:
    run = sign(project, place.push(tar_of({f"{FOLDER}/\x1b[2J\n\udcff.ko": module()})))
    assert run.code == 0 and "\x1b" not in run.out and f"/{FOLDER}/?[2J??.ko" in run.out, run.out + run.err


def test_modules_elsewhere_are_named(project: Project, place: Place) -> None:
    run = sign(project, place.push(tar_of({MODULE: module(), "usr/src/b.ko": module()})))
    assert run.code == 0 and "not signed, as KMM loads nothing from there: /usr/src/b.ko" in run.out


def test_an_index(project: Project, place: Place) -> None:
    """Its images are named by digest; each is signed by itself."""
    one, two = (place.pusher.image([tar_of({MODULE: module()})], arch=arch) for arch in ("amd64", "arm64"))
    index = place.pusher.index({"amd64": one, "arm64": two})
    run = sign(project, f"{place.name}@{index['digest']}")
    assert run.code == 1 and "is an index, not an image" in run.out
    assert f"{one['digest']} (linux/amd64), {two['digest']} (linux/arm64)" in run.out


def test_command_lines(project: Project, place: Place, tmp_path: Path) -> None:
    """What can't be meant ends with exit code 2 before anything is read or written."""
    image = place.push(tar_of({MODULE: module()}), tag="latest")
    other = place.push(tar_of({MODULE: module() + b"2"}))
    for words, sentence in [
        ([f"{place.name}:latest"], f"hint: now it is {image}"),
        ([f"{place.name}:none"], "hint: name registry/repository@sha256:…"),
        ([place.name], "names no digest"),
        ([f"{place.name}@sha256:12"], "is no image name"),
        (["2.22.2.0-5.14"], "no ledger has a cell 2.22.2.0-5.14"),
        ([image, "--to", f"{place.name}:a@sha256:{'0' * 64}"], "a new image has a digest of its own"),
        ([image, "--to", place.name], f"no tag is known for {image}"),
        ([image, other, "--to", f"{place.name}:a"], "several images would have the tag a"),
        ([image, "--to", f"{place.name}:a", "--out", str(tmp_path / "out")], "name one of them"),
        ([image, "--hash", "sha1"], "--hash sha1: not one of sha256, sha384, sha512"),
        ([], "sign:image needs a IMAGE"),
    ]:
        run = sign(project, *words)
        assert (run.code, sentence in run.err) == (2, True), (words, run.err)
    for words, sentence in [
        ([image], "the profile names no key to sign modules with"),
        ([image, f"--key={pair_named('one').key}"], "--key and --certificate go together"),
        ([image, "--key=env:a b", f"--certificate={pair_named('one').file}"], "is followed by the name of an"),
    ]:
        run = project.doit("sign:image", *words)
        assert (run.code, sentence in run.err) == (2, True), (words, run.err)
    assert not (project.root / "build/local/signed").exists() and not (tmp_path / "out").exists()


def test_keys(project: Project, place: Place, tmp_path: Path) -> None:
    """From the profile, and from the environment; a pair that does not fit or has expired signs nothing."""
    image, one = place.push(tar_of({MODULE: module()})), pair_named("one")
    by_file = sign(project, image, "--json")
    by_variable = project.doit("sign:image", "--key=env:SITE_KEY", f"--certificate={one.file}", image, "--json",
                               SITE_KEY=one.key.read_text())
    assert json.loads(by_variable.out)[0]["digest"] == json.loads(by_file.out)[0]["digest"]
    project.edit("config/profiles/local.yaml", "\n", f"\nsigning: {{key: {one.key}, certificate: {one.file}}}\n", )
    assert json.loads(project.doit("sign:image", image, "--json").out) == json.loads(by_file.out)
    project.doit("clean")
    other = project.doit("sign:image", f"--key={one.key}", f"--certificate={pair_named('two').file}", image)
    assert (other.code, "is not that of the certificate 'two'" in other.err) == (1, True), other.err
    expired = sign(project, image, pair=expired_pair(tmp_path))
    assert (expired.code, "the certificate 'old' expired on 2021-01-01" in expired.err) == (1, True), expired.err


def expired_pair(folder: Path) -> Pair:
    """Of a certificate whose time is over, by openssl's own little authority."""
    request, made = folder / "old.csr", Pair(pair_named("old").key, folder / "old.crt")
    openssl("req", "-new", "-key", made.key, "-subj", "/CN=old", "-out", request, "-config",
            pair_named("old").key.parent / "openssl.cnf")
    (folder / "index").write_text("")
    (folder / "ca.cnf").write_text(f"""\
[ca]
default_ca = old
[old]
database = {folder / "index"}
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
""")
    openssl("ca", "-batch", "-selfsign", "-config", folder / "ca.cnf", "-keyfile", made.key, "-in", request, "-out",
            made.file, "-notext", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    return made


def test_registries_that_refuse(project: Project, place: Place) -> None:
    """Exit code 3 for what is missing outside, 1 for an image that is not there."""
    image = place.push(tar_of({MODULE: module()}))
    gone = sign(project, f"{place.name}@sha256:{'0' * 64}")
    assert gone.code == 1 and "has no" in gone.out
    away = sign(project, image.replace(place.pusher.address, "127.0.0.1:9"))
    assert away.code == 3 and "0 signed, 1 bad" in away.out, away.out + away.err
    nowhere = sign(project, image, "--to", "127.0.0.1:9/site:tag")
    assert nowhere.code == 3, nowhere.out + nowhere.err
    both = sign(project, image, image.replace(place.pusher.address, "127.0.0.1:9"), "--json")
    assert both.code == 3 and [one["ok"] for one in json.loads(both.out)] == [True, False], both.err
