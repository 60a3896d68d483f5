"""Nothing in the template needs `--trust`: bots and careful people can use it."""

from pathlib import Path

import pytest
import yaml
from copier.errors import UnsafeTemplateError

from tests.harness import ROOT, Renderer, commit, snapshot

UNSAFE = ("_tasks", "_migrations", "_jinja_extensions")


def test_questionnaire_uses_no_unsafe_feature() -> None:
    """Neither tasks nor migrations nor Jinja extensions, and no second configuration file."""
    questions = yaml.safe_load((ROOT / "copier.yml").read_text())
    assert not set(UNSAFE) & questions.keys()
    assert [path.name for path in ROOT.glob("copier.y*ml")] == ["copier.yml"]


@pytest.mark.parametrize("feature", ["_tasks", "_jinja_extensions"])
def test_copier_would_refuse_an_unsafe_feature(feature: str, tmp_path: Path) -> None:
    """The renders of this suite are made without trust: with an unsafe feature they would fail."""
    template = snapshot(tmp_path / "template")
    with (template / "copier.yml").open("a") as questionnaire:
        questionnaire.write(f"\n{feature}: ['true']\n")
    commit(template)
    with pytest.raises(UnsafeTemplateError):
        Renderer(template)(tmp_path / "service")
    assert not (tmp_path / "service").exists()
