"""A release brought to what it should be, by PyGithub as shipped, through everything that GitHub may do on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.marked_section import BEGIN, END
from foundry.base.reasons import Reason
from foundry.github.client import GitHub as Client
from foundry.github.client import Pauses
from foundry.github.releases import LONGEST_BODY, Asset, Wanted, read_asset, reconcile
from tests.harness import github_exchange as exchange
from tests.harness.github import GitHub, github_fake
from tests.harness.github_state import Fault, Release

TAG = "neuron-driver-2.22.2.0"
TOKEN = "token-canary-4711"


@dataclass
class Product:
    """What is to be released; `asked` are the files that were really needed."""

    folder: Path
    files: dict[str, bytes]
    section: str = "## Available Images\n\n- `a`"
    asked: list[str] = field(default_factory=list)

    def wanted(self) -> Wanted:
        def path(name: str) -> Path:
            self.asked.append(name)
            (self.folder / name).write_bytes(self.files[name])
            return self.folder / name

        assets = [Asset(name, hashlib.sha256(data).hexdigest(), lambda name=name: path(name))  # type: ignore[misc]
                  for name, data in self.files.items()]
        return Wanted(TAG, TAG, lambda _: self.section, lambda _: assets, obsolete=frozenset({"images.md"}))


@pytest.fixture
def one() -> Iterator[GitHub]:
    with github_fake() as fake:
        fake.token = TOKEN
        yield fake
        assert fake.violations == []


@pytest.fixture
def product(tmp_path: Path) -> Product:
    return Product(tmp_path, {"busybox-1.35.0.tar.bz2": b"source" * 500, "images.json": b"{}\n"})


def client(one: GitHub, *, retries: int = 3, seconds: float = 30) -> Client:
    return Client(one.repo, token=TOKEN, api=one.url, seconds=seconds, retries=retries,
                  pauses=Pauses(0, 0, 0.5, first=0.01))


def released(one: GitHub) -> Release:
    """The one published release; no draft, and nothing else, is left."""
    assert [(release.tag_name, release.draft) for release in one.releases] == [(TAG, False)]
    return one.releases[0]


def right(one: GitHub, product: Product) -> bool:
    release = released(one)
    held = {asset.name: (asset.state, asset.content) for asset in release.assets}
    return held == {name: ("uploaded", data) for name, data in product.files.items()} and (
        product.section in (release.body or "").replace("\r\n", "\n"))


def test_from_nothing_then_nothing(one: GitHub, product: Product) -> None:
    done = reconcile(client(one), product.wanted())
    assert right(one, product)
    assert done.writes == ["draft", "busybox-1.35.0.tar.bz2", "images.json", "notes"]
    writes = [method for method, _ in one.writes()]
    assert writes == ["POST", "POST", "POST", "PATCH"], "a draft, its assets, then it is published"
    before = len(one.requests)
    again = reconcile(client(one), product.wanted())
    assert again.writes == []
    assert [method for method, _ in one.requests[before:]] == ["GET"], "one read is all"
    assert product.asked == list(product.files), "no file was asked for again"


def test_only_what_differs(one: GitHub, product: Product) -> None:
    reconcile(client(one), product.wanted())
    product.files["images.json"] = b'{"more": 1}\n'
    done = reconcile(client(one), product.wanted())
    assert (done.writes, right(one, product)) == (["images.json"], True)
    product.section += "\n- `b`"
    done = reconcile(client(one), product.wanted())
    assert (done.writes, right(one, product)) == (["notes"], True)


def test_a_tampered_asset_is_found_by_its_digest(one: GitHub, product: Product) -> None:
    reconcile(client(one), product.wanted())
    one.tamper(released(one).asset("images.json"), b"evil")
    assert reconcile(client(one), product.wanted()).writes == ["images.json"]
    assert right(one, product)


def test_what_is_replaced_is_looked_at_first(one: GitHub, product: Product) -> None:
    """What has to be taken over from an asset is read before anything is written; also of a broken run."""
    reconcile(client(one), product.wanted())
    product.files["images.json"] = b'{"rows": 2}\n'
    product.files["busybox-1.35.0.tar.bz2"] = b"other"
    seen: list[tuple[bytes, int]] = []

    def wanted() -> Wanted:
        plain = product.wanted()
        return replace(plain, assets=lambda room: [
            replace(asset, take_over=lambda content: seen.append((content, len(one.writes()))))
            if asset.name == "images.json" else asset for asset in plain.assets(room)])

    before = len(one.writes())
    reconcile(client(one), wanted())
    assert seen == [(b"{}\n", before)]
    assert right(one, product)
    reconcile(client(one), wanted())
    assert len(seen) == 1, "what is as it should be is not read"
    asset = released(one).asset("images.json")
    asset.name, asset.content = "images.json.coming", b"[]"
    reconcile(client(one), wanted())
    assert seen[1][0] == b"[]"
    assert right(one, product)
    one.tamper(released(one).asset("images.json"), b"theirs")

    def refuse(_: bytes) -> None:
        raise FoundryError("not this one", reason=Reason.TIMEOUT)

    plain = product.wanted()
    stubborn = replace(plain, assets=lambda room: [replace(asset, take_over=refuse) for asset in plain.assets(room)])
    before = len(one.writes())
    with pytest.raises(FoundryError, match="not this one"):
        reconcile(client(one), stubborn)
    assert len(one.writes()) == before


def test_an_asset_without_digest_is_read(one: GitHub, product: Product) -> None:
    """Assets from before June 2025 have none."""
    reconcile(client(one), product.wanted())
    asset = released(one).asset("images.json")
    one.spoil = lambda value: without_digest(value, asset.id)
    assert reconcile(client(one), product.wanted()).writes == []
    asset.content = b"[]\n"
    one.spoil = lambda value: without_digest(value, asset.id)
    assert reconcile(client(one), product.wanted()).writes == ["images.json"]
    assert right(one, product)


def without_digest(value: object, number: int) -> object:
    if isinstance(value, dict):
        found = {name: without_digest(inner, number) for name, inner in value.items()}
        return {**found, "digest": None} if found.get("id") == number and "digest" in found else found
    return [without_digest(inner, number) for inner in value] if isinstance(value, list) else value


def test_people_may_write_around_our_section(one: GitHub, product: Product) -> None:
    reconcile(client(one), product.wanted())
    release = released(one)
    mine = (release.body or "").replace("\n", "\r\n")
    release.body = f"Read this first.\r\n\r\n{mine}\r\n\r\nAnd this last.\r\n"
    assert reconcile(client(one), product.wanted()).writes == [], "line endings are no difference"
    product.section = "## Available Images\n\n- `c`"
    assert reconcile(client(one), product.wanted()).writes == ["notes"]
    assert (release.body or "").startswith("Read this first.\r\n\r\n" + BEGIN)
    assert (release.body or "").endswith(END + "\r\n\r\nAnd this last.\r\n")
    one.crlf = True
    assert reconcile(client(one), product.wanted()).writes == []


def test_a_text_without_markers_is_kept(one: GitHub, product: Product) -> None:
    one.seed_release(TAG, body="written by a script, years ago")
    reconcile(client(one), product.wanted())
    assert (released(one).body or "").startswith(f"written by a script, years ago\n\n{BEGIN}")
    assert right(one, product)


def test_damaged_markers_change_nothing(one: GitHub, product: Product) -> None:
    one.seed_release(TAG, body=f"mine\n{BEGIN}\nno end")
    with pytest.raises(FoundryError) as raised:
        reconcile(client(one), product.wanted())
    assert (raised.value.reason, raised.value.exit_code) == ("markers-damaged", 1)
    assert one.writes() == []


def test_other_assets_are_kept_and_obsolete_ones_go(one: GitHub, product: Product) -> None:
    release = one.seed_release(TAG, body="")
    for name in ("theirs.pdf", "images.md"):
        one.seed_asset(release, name, b"x")
    reconcile(client(one), product.wanted())
    assert {asset.name for asset in release.assets} == {*product.files, "theirs.pdf"}


def test_too_long_a_text(one: GitHub, product: Product) -> None:
    product.section = "x" * (LONGEST_BODY - 50)
    with pytest.raises(FoundryError, match="characters"):
        reconcile(client(one), product.wanted())
    assert one.writes() == []


# -- faults: each call fails in each way, at first use and for good ------------

CALLS = {
    "read": ("GET", "/releases/tags/"), "list": ("GET", "/releases?"), "draft": ("POST", "/releases"),
    "upload": ("POST", "/assets?"), "publish": ("PATCH", "/releases/"),
}
PASSING: dict[str, Fault] = {
    "409": exchange.conflict(), "500": exchange.broken(), "502": exchange.broken(502),
    "429 without Retry-After": exchange.too_many(), "secondary limit": exchange.secondary_rate_limit(1),
    "primary limit, over soon": exchange.primary_rate_limit(1), "dropped before": exchange.drop(),
    "dropped after it took effect": exchange.drop_after(), "502 after it took effect": exchange.instead_after(502),
    "422": exchange.already_exists(), "404": exchange.not_found(),
}


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("call", CALLS)
def test_what_passes_heals_in_the_same_run(one: GitHub, product: Product, call: str, fault: str) -> None:
    one.faults.append((*CALLS[call], PASSING[fault]))
    reconcile(client(one), product.wanted())
    assert one.faults == [], "the fault was met"
    assert right(one, product)
    assert reconcile(client(one), product.wanted()).writes == []


LASTING: dict[str, tuple[Fault, str]] = {
    "401": (exchange.unauthorized(), "github-unauthorized"),
    "403": (exchange.refuses(403, "Resource not accessible by integration"), "github-denied"),
    "primary limit": (exchange.primary_rate_limit(3000), "github-rate-limit"),
    "500": (exchange.broken(), "github-status"), "dropped": (exchange.drop(), "github-unreachable"),
    "422": (exchange.already_exists(), "github-status"), "429": (exchange.too_many(), "github-rate-limit"),
    "404": (exchange.not_found(), "github-status"),
}


@pytest.mark.parametrize(("call", "fault"), [
    (call, fault) for call in CALLS for fault in LASTING
    if (call, fault) != ("read", "404")  # no fault: it says that there is no such release
])
def test_what_lasts_is_said_and_the_next_run_heals(one: GitHub, product: Product, call: str, fault: str) -> None:
    old = one.seed_release(TAG, body="## Available Images\n- `old`")
    one.seed_asset(old, "images.json", b"old rows")
    if call in ("list", "draft"):
        one.releases.clear()
    wrong, reason = LASTING[fault]
    one.always(*CALLS[call], wrong)
    with pytest.raises(OutsideError) as raised:
        reconcile(client(one, retries=1, seconds=2), product.wanted())
    assert raised.value.reason == reason
    assert raised.value.exit_code == 3
    assert TOKEN not in raised.value.render()
    if call not in ("list", "draft"):
        assert "`old`" in (old.body or ""), "what was published is there"
        assert any(asset.state == "uploaded" for asset in old.assets if asset.name.startswith("images.json"))
    one.standing.clear()
    reconcile(client(one), product.wanted())
    assert right(one, product)


@pytest.mark.parametrize("step", range(1, 8))
@pytest.mark.parametrize("fault", ["dropped before", "dropped after it took effect"])
def test_a_changed_asset_is_never_gone(one: GitHub, product: Product, step: int, fault: str) -> None:
    """A run that dies at any of its requests leaves the old content or the new, and the next one heals."""
    reconcile(client(one), product.wanted())
    product.files["images.json"] = b'{"rows": 2}\n'
    one.after("", "/", step, PASSING[fault])
    try:
        reconcile(client(one, retries=0), product.wanted())
    except OutsideError:
        whole = [asset for asset in released(one).assets if asset.state == "uploaded"]
        assert any(asset.name in ("images.json", "images.json.coming") for asset in whole)
    reconcile(client(one), product.wanted())
    assert right(one, product)


def test_an_upload_that_died(one: GitHub, product: Product) -> None:
    one.faults.append((*CALLS["upload"], exchange.half_upload()))
    with pytest.raises(OutsideError):
        reconcile(client(one, retries=0), product.wanted())
    assert [asset.state for asset in one.releases[0].assets] == ["starter"]
    assert one.releases[0].draft, "a draft is left behind"
    reconcile(client(one), product.wanted())
    assert right(one, product)


def test_a_concurrent_run(one: GitHub, product: Product) -> None:
    """Somebody publishes the same release between our draft and its publication."""
    def publish(other: exchange.Exchange) -> None:
        one.seed_release(TAG, body="theirs")
        other.finish()

    one.faults.append((*CALLS["publish"], publish))
    reconcile(client(one), product.wanted())
    assert right(one, product)
    assert (released(one).body or "").startswith("theirs")


def test_no_repository(one: GitHub, product: Product) -> None:
    one.hidden = True
    with pytest.raises(OutsideError) as raised:
        reconcile(client(one, retries=0), product.wanted())
    assert f"is there a repository {one.repo}" in raised.value.hint


def test_reading_an_asset(one: GitHub) -> None:
    assert read_asset(client(one), TAG, "images.json", 1000) is None
    release = one.seed_release(TAG, body="x")
    assert read_asset(client(one), TAG, "images.json", 1000) is None
    one.seed_asset(release, "images.json", b"rows")
    before = len(one.requests)
    assert read_asset(client(one), TAG, "images.json", 1000) == b"rows"
    assert len(one.requests) - before == 2
    digest = hashlib.sha256(b"rows").hexdigest()
    assert read_asset(client(one), TAG, "images.json", 1000, unless="0" * 64) == b"rows"
    before = len(one.requests)
    assert read_asset(client(one), TAG, "images.json", 1000, unless=digest) is None
    assert len(one.requests) - before == 1, "what is known is not read"
    assert all("authorization" not in {name.lower() for name in headers} for _, headers in one.elsewhere_requests)
    with pytest.raises(OutsideError, match="more than the 3 bytes allowed"):
        read_asset(client(one), TAG, "images.json", 3)
    one.tamper(release.asset("images.json"), b"evil", digest="sha256:" + "0" * 64)
    with pytest.raises(OutsideError, match="digest"):
        read_asset(client(one, retries=0), TAG, "images.json", 1000)
