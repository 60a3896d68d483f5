"""Whose file is whose: what an update does to each class of files, and to answers that change.

One service is born from a small template with the real questionnaire, edited by its team, and updated
once to a later version in which everything happened; each test looks at one file or answer.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import copier
import jinja2
import pytest
import yaml

from tests.harness import ROOT, Renderer, commit, files, git, replaced

pytestmark = pytest.mark.xdist_group("ownership")

LINES = "".join(f"line {number}\n" for number in range(1, 21))
BORN = LINES.replace("line 2\n", "line 2 when born\n")
LATER = LINES.replace("line 2\n", "line 2 of a later version\n")
EDITED = BORN.replace("line 18\n", "line 18 of the team\n")
MERGED = LATER.replace("line 18\n", "line 18 of the team\n")
CLASHING = LINES.replace("line 2\n", "line 2 of the team\n")
SHARED = ("Dockerfile", ".gitignore", ".editorconfig")
LIST = "    /renovate.json\n"


def excluded(operation: str) -> set[str]:
    """Say what copier.yml leaves out, with every feature on."""
    config = yaml.safe_load((ROOT / "copier.yml").read_text())
    answers = {"database": "postgresql", "cache": "redis", "dependencies": ["a:1"], "ci": "github"}
    lines = "\n".join(config["_exclude"])
    text = jinja2.Template(lines).render(**answers, _copier_operation=operation)
    return {line for line in text.splitlines() if line}


TEAM = sorted(path.removeprefix("/") for path in excluded("update") - excluded("copy"))
# A listed directory stands for what is in it.
TEAM_FILES = [path if Path(path).suffix or path[0] == "." else f"{path}/owned.txt" for path in TEAM]
GIVEN_BACK = "renovate.json"


@dataclass(frozen=True, slots=True)
class Updated:
    """A service after its update, and what Copier makes of the later version for a new one."""

    service: Path
    fresh: dict[str, bytes]
    status: dict[str, str]

    def text(self, name: str) -> str:
        """Read a file of the service."""
        return (self.service / name).read_text()

    def answers(self) -> dict[str, object]:
        """Read the service's recorded answers."""
        answers = yaml.safe_load(self.text(".copier-answers.yml"))
        assert isinstance(answers, dict)
        return answers


def write(directory: Path, contents: dict[str, str | None]) -> None:
    """Write files, or delete those without content, and commit."""
    for name, content in contents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message=Next")


def born(template: Path) -> None:
    """Make the version with which the service begins: the real rules over files of a few lines."""
    real = ["copier.yml", "hooks/answers.jinja", "hooks/packages.jinja"]
    real.append("template/{{_copier_conf.answers_file}}.jinja")
    commit_of = {name: (ROOT / name).read_text() for name in real}
    names = [*TEAM_FILES, *SHARED, "src/app/dropped.txt", "src/app/deleted.txt"]
    names += [f"chassis/{name}.txt" for name in ("plain", "edited", "clashing", "deleted", "old")]
    names += [f"deploy/{name}.txt" for name in ("dropped", "retired", "moved")]
    template.mkdir()
    git(template, "init", "--quiet", "--initial-branch=main")
    write(template, {**commit_of, **{f"template/{name}": BORN for name in names}})


def edit(service: Path) -> None:
    """Do what a team does."""
    apart = [
        "chassis/edited.txt",
        "chassis/old.txt",
        "Dockerfile",
        "src/app/owned.txt",
        "src/app/dropped.txt",
    ]
    apart += [f"deploy/{name}.txt" for name in ("dropped", "retired", "moved")]
    edits: dict[str, str | None] = dict.fromkeys(apart, EDITED)
    edits |= {"chassis/clashing.txt": CLASHING, ".editorconfig": CLASHING}
    edits |= {"chassis/deleted.txt": None, "src/app/deleted.txt": None}
    write(service, edits)


def develop(template: Path) -> None:
    """Make the later version: every file changes, moves or goes, and so do questions."""
    changes: dict[str, str | None] = {
        path.relative_to(template).as_posix(): LATER
        for path in (template / "template").rglob("*")
        if path.is_file() and path.suffix != ".jinja"
    }
    for name in ("src/app/dropped", "deploy/dropped", "deploy/retired"):
        changes[f"template/{name}.txt"] = None
    changes["template/chassis/old.txt"] = None
    changes["template/chassis/renamed.txt"] = LATER
    changes["template/src/app/new.txt"] = changes["template/chassis/new.txt"] = LATER
    config = (template / "copier.yml").read_text()
    config = replaced(config, LIST, "    /deploy/retired.txt\n    /deploy/moved.txt\n")
    # A question and a choice go, a default changes.
    config = re.sub(r"\ndescription:\n(?:  .*\n)+", "", config)
    config = replaced(config, 'choices: ["3.11", ', "choices: [")
    config = replaced(config, "default: services", "default: platform")
    # A question has a new name: its default is the answer under the old one.
    config = replaced(config, "\nimage_registry:\n", "\nregistry:\n")
    config = replaced(
        config, "image_registry_problem(image_registry)", "image_registry_problem(registry)"
    )
    config = replaced(
        config,
        "default: registry.example.com/team",
        "default: \"{{ image_registry | default('registry.example.com/team') }}\"",
    )
    # A new question: a service that is older than it stays as it was.
    config = replaced(
        config,
        "\nci:\n",
        "\nsidecar:\n  type: str\n  choices: [none, proxy]\n"
        "  default: \"{{ 'none' if _copier_conf.overwrite else 'proxy' }}\"\n\nci:\n",
    )
    packages = (template / "hooks/packages.jinja").read_text()
    changes["copier.yml"] = config
    changes["hooks/packages.jinja"] = replaced(
        packages, "packages = [", "packages = [\n  'orders',"
    )
    write(template, changes)


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Updated:
    """Let it all happen, once."""
    base = tmp_path_factory.mktemp("ownership")
    template, service = base / "template", base / "service"
    born(template)
    render = Renderer(template)
    given = {"image_registry": "ghcr.io/orders", "port": 9000, "python_version": "3.11"}
    render(service, {"service_name": "orders", **given})
    commit(service)
    edit(service)
    develop(template)
    copier.run_update(service, defaults=True, overwrite=True, quiet=True, vcs_ref="HEAD")
    status = {
        line[3:]: line[:2]
        for line in git(service, "status", "--porcelain", "--no-renames").splitlines()
    }
    return Updated(service, files(render(base / "fresh")), status)


def test_templates_files_come_forward(updated: Updated) -> None:
    """Unedited, they equal a fresh render, new ones included."""
    for name in ("chassis/plain.txt", "chassis/new.txt", ".gitignore"):
        assert files(updated.service)[name] == updated.fresh[name] == LATER.encode()


def test_templates_files_keep_edits(updated: Updated) -> None:
    """A file that both edited, in different places, has both edits."""
    assert updated.text("chassis/edited.txt") == MERGED


def test_shared_files_are_merged(updated: Updated) -> None:
    """A shared file has the lines of both sides."""
    assert updated.text("Dockerfile") == MERGED


@pytest.mark.parametrize("name", ["chassis/clashing.txt", ".editorconfig"])
def test_same_line_is_a_reported_conflict(name: str, updated: Updated) -> None:
    """What cannot be merged is unmerged for git, which `make update` looks at; nothing is lost."""
    assert updated.status[name] == "UU"
    assert "line 2 of the team\n" in updated.text(name)
    assert "line 2 of a later version\n" in updated.text(name)


@pytest.mark.parametrize("name", sorted({*TEAM_FILES} - {GIVEN_BACK}))
def test_teams_files_are_never_touched(name: str, updated: Updated) -> None:
    """Whatever the template does to its own copy, the team's stays."""
    assert updated.fresh[name] == LATER.encode()
    assert updated.text(name) == (EDITED if name == "src/app/owned.txt" else BORN)
    assert name not in updated.status


def test_teams_files_are_neither_deleted_nor_made(updated: Updated) -> None:
    """What the template drops stays, what the team deleted stays away, and nothing new appears."""
    assert updated.text("src/app/dropped.txt") == EDITED
    for name in ("src/app/deleted.txt", "src/app/new.txt"):
        assert name in updated.fresh
        assert not (updated.service / name).exists()


def test_templates_file_that_the_team_deleted_stays_away(updated: Updated) -> None:
    """Although the template changed it."""
    assert updated.fresh["chassis/deleted.txt"] == LATER.encode()
    assert not (updated.service / "chassis/deleted.txt").exists()


def test_dropped_file_is_deleted_although_edited(updated: Updated) -> None:
    """The trap for which there is a list: Copier deletes, and only git says so."""
    assert updated.status["deploy/dropped.txt"] == " D"


def test_renamed_file_leaves_edits_behind(updated: Updated) -> None:
    """The same trap: Copier deletes the one and makes the other."""
    assert updated.status["chassis/old.txt"] == " D"
    assert updated.text("chassis/renamed.txt") == LATER


def test_retired_file_becomes_the_teams(updated: Updated) -> None:
    """Listed with the team's files when the template gives it up, it stays with its edits."""
    assert updated.text("deploy/retired.txt") == EDITED
    assert "deploy/retired.txt" not in updated.fresh


def test_file_that_moves_to_the_team_stays_as_it_is(updated: Updated) -> None:
    """From that version on the template's changes no longer arrive; the edits stay."""
    assert updated.text("deploy/moved.txt") == EDITED
    assert updated.fresh["deploy/moved.txt"] == LATER.encode()


def test_file_that_moves_to_the_template_is_a_conflict(updated: Updated) -> None:
    """The trap: a conflict even where nobody edited. A file with a new name has none."""
    assert updated.status[GIVEN_BACK] == "UU"
    assert "line 2 when born\n" in updated.text(GIVEN_BACK)


def test_renamed_question_keeps_its_answer(updated: Updated) -> None:
    """The default of the new name is the answer under the old one."""
    assert updated.answers()["registry"] == "ghcr.io/orders"
    assert "image_registry" not in updated.answers()


def test_dropped_question_is_forgotten(updated: Updated) -> None:
    """Copier records what is asked, and nothing else."""
    assert "description" not in updated.answers()


def test_dropped_choice_becomes_the_default(updated: Updated) -> None:
    """The trap: without a word, as when a validator becomes stricter."""
    assert updated.answers()["python_version"] == "3.13"


def test_changed_default_is_for_new_services(updated: Updated) -> None:
    """What was answered by the old default is recorded."""
    assert updated.answers()["namespace"] == "services"
    assert yaml.safe_load(updated.fresh[".copier-answers.yml"])["namespace"] == "platform"


def test_new_question_leaves_old_services_as_they_were(updated: Updated) -> None:
    """A new service gets what is new; an update does not bring it in unasked."""
    assert updated.answers()["sidecar"] == "none"
    assert yaml.safe_load(updated.fresh[".copier-answers.yml"])["sidecar"] == "proxy"


def test_answers_survive_stricter_rules(updated: Updated) -> None:
    """A name that has been taken since is kept: Copier would quietly call the service something else."""
    assert updated.answers()["service_name"] == "orders"
    assert updated.answers()["port"] == 9000


def test_readme_and_drift_know_the_classes() -> None:
    """The table that users see and the files that `make drift` skips are those of copier.yml."""
    readme = (ROOT / "template/README.md.jinja").read_text()
    rows = {row.split("|")[1].strip(): row for row in readme.splitlines() if row.startswith("| ")}
    assert {name.strip("/") for name in re.findall(r"`([^`]+)`", rows["yours"])} == set(TEAM)
    assert set(re.findall(r"`([^`]+)`", rows["shared"])) == set(SHARED)
    script = (ROOT / "template/chassis/tools/update.py").read_text()
    skipped = re.search(r"^NOT_OURS = re\.compile\(\n(.*?)\n\)", script, re.MULTILINE | re.DOTALL)
    assert skipped
    pattern = "".join(re.findall(r'r"(.*)"', skipped[1]))
    for name in [*TEAM_FILES, *SHARED]:
        assert re.match(pattern, name), name
    assert not re.match(pattern, "chassis/plain.txt")
