"""After the adoption the template's later versions arrive, and nothing else does."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.adoption import guide
from tests.adoption.services import BLOG, USER, Workshop, play
from tests.harness import commit, files, git

COMMIT = "git add --all && git commit --quiet --message Next"
SEVERAL = (
    "migrations/env.py",
    "renovate.json",
    "deploy/kubernetes/overlays/staging/kustomization.yaml",
)


@pytest.fixture
def developed(workshop: Workshop, tmp_path: Path) -> Workshop:
    """A workshop with a template of its own, to which a later version can be added."""
    template = tmp_path / "template"
    shutil.copytree(workshop.template, template)
    return replace(workshop, template=template)


@pytest.fixture
def lean(workshop: Workshop, tmp_path: Path) -> Workshop:
    """A workshop with the questions and the folders, but few files: quick to update."""
    template = tmp_path / "template"
    few = shutil.ignore_patterns(".git", "tests", "src", "*.lock.jinja")
    shutil.copytree(workshop.template, template, ignore=few)
    commit(template)
    return replace(workshop, template=template)


def develop(template: Path) -> None:
    """Make the later version: everything changes, also what adopting services left out, and files come and go."""
    folder = template / "template"
    for path in folder.rglob("*"):
        if path.suffix in (".py", ".md", ".toml", ".yml", ".yaml", ".jinja") and "#" in (
            text := path.read_text()
        ):
            path.write_text(text.replace("#", "# Later.\n#", 1) if text.startswith("#") else text)
    marked = folder / "chassis/src/chassis/limits.py"
    marked.write_text(marked.read_text() + "\nLATER = True\n")
    for name in ("NEW.md", "src/app/new.py", "chassis/src/chassis/new.py", "deploy/new.md"):
        (folder / name).write_text('"""New."""\n')
    for name in ("chassis/tests/test_records.py", "deploy/check.sh", ".editorconfig"):
        (folder / name).unlink(missing_ok=True)
    for name in SEVERAL:
        for path in folder.glob(f"{name}*"):
            path.write_text(path.read_text() + "\n")
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message=Later")


def test_an_update_brings_the_template_s_files_and_no_others(
    developed: Workshop, tmp_path: Path
) -> None:
    """No conflict; what the service has and what it left out stay as they were."""
    directory = developed.begin(USER, tmp_path / USER.name)
    developed.take_in(USER, directory)
    developed.adopt(USER, directory)
    (directory / "renovate.json").unlink()
    developed.run("git commit --all --quiet --message 'No renovate'", directory)
    before = files(directory)
    develop(developed.template)

    developed.follow(guide.commands("copier update")[:1], USER, directory)

    lines = git(directory, "status", "--porcelain", "--untracked-files=all").splitlines()
    status = {line[3:]: line[:2].strip() for line in lines}
    theirs = ("chassis/", "deploy/", "docs/", ".copier-answers.yml")
    assert [name for name in status if not name.startswith(theirs)] == []
    assert not any(name.startswith("deploy/kubernetes/overlays") for name in status)
    assert set(status.values()) == {"M", "D", "??"}
    assert status["chassis/src/chassis/limits.py"] == "M"
    assert status["chassis/src/chassis/new.py"] == status["deploy/new.md"] == "??"
    assert status["deploy/check.sh"] == "D"
    after = files(directory)
    assert "LATER = True" in after["chassis/src/chassis/limits.py"].decode()
    own = [name for name in before if not name.startswith(theirs) and ".venv" not in name]
    assert "main.py" in own and "migrations/env.py" in own
    assert [name for name in own if after.get(name) != before[name]] == []
    assert not [name for name in after if name.endswith(".rej") or b"<<<<<<<" in after[name][:9999]]


def test_an_updated_service_answers_as_before(developed: Workshop, tmp_path: Path) -> None:
    """Both commands of the page, then its callers' requests."""
    directory = developed.begin(BLOG, tmp_path / BLOG.name)
    developed.take_in(BLOG, directory)
    developed.adopt(BLOG, directory)
    develop(developed.template)

    developed.follow(guide.commands("copier update"), BLOG, directory)

    said = developed.run("python -c 'import chassis.limits as it; print(it.LATER)'", directory)
    assert said == "True\n"
    assert play(BLOG, directory, adopted=True) == []


def test_the_list_can_grow_and_shrink(lean: Workshop, tmp_path: Path) -> None:
    """What is no longer in it goes, but for what is the team's; what is new in it comes, without that."""
    directory = tmp_path / BLOG.name
    shutil.copytree(BLOG.folder / "before", directory)
    commit(directory)
    lean.follow([*guide.commands("copier copy")[:2], COMMIT], BLOG, directory)

    def change(parts: str) -> dict[str, bytes]:
        lean.follow([f"copier update --data 'adopted={parts}'"], BLOG, directory)
        lean.run(COMMIT, directory)
        return files(directory)

    small = change("[chassis]")
    assert "deploy/kubernetes/base/kustomization.yaml" not in small
    assert {"renovate.json", "deploy/kubernetes/overlays/staging/kustomization.yaml"} <= set(small)
    large = change("[chassis, deploy]")
    assert "deploy/kubernetes/base/kustomization.yaml" in large
    assert "docs/runbooks.md" not in large and "Makefile" in large


def test_another_template_s_answers_are_left_alone(lean: Workshop, tmp_path: Path) -> None:
    """With an answers file of its own, in a repository that Copier updates already."""
    directory = tmp_path / BLOG.name
    shutil.copytree(BLOG.folder / "before", directory)
    (directory / ".copier-answers.yml").write_text("_src_path: another\n")
    commit(directory)
    option = "--answers-file .copier-answers.chassis.yml"
    command = guide.commands("copier copy")[0].replace("copier copy", f"copier copy {option}")
    lean.follow([command, COMMIT], BLOG, directory)
    lean.follow([f"copier update {option}"], BLOG, directory)
    assert (directory / ".copier-answers.yml").read_text() == "_src_path: another\n"
    assert "adopted:" in (directory / ".copier-answers.chassis.yml").read_text()
    assert git(directory, "status", "--porcelain") == ""


@pytest.mark.parametrize("parts", ["chassis", "[]", "[deploy]", "[chassis, src]"])
def test_a_wrong_list_is_refused(parts: str, lean: Workshop, tmp_path: Path) -> None:
    """With a right one, and nothing is written."""
    directory = tmp_path / BLOG.name
    shutil.copytree(BLOG.folder / "before", directory)
    commit(directory)
    command = guide.commands("copier copy")[0].replace(guide.PARTS, parts)
    with pytest.raises(AssertionError, match=r"e\.g\. \[chassis, deploy, docs, renovate\.json\]"):
        lean.follow([command], BLOG, directory)
    assert git(directory, "status", "--porcelain") == ""
