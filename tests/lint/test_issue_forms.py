"""Issue forms have what GitHub wants of them: else it shows an error in place of the form."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.lint.test_lint import ROOT, tracked

FORMS = [name for name in tracked(".github/ISSUE_TEMPLATE/*.yml") if not name.endswith("/config.yml")]
ANSWERED = {"input": set(), "textarea": {"render", "value"}, "dropdown": {"options", "multiple"},
            "checkboxes": {"options"}}


def read(name: str) -> dict[str, Any]:
    form: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return form


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_one(name: str) -> None:
    form = read(name)
    assert form.keys() <= {"name", "description", "title", "labels", "assignees", "projects", "type", "body"}
    assert form["name"] and form["description"]
    questions = [one for one in form["body"] if one["type"] != "markdown"]
    for one in questions:
        assert one.keys() <= {"type", "id", "attributes", "validations"}
        assert {"label"} <= one["attributes"].keys() <= {"label", "description", "placeholder"} | ANSWERED[one["type"]]
        assert one.get("validations", {}).keys() <= {"required"}
    assert len({one["id"] for one in questions}) == len({one["attributes"]["label"] for one in questions})
    assert len({one["id"] for one in questions}) == len(questions) > 0


def test_a_bug_comes_with_what_is_needed_to_look_into_it() -> None:
    required = {one["id"] for one in read(".github/ISSUE_TEMPLATE/bug.yml")["body"]
                if one.get("validations", {}).get("required")}
    assert required >= {"doctor", "cell", "profile", "version"}


def test_vulnerabilities_are_led_elsewhere() -> None:
    links = read(".github/ISSUE_TEMPLATE/config.yml")["contact_links"]
    assert all(one.keys() == {"name", "url", "about"} for one in links)
    assert any(one["url"].endswith("/security/advisories/new") for one in links)
    assert "(../../security/advisories/new)" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
