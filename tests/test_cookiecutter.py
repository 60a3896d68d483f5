"""`cookiecutter <template>` makes what `copier copy` makes, refuses what it refuses, and can be updated."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import copier
import pytest
import yaml
from pytest_cookies.plugin import Cookies  # type: ignore[import-untyped]

from hooks import cookiecutter_door as door
from scripts.door import questions
from tests.harness import (
    BARE,
    DEFAULT,
    GIT_ENVIRONMENT,
    ROOT,
    Answers,
    Renderer,
    commit,
    files,
    git,
    label,
)
from tests.test_answers import WRONG

OTHER: Answers = {
    "service_name": "orders",
    "description": 'Says "no" & it\'s {fine} — 100 % 🚀 \\',
    "port": 9000,
    "dependencies": ["auth-service:8080", "billing:8081"],
    "staging_origins": ["https://a.example:8443"],
    "python_version": "3.11",
    "ci": "gitlab",
}


def typed(answers: Answers) -> dict[str, str]:
    """Write answers as a user of cookiecutter types them."""
    return {
        name: f"[{', '.join(answer)}]" if isinstance(answer, list) else str(answer)
        for name, answer in answers.items()
    }


@pytest.fixture(scope="session")
def small(renderer: Renderer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real questions, door and answers file in a repository of a few files: quick to render."""
    template = tmp_path_factory.mktemp("small")
    for name in git(renderer.template, "ls-files", "-z").split("\0"):
        if name.startswith(
            (".gitignore", "hooks/", "copier.yml", "cookiecutter.json", "{{", "template/{{")
        ):
            (template / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(renderer.template / name, template / name)
    (template / "template/facts.txt.jinja").write_text("{{ service_name }}\n")
    commit(template)
    return template


def test_questions_are_the_same() -> None:
    """cookiecutter.json is what copier.yml makes it."""
    expected = questions(yaml.safe_load((ROOT / "copier.yml").read_text()))
    assert (ROOT / "cookiecutter.json").read_text() == expected, "run: python scripts/door.py"


@pytest.mark.parametrize("answers", [DEFAULT, BARE, OTHER], ids=["default", "bare", "other"])
def test_same_bytes_as_copier(
    answers: Answers, cookies: Cookies, renderer: Renderer, tmp_path: Path
) -> None:
    """Every file is the same, the answers file with its source and version included."""
    baked = cookies.bake(extra_context=typed(answers), template=str(renderer.template))
    assert baked.exception is None
    expected = renderer(tmp_path / "copier", answers)
    assert files(baked.project_path) == files(expected)
    modes = {path: path.stat().st_mode for path in expected.rglob("*") if path.is_file()}
    for path, mode in modes.items():
        assert (baked.project_path / path.relative_to(expected)).stat().st_mode == mode


# One wrong answer for every rule would take a process each; the unit test below has all of them.
@pytest.mark.parametrize(
    "answers",
    [{"service_name": "../Orders"}, {"port": "80"}, {"dependencies": "auth:8080"}],
    ids=label,
)
def test_wrong_answer_is_refused(
    answers: Answers,
    cookies: Cookies,
    small: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The message is Copier's, and nothing is left behind."""
    with pytest.raises(ValueError) as refused:
        Renderer(small)(tmp_path / "copier", answers)
    before = sorted(tmp_path.rglob("*"))
    baked = cookies.bake(extra_context=dict(answers), template=str(small))
    assert baked.exit_code != 0
    assert str(refused.value) in capfd.readouterr().err.splitlines()
    left = [path for path in tmp_path.rglob("*") if path not in before]
    assert [path.relative_to(tmp_path).as_posix() for path in left] in ([], ["cookies/bake00"])


def test_wrong_choice_is_refused(cookies: Cookies, small: Path, tmp_path: Path) -> None:
    """cookiecutter itself refuses what is not among the choices, and names them."""
    baked = cookies.bake(extra_context={"database": "mysql"}, template=str(small))
    assert "the choices are ['postgresql', 'none']" in str(baked.exception)
    assert not list(tmp_path.rglob("user-service"))


def context(**answers: str) -> dict[str, str | None]:
    """Build what the hooks get to see, for the default answers and those given."""
    config = yaml.safe_load((ROOT / "copier.yml").read_text())
    given = {
        name: str(question["default"]).replace("{{ service_name }}", "user-service")
        for name, question in config.items()
        if not name.startswith("_")
    }
    place = {"_template": "t", "_repo_dir": "t", "_output_dir": "/", "_checkout": None}
    return {**given, **place, **answers}


TEXTS = {"service_name", "description", "image_registry", "namespace"}


def test_hook_finds_every_problem() -> None:
    """Each validator of copier.yml runs in the hook."""
    once = {(question, message): str(answer) for question, answer, message in WRONG}
    for (question, message), answer in once.items():
        if question in TEXTS:
            found = door.problem(context(**{question: answer}))
            assert found and found.startswith(f"Validation error for question '{question}': ")
            assert message in found


def test_hook_finds_problems_in_lists_and_across_answers() -> None:
    """Text is read as YAML, and later questions know earlier answers."""
    assert door.problem(context()) is None
    assert door.problem(context(dependencies="[]", port="9000")) is None
    assert "at least one origin" in str(door.problem(context(staging_origins="[]")))
    shared = door.problem(context(production_origins="[https://staging.example.com]"))
    assert "must not share an origin" in str(shared)
    assert "itself" in str(door.problem(context(service_name="a", dependencies="[a:1]")))
    assert "question 'dependencies'" in str(door.problem(context(dependencies="[a")))


def test_missing_copier_gives_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has cookiecutter alone is told what to install, before anything is written."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "copier" else real(name)
    )
    sentence = door.check(context(), tmp_path)
    assert sentence and "pipx inject cookiecutter copier" in sentence and "\n" not in sentence


def test_only_new_directories_are_filled(tmp_path: Path) -> None:
    """With --overwrite-if-exists cookiecutter would let the hooks run over somebody's files."""
    assert door.check(context(), tmp_path) is None
    (tmp_path / "mine.txt").write_text("mine\n")
    assert "is not empty" in str(door.check(context(), tmp_path))


def test_archive_is_refused(tmp_path: Path) -> None:
    """An archive has no history: what it makes could not be updated."""
    assert "archive" in str(door.check({**context(), "_template": "https://x/t.zip"}, tmp_path))


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://github.com/team/template", "https://github.com/team/template"),
        ("git@example.com:team/template", "git@example.com:team/template"),
        ("https://example.com/team/template.git", "https://example.com/team/template.git"),
        ("https://git.example.com/team/template", "git+https://git.example.com/team/template"),
    ],
)
def test_source_of_a_clone_is_its_origin(
    origin: str, expected: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copier can read the address, and renders what cookiecutter has checked out."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(small), str(clone))
    monkeypatch.setattr(door, "ROOT", clone)
    assert door.source(context()) == (str(clone), "HEAD")
    assert door.source({**context(), "_checkout": "1.0.0"}) == (str(clone), "1.0.0")
    git(clone, "remote", "set-url", "origin", origin)
    cloned = {**context(), "_template": origin}
    assert door.source(cloned) == (expected, git(small, "rev-parse", "HEAD").strip())


def cookiecutter(directory: Path, environment: Mapping[str, str], *arguments: str) -> None:
    """Call cookiecutter as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", "--no-input", *arguments],
        cwd=directory,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def relative(template: Path, directory: Path) -> list[str]:
    """Give the template as a path from where cookiecutter is started."""
    return [f"../{template.relative_to(directory.parent)}"]


def url(template: Path, directory: Path) -> list[str]:
    """Give the template as a URL, which cookiecutter clones, at an older commit."""
    first = git(template, "rev-list", "--max-parents=0", "HEAD").strip()
    return [f"file://{template}", "--checkout", first]


@pytest.mark.parametrize("given", [relative, url])
def test_update_afterwards(
    given: Callable[[Path, Path], list[str]],
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service made from a path or a URL takes later versions, with its edits kept."""
    template, start = tmp_path / "git-template", tmp_path / "start"
    shutil.copytree(small, template)
    start.mkdir()
    later(template, "one", "1\n")
    environment = harmless(tmp_path, start)
    cookiecutter(start, environment, *given(template, start), "service_name=orders", "port=9000")
    service = start / "orders"
    assert (service / "one.txt").exists() == (given is relative)
    answers = yaml.safe_load((service / ".copier-answers.yml").read_text())
    assert answers["port"] == 9000
    source = str(template) if given is relative else f"git+file://{template}"
    assert answers["_src_path"] == source

    commit(service)
    later(template, "two", "2\n")
    monkeypatch.setenv("COPIER_CACHE_DIR", environment["COPIER_CACHE_DIR"])
    copier.run_update(service, defaults=True, overwrite=True, quiet=True, vcs_ref="HEAD")
    assert files(service)["two.txt"] == b"2\n"
    updated = yaml.safe_load((service / ".copier-answers.yml").read_text())
    assert updated["port"] == 9000 and updated["_commit"] != answers["_commit"]


def later(template: Path, name: str, text: str) -> None:
    """Add a file to the template in a commit of its own."""
    (template / f"template/{name}.txt").write_text(text)
    git(template, "add", "--all")
    git(template, "commit", "--quiet", f"--message=Add {name}")


def harmless(tmp_path: Path, start: Path) -> dict[str, str]:
    """Keep clones and caches of a call inside the test's directory."""
    return {
        **os.environ,
        **GIT_ENVIRONMENT,
        "PWD": str(start),
        "HOME": str(tmp_path / "home"),
        "COPIER_CACHE_DIR": str(tmp_path / "cache"),
    }
