"""A pull request brought to what it should be, by PyGithub as shipped, through everything that GitHub may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.marked_section import BEGIN, END
from foundry.github.client import GitHub as Client
from foundry.github.client import Pauses
from foundry.github.pulls import LONGEST_BODY, Done, Proposal, Wanted, reconcile
from tests.harness import github_exchange as exchange
from tests.harness.github import GitHub, github_fake
from tests.harness.github_state import Fault, Pull

BRANCH = "update-driver-toolkit"
CATALOGUE, LOCK = "driver-toolkit/driver-toolkit.json", "config/locks/neuron.json"
TOKEN = "token-canary-4711"
NEEDS = "the permissions `contents: write` and `pull-requests: write`"


@dataclass
class Update:
    """What is to be proposed; `held` is what the default branch had when words were asked for."""

    files: dict[str, bytes]
    words: str = "- 4.18.17"
    force: bool = False
    held: list[Mapping[str, bytes | None]] = field(default_factory=list)

    def wanted(self) -> Wanted:
        def words(held: Mapping[str, bytes | None]) -> Proposal:
            self.held.append(held)
            return Proposal("Update", "Update\n\n1 new release", lambda _: self.words)

        return Wanted(BRANCH, self.files, words, force=self.force)


@pytest.fixture
def one() -> Iterator[GitHub]:
    """GitHub, with an old catalogue, a lock and another file on main."""
    with github_fake() as fake:
        fake.token = TOKEN
        fake.git.seed("main", {CATALOGUE: b"[]\n", LOCK: b"{}\n", "src/a.c": b"int a;\n"})
        yield fake
        assert fake.violations == []


@pytest.fixture
def update() -> Update:
    return Update({CATALOGUE: b'["4.18.17"]\n', LOCK: b"{}\n"})


def client(one: GitHub, *, retries: int = 3) -> Client:
    return Client(one.repo, token=TOKEN, api=one.url, seconds=30, retries=retries, pauses=Pauses(0, 0, 0.5, first=0.01),
                  permissions=NEEDS)


def run(one: GitHub, update: Update, *, retries: int = 3) -> Done:
    return reconcile(client(one, retries=retries), update.wanted())


def quiet(one: GitHub, update: Update, most: int) -> Done:
    """A run that writes nothing, in so many requests at most."""
    before = len(one.requests)
    done = run(one, update)
    assert done.writes == []
    asked = one.requests[before:]
    assert {method for method, _ in asked} == {"GET"}
    assert len(asked) <= most, asked
    return done


def branch_of(one: GitHub) -> str:
    return one.git.sha(f"refs/heads/{BRANCH}")


def right(one: GitHub, update: Update) -> Pull:
    """The one open pull request: a commit on top of main that changes what differs and nothing else."""
    found = [pull for pull in one.pulls if pull.state == "open" and pull.head_owner == "acme"]
    assert [(pull.head_branch, pull.base, pull.title) for pull in found] == [(BRANCH, "main", "Update")]
    assert update.words in (found[0].body or "").replace("\r\n", "\n")
    main, head = one.git.commitish("main"), one.git.commit(branch_of(one))
    assert head.parents == (main,)
    assert head.author["name"] == "robot", "whose token it is"
    assert head.message.startswith("Update\n\n1 new release\n\n")
    changed = {file.path: one.git.blob(file.sha) for file in one.git.changed(main, head.sha)}
    here = {path: file.sha for path, file in ((entry.path, entry) for entry in one.git.entries(main, recursive=True))}
    assert changed == {path: data for path, data in update.files.items() if here.get(path) != one.git.write_blob(data)}
    return found[0]


def test_from_nothing_then_nothing(one: GitHub, update: Update) -> None:
    done = run(one, update)
    pull = right(one, update)
    assert done.writes == ["branch", "pull request"]
    assert done.says == f"opened {one.elsewhere}/acme/images/pull/{pull.number}"
    assert update.held == [{CATALOGUE: b"[]\n", LOCK: b"{}\n"}]
    done = quiet(one, update, 5)
    assert done.says.endswith(f"/pull/{pull.number} is as it should be")
    assert (pull.body or "").count("<!-- content ") == 1, "hidden from readers"
    assert TOKEN not in str(one.git.commit(branch_of(one)).message) + str(pull.body)


def test_a_file_that_main_has_not_is_added(one: GitHub, update: Update) -> None:
    update.files["config/locks/other.json"] = b"{}\n"
    run(one, update)
    right(one, update)
    assert update.held[0]["config/locks/other.json"] is None


def test_new_content_goes_into_the_same_pull_request(one: GitHub, update: Update) -> None:
    run(one, update)
    update.files = {CATALOGUE: b'["4.18.17", "4.18.18"]\n', LOCK: b'{"base": 1}\n'}
    update.words = "- 4.18.18"
    done = run(one, update)
    assert done.writes == ["branch", "text"]
    assert right(one, update).number == 1
    quiet(one, update, 5)


def test_only_the_text_differs(one: GitHub, update: Update) -> None:
    run(one, update)
    head = branch_of(one)
    one.pulls[0].title = "mine"
    update.words = "- in other words"
    assert run(one, update).writes == ["text"]
    right(one, update)
    assert branch_of(one) == head


def test_the_branch_follows_main(one: GitHub, update: Update) -> None:
    run(one, update)
    one.git.seed("main", {"src/a.c": b"int b;\n"})
    assert run(one, update).writes == ["branch"]
    right(one, update)
    assert one.git.commit(branch_of(one)).parents == (one.git.commitish("main"),)


def test_main_has_it(one: GitHub, update: Update) -> None:
    one.git.seed("main", update.files)
    assert quiet(one, update, 5).says == "main has it all"
    assert (branch_of(one), one.pulls, update.held) == ("", [], [])


def test_main_got_it_by_another_way(one: GitHub, update: Update) -> None:
    """The pull request is empty now: people close it."""
    run(one, update)
    one.git.seed("main", update.files)
    assert "can be closed" in quiet(one, update, 5).says
    assert one.pulls[0].state == "open"


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("keep_branch", [False, True])
def test_merged_then_new_content(one: GitHub, update: Update, squash: bool, keep_branch: bool) -> None:
    run(one, update)
    if squash:
        one.pulls[0].state, one.pulls[0].merged, one.pulls[0].closed_at = "closed", True, "2025-01-02T03:04:05Z"
        one.git.seed("main", update.files, "Update (#1)")
    else:
        one.merge(one.pulls[0])
    if not keep_branch:
        one.git.delete_ref(f"refs/heads/{BRANCH}")
    quiet(one, update, 5)
    update.files[CATALOGUE] = b'["4.18.18"]\n'
    assert run(one, update).writes == ["branch", "pull request"]
    assert right(one, update).number == 2
    quiet(one, update, 5)


def test_a_fork_has_a_branch_of_that_name(one: GitHub, update: Update) -> None:
    theirs = one.seed_pull(BRANCH, owner="stranger", files={"evil.txt": b"x"}, body="theirs")
    run(one, update)
    assert right(one, update).number == 2
    assert (theirs.body, theirs.title) == ("theirs", "A change")
    quiet(one, update, 5)


def test_a_fork_that_is_gone(one: GitHub, update: Update) -> None:
    """Its pull request names no repository; GitHub may list it whatever was asked for."""
    run(one, update)

    def without(value: object) -> object:
        if isinstance(value, list) and value and "head" in value[0]:
            return [{**pull, "head": {**pull["head"], "repo": None}} for pull in value] + value
        return value

    one.spoil = without
    try:
        assert run(one, update).writes == []
    finally:
        one.violations.clear()


def test_a_pull_request_into_another_branch_is_not_ours(one: GitHub, update: Update) -> None:
    run(one, update)
    one.git.seed("release", {"x": b"x"}, start="main")
    one.pulls[0].base = "release"
    assert run(one, update).writes == ["pull request"]
    assert [pull.base for pull in one.pulls] == ["release", "main"]


# -- what people do ----------------------------------------------------------------------


def test_closed_by_a_person(one: GitHub, update: Update) -> None:
    run(one, update)
    one.pulls[0].state, one.pulls[0].head_sha = "closed", branch_of(one)
    assert "closed without merging: left alone" in quiet(one, update, 5).says
    one.git.seed("main", {"src/a.c": b"int b;\n"})
    quiet(one, update, 5)  # main going on makes it no other proposal
    one.git.delete_ref(f"refs/heads/{BRANCH}")
    quiet(one, update, 6)
    update.files[CATALOGUE] = b'["4.18.17", "4.18.18"]\n'
    assert run(one, update).writes == ["branch", "pull request"]
    assert right(one, update).number == 2


def test_closed_before_its_text_was_written(one: GitHub, update: Update) -> None:
    run(one, update)
    one.pulls[0].state, one.pulls[0].head_sha, one.pulls[0].body = "closed", branch_of(one), "gone"
    assert "left alone" in quiet(one, update, 5).says


def test_closed_by_a_person_and_wanted_again(one: GitHub, update: Update) -> None:
    run(one, update)
    one.pulls[0].state, one.pulls[0].head_sha = "closed", branch_of(one)
    update.force = True
    assert run(one, update).writes == ["pull request"]
    update.force = False
    quiet(one, update, 5)


def test_somebody_works_on_the_branch(one: GitHub, update: Update) -> None:
    run(one, update)
    theirs = one.git.seed(BRANCH, {CATALOGUE: b'["mine"]\n'}, "By hand")
    before = len(one.writes())
    with pytest.raises(FoundryError, match=f"{theirs[:7]} by A Person") as raised:
        run(one, update)
    assert (raised.value.reason, raised.value.exit_code) == ("branch-taken", 1)
    assert (branch_of(one), len(one.writes())) == (theirs, before)
    update.force = True
    assert run(one, update).writes == ["branch"]
    right(one, update)


def test_somebody_changed_our_commit(one: GitHub, update: Update) -> None:
    """With our message but other files: it is theirs."""
    run(one, update)
    message = one.git.commit(branch_of(one)).message
    one.git.set_ref(f"refs/heads/{BRANCH}", one.git.commitish("main"))
    theirs = one.git.seed(BRANCH, {CATALOGUE: b'["mine"]\n'}, message)
    with pytest.raises(FoundryError, match="by A Person"):
        run(one, update)
    assert branch_of(one) == theirs


def test_a_branch_that_was_there_before(one: GitHub, update: Update) -> None:
    one.git.seed(BRANCH, {"theirs.txt": b"x"}, start="main")
    with pytest.raises(FoundryError, match="did not make"):
        run(one, update)
    assert one.writes() == []


@pytest.mark.parametrize("says", ["", "No common ancestor between main and update-driver-toolkit."])
def test_a_branch_without_a_common_commit(one: GitHub, update: Update, says: str) -> None:
    alone = one.git.seed(BRANCH, {"x.txt": b"x"})
    if says:
        one.always("GET", "/compare/", exchange.refuses(404, says))
    with pytest.raises(FoundryError, match="no commit in common") as raised:
        run(one, update, retries=1)
    assert (raised.value.reason, branch_of(one)) == ("branch-taken", alone)
    update.force = True
    run(one, update)
    right(one, update)


@pytest.mark.parametrize("empty", [False, True])
def test_main_merged_into_the_branch_keeps_it_ours(one: GitHub, update: Update, empty: bool) -> None:
    """As the button "Update branch" does; and commits that change nothing, made to start workflows."""
    run(one, update)
    if empty:
        one.git.seed(BRANCH, {}, "Start the checks")
    one.git.seed("main", {"src/a.c": b"int b;\n"})
    one.git.merge(BRANCH, one.git.commitish("main"), "Merge branch 'main'")
    quiet(one, update, 5)  # the content is right, on top of main
    one.git.seed("main", {"src/a.c": b"int c;\n"})
    assert run(one, update).writes == ["branch"]
    right(one, update)


def test_an_empty_branch_is_free(one: GitHub, update: Update) -> None:
    one.git.set_ref(f"refs/heads/{BRANCH}", one.git.commitish("main"))
    run(one, update)
    right(one, update)


def test_text_of_people_is_kept(one: GitHub, update: Update) -> None:
    run(one, update)
    pull = one.pulls[0]
    pull.body = f"Wait for QA.\r\n\r\n{(pull.body or '').replace(chr(10), chr(13) + chr(10))}\r\n\r\ncc @team"
    quiet(one, update, 5)
    update.files[CATALOGUE] = b'["4.18.18"]\n'
    update.words = "- 4.18.18"
    run(one, update)
    body = right(one, update).body or ""
    assert body.startswith("Wait for QA.\r\n\r\n" + BEGIN)
    assert body.endswith(END + "\r\n\r\ncc @team")
    one.crlf = True
    quiet(one, update, 5)


def test_damaged_markers_change_nothing(one: GitHub, update: Update) -> None:
    run(one, update)
    one.pulls[0].body = f"mine\n{BEGIN}\nno end"
    before = len(one.writes())
    with pytest.raises(FoundryError) as raised:
        run(one, update)
    assert (raised.value.reason, len(one.writes())) == ("markers-damaged", before)


def test_too_long_a_text(one: GitHub, update: Update) -> None:
    update.words = "x" * (LONGEST_BODY - 50)
    with pytest.raises(FoundryError, match="characters") as raised:
        run(one, update)
    assert (raised.value.reason, one.writes()) == ("pull-too-long", [])


def test_a_large_file(one: GitHub, update: Update) -> None:
    """Beyond 1 MB GitHub gives a file's content by its digest only."""
    old = b"[" + b" " * 1_100_000 + b"]\n"
    one.git.seed("main", {CATALOGUE: old})
    run(one, update)
    right(one, update)
    assert update.held[0][CATALOGUE] == old
    quiet(one, update, 6)


def test_a_folder_in_place_of_a_file(one: GitHub, update: Update) -> None:
    update.files["src"] = b"x"
    with pytest.raises(FoundryError, match="is a folder in main") as raised:
        run(one, update)
    assert (raised.value.reason, one.writes()) == ("pull-path", [])


# -- faults: each call fails in each way, at first use and for good ------------------------

READS = {
    "repository": ("GET", "/images"), "compare": ("GET", "/compare/"), "contents": ("GET", f"/contents/{CATALOGUE}"),
    "pulls": ("GET", "/pulls?"),
}
WRITES = {
    "blob": ("POST", "/git/blobs"), "tree": ("POST", "/git/trees"), "parent": ("GET", "/git/commits/"),
    "commit": ("POST", "/git/commits"), "ref": ("GET", "/git/ref/"),
}
NEW = {**READS, "main": ("GET", "/branches/main"), **WRITES, "create": ("POST", "/git/refs"),
       "open": ("POST", "/pulls")}
OLD = {"move": ("PATCH", "/git/refs/"), "text": ("PATCH", "/pulls/")}
CASES = [*(f"new {call}" for call in NEW), *(f"old {call}" for call in OLD)]
PASSING: dict[str, Fault] = {
    "409": exchange.conflict(), "500": exchange.broken(), "502": exchange.broken(502),
    "429 without Retry-After": exchange.too_many(), "secondary limit": exchange.secondary_rate_limit(1),
    "primary limit, over soon": exchange.primary_rate_limit(1), "dropped before": exchange.drop(),
    "dropped after it took effect": exchange.drop_after(), "502 after it took effect": exchange.instead_after(502),
    "422": exchange.already_exists("PullRequest", "head"), "404": exchange.not_found(),
}


def prepared(one: GitHub, update: Update, case: str) -> tuple[str, str]:
    """Bring GitHub to a state in which there is something to do; the call's method and path."""
    kind, call = case.split(" ")
    if kind == "new":
        return NEW[call]
    run(one, update)
    one.git.seed("main", {"src/a.c": b"int b;\n"})
    update.files = {CATALOGUE: b'["4.18.17", "4.18.18"]\n', LOCK: b"{}\n"}
    update.words = "- 4.18.18"
    return {**NEW, **OLD}[call]


# What a status means is the same for every call (tests/integration/test_github_release.py): reads meet a few.
FOR_READS = ("500", "404", "dropped before", "primary limit, over soon")


def is_read(case: str) -> bool:
    return {**NEW, **OLD}[case.split(" ")[1]][0] == "GET"


@pytest.mark.parametrize(("case", "fault"), [
    (case, fault) for case in CASES for fault in PASSING if fault in FOR_READS or not is_read(case)
])
def test_what_passes_heals_in_the_same_run(one: GitHub, update: Update, case: str, fault: str) -> None:
    call = prepared(one, update, case)
    one.faults.append((*call, PASSING[fault]))
    run(one, update)
    assert one.faults == [], "the fault was met"
    right(one, update)


LASTING: dict[str, tuple[Fault, str]] = {
    "401": (exchange.unauthorized(), "github-unauthorized"),
    "403": (exchange.refuses(403, "Resource not accessible by integration"), "github-denied"),
    "primary limit": (exchange.primary_rate_limit(3000), "github-rate-limit"),
    "500": (exchange.broken(), "github-status"), "dropped": (exchange.drop(), "github-unreachable"),
    "422": (exchange.already_exists("PullRequest", "head"), "github-status"),
    "404": (exchange.not_found(), "github-status"), "HTML": (exchange.says(200, b"<html>"), "github-malformed"),
    "null": (exchange.says(200, b"null"), "github-malformed"),
}
# Where 404 is an answer: no branch, no file. What a write answers is looked at only where it is needed; the next
# read tells. PyGithub takes a list that is null for an empty one.
NO_FAULT = {
    *((case, "404") for case in ("new compare", "new contents", "new ref")),
    *((case, fault) for case in ("new create", "old move", "old text") for fault in ("HTML", "null")),
    ("new pulls", "null"),
}


@pytest.mark.parametrize(("case", "fault"), [
    (case, fault) for case in CASES for fault in LASTING
    if (case, fault) not in NO_FAULT and (fault in ("403", "404", "HTML", "null") or not is_read(case))
])
def test_what_lasts_is_said_and_the_next_run_heals(one: GitHub, update: Update, case: str, fault: str) -> None:
    call = prepared(one, update, case)
    wrong, reason = LASTING[fault]
    one.always(*call, wrong)
    with pytest.raises(OutsideError) as raised:
        run(one, update, retries=1)
    assert raised.value.reason == reason, raised.value.message
    assert raised.value.exit_code == 3
    assert TOKEN not in raised.value.render()
    if fault == "403":
        assert "pull-requests: write" in raised.value.hint
    one.standing.clear()
    run(one, update)
    right(one, update)


@pytest.mark.parametrize("call", ["compare", "ref"])
def test_a_branch_that_seems_gone_is_not_overwritten(one: GitHub, update: Update, call: str) -> None:
    prepared(one, update, f"old {call}")
    head = branch_of(one)
    one.always(*NEW[call], exchange.not_found())
    with pytest.raises(OutsideError) as raised:
        run(one, update, retries=1)
    assert (raised.value.reason, branch_of(one)) == ("branch-taken", head)


def test_actions_may_not_open_pull_requests(one: GitHub, update: Update) -> None:
    refused = exchange.refuses(403, "GitHub Actions is not permitted to create or approve pull requests.")
    one.always("POST", "/pulls", refused)
    with pytest.raises(OutsideError) as raised:
        run(one, update)
    assert raised.value.reason == "github-denied"
    assert "settings" in raised.value.hint
    one.standing.clear()
    assert run(one, update).writes == ["pull request"]
    right(one, update)


@pytest.mark.parametrize("step", range(1, 14))
@pytest.mark.parametrize("fault", ["dropped before", "dropped after it took effect"])
def test_a_run_that_dies_anywhere_is_healed_by_the_next(one: GitHub, update: Update, step: int, fault: str) -> None:
    prepared(one, update, "old text")
    one.after("", "/", step, PASSING[fault])
    try:
        run(one, update, retries=0)
    except OutsideError:
        assert len(one.pulls) == 1
    one.faults.clear()
    run(one, update)
    right(one, update)


def test_somebody_pushes_meanwhile(one: GitHub, update: Update) -> None:
    prepared(one, update, "old move")
    theirs: list[str] = []

    def push(other: exchange.Exchange) -> None:
        theirs.append(one.git.seed(BRANCH, {CATALOGUE: b'["mine"]\n'}, "By hand"))
        other.finish()

    one.faults.append((*WRITES["commit"], push))
    with pytest.raises(FoundryError, match="did not make"):
        run(one, update)
    assert branch_of(one) == theirs[0]


def test_another_run_at_the_same_time(one: GitHub, update: Update) -> None:
    """Both begin with nothing; the other is done before we make the branch."""
    other = Update(dict(update.files))

    def overtake(taken: exchange.Exchange) -> None:
        run(one, other)
        taken.finish()

    one.faults.append((*WRITES["ref"], overtake))
    run(one, update)
    assert right(one, update).number == 1


def test_main_gets_it_meanwhile(one: GitHub, update: Update) -> None:
    def merge(taken: exchange.Exchange) -> None:
        one.git.seed("main", update.files)
        taken.finish()

    one.faults.append((*NEW["open"], merge))
    run(one, update)
    quiet(one, update, 5)


def test_no_repository(one: GitHub, update: Update) -> None:
    one.hidden = True
    with pytest.raises(OutsideError) as raised:
        run(one, update, retries=0)
    assert f"is there a repository {one.repo}" in raised.value.hint
