"""Every combination of answers renders, cleanly, and what is off leaves nothing behind."""

import ast
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest
import yaml
from copier.errors import InteractiveSessionError

from tests.harness import (
    BARE,
    COMBINATIONS,
    DEFAULT,
    FEATURES,
    ROOT,
    Answers,
    Renderer,
    commit,
    files,
    git,
    label,
)

Rendered = Callable[[Answers], Path]

# What must not be found in any file of a service without the feature: its libraries, its modules
# and its variables.
TRACES = {
    "database": (
        r"sqlalchemy|alembic|asyncpg|aiosqlite|greenlet|postgres|sqlite"
        r"|database_url|db_pool|chassis\.database|app\.items|app\.models"
    ),
    "cache": r"redis(?!-cli)|cache_ttl|chassis\.cache\b",
    "dependencies": r"aiohttp|circuitbreaker|breaker_|dependency_timeout|chassis\.(client|breaker)",
}
OFF = {"database": "none", "cache": "none", "dependencies": []}
# The chassis's code and the tests are the same everywhere: they ask the settings what there is, and may speak of what
# they do not import.
SAME_EVERYWHERE = ("chassis/", "tests/")
IMPORTS = re.compile(r"^\s*(?:from|import) .*", re.MULTILINE)
# The sample works without a cache, and says until when a cached item may be old.
ALLOWED = {"src/app/items/cache.py": r"CACHE_TTL|chassis\.cache"}


# One worker makes all tests of a combination, so that each is rendered once.
every_combination = pytest.mark.parametrize(
    "answers",
    [
        pytest.param(answers, id=label(answers), marks=pytest.mark.xdist_group(label(answers)))
        for answers in COMBINATIONS
    ],
)


@every_combination
def test_combination_renders(answers: Answers, rendered: Rendered) -> None:
    """Every combination renders into files that parse."""
    service = rendered(answers)
    found = files(service)
    for name, content in found.items():
        text = content.decode()
        if name.endswith(".py"):
            compile(text, name, "exec")
        elif name.endswith(".toml"):
            tomllib.loads(text)
        elif name.endswith((".yml", ".yaml")):
            list(yaml.safe_load_all(text))
        elif name.endswith(".json"):
            json.loads(text)


@every_combination
def test_feature_that_is_off_leaves_no_trace(answers: Answers, rendered: Rendered) -> None:
    """Without a feature there is no file, no dependency and no setting of it."""
    for feature, words in TRACES.items():
        if answers[feature] != OFF[feature]:
            continue
        for name, content in files(rendered(answers)).items():
            text = content.decode()
            if name == ".copier-answers.yml":
                continue
            if name.startswith(SAME_EVERYWHERE) and name.endswith(".py"):
                text = "\n".join(IMPORTS.findall(text))
            if name in ALLOWED:
                text = re.sub(ALLOWED[name], "", text)
            found = re.search(words, text, re.IGNORECASE)
            assert not found, f"{name} mentions {found.group()!r} with {feature} off"


def calls_of_the_chassis(source: str) -> set[tuple[str, str]]:
    """What code takes from the chassis: module and name, the module empty for the package itself."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    found = {
        (str(node.module).removeprefix("chassis").removeprefix("."), alias.name)
        for node in imports
        if str(node.module).partition(".")[0] == "chassis"
        for alias in node.names
    }
    modules = {name for module, name in found if not module and name.islower()}
    code = ast.unparse(tree)
    # Elsewhere a variable is called like the package.
    package = {"chassis"} if re.search(r"^import chassis$", code, re.MULTILINE) else set()
    for module in modules | package:
        for path in re.findall(rf"(?<![\w.]){module}\.([\w.]+)\b", code):
            *within, name = f"{module}.{path}".removeprefix("chassis.").split(".")[:2]
            found.add((".".join(within), name))
    return found - {("", module) for module in modules}


def test_what_services_call_is_promised(rendered: Rendered) -> None:
    """The chassis's README lists what stays as it is until the next major version: this, and what adopting needs."""
    service = rendered(DEFAULT)
    code = [path for path in service.rglob("*.py") if "chassis" not in path.parts]
    called = set().union(*(calls_of_the_chassis(path.read_text()) for path in code))
    rows = re.findall(
        r"^\| (?:the package itself|`(\w+)`) \| (.*) \|$", readme(service), re.MULTILINE
    )
    promised = {(module, name) for module, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert promised - called == {("", "prepare")}
    assert called - promised == set()


def readme(service: Path) -> str:
    return (service / "chassis/README.md").read_text()


@pytest.mark.parametrize("ci", FEATURES["ci"])
def test_only_the_chosen_ci_is_there(ci: str, renderer: Renderer, tmp_path: Path) -> None:
    """Whatever the template has for one system is left out for the others."""
    template = tmp_path / "template"
    shutil.copytree(renderer.template, template)
    (template / "template/.github/workflows").mkdir(parents=True, exist_ok=True)
    (template / "template/.github/workflows/extra.yml").write_text("on: push\n")
    (template / "template/.gitlab-ci.yml").write_text("stages: []\n")
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--allow-empty", "--message=Add pipelines")
    found = files(Renderer(template)(tmp_path / "service", {"ci": ci}))
    assert any(name.startswith(".github/") for name in found) == (ci == "github")
    assert (".gitlab-ci.yml" in found) == (ci == "gitlab")


@pytest.mark.parametrize("feature", TRACES)
def test_traces_are_there_when_the_feature_is_on(feature: str, rendered: Rendered) -> None:
    """What the previous test looks for exists: in the lock, in the settings and in the code."""
    found = files(rendered(DEFAULT))
    for name in ("requirements.lock", "chassis/pyproject.toml", ".env.example"):
        assert re.search(TRACES[feature], found[name].decode(), re.IGNORECASE), name
    assert any(
        re.search(TRACES[feature], content.decode(), re.IGNORECASE)
        for name, content in found.items()
        if name.startswith("src/app/")
    )


@pytest.mark.parametrize("answers", [DEFAULT, BARE], ids=["default", "bare"])
def test_rendering_twice_gives_the_same_bytes(
    answers: Answers, rendered: Rendered, renderer: Renderer, tmp_path: Path
) -> None:
    """Nothing in a render depends on when or where it is made."""
    assert files(renderer(tmp_path / "again", answers)) == files(rendered(answers))


@every_combination
def test_render_is_tidy(answers: Answers, rendered: Rendered) -> None:
    """No leftover of the template and nothing that an editor or a whitespace fixer would change."""
    for name, content in files(rendered(answers)).items():
        text = content.decode()
        assert not name.endswith((".jinja", ".orig", ".rej")), name
        assert not re.search(r'[{}%"<>|:?* ]', name), f"{name} is no clean name"
        assert "\r" not in text and "\t" not in re.sub(r"^\t+", "", text, flags=re.M), name
        assert not re.search(r"[ \t]+$", text, flags=re.M), f"{name}: trailing whitespace"
        assert not text.endswith("\n\n"), f"{name}: empty lines at the end"
        assert not text or text.endswith("\n"), f"{name}: no newline at the end"
        if not name.endswith(".py"):  # test_python_files_hold_no_jinja looks at these
            assert not re.search(r"\{%|\{#|(?<!\$)\{\{(?! *\.)", text), f"{name}: template syntax"
        assert "\n\n\n\n" not in text, f"{name}: a hole"


@every_combination
def test_linter_and_formatter_change_nothing(
    answers: Answers, rendered: Rendered, tmp_path: Path
) -> None:
    """`ruff check` and `ruff format` have no wish, for every combination."""
    service = tmp_path / "service"
    shutil.copytree(rendered(answers), service)
    for command in (
        ["check", "--no-cache", "--output-format=concise"],
        ["format", "--check", "--no-cache"],
    ):
        done = subprocess.run(
            ["ruff", *command], cwd=service, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("answers", [DEFAULT, BARE], ids=["default", "bare"])
def test_every_command_that_a_file_names_is_there(answers: Answers, rendered: Rendered) -> None:
    """`make <target>` in a page, a comment, a message or a pipeline names a target of the Makefile."""
    found = {name: content.decode() for name, content in files(rendered(answers)).items()}
    targets = set(re.findall(r"^([a-z-]+):", found["Makefile"], re.MULTILINE))
    for name, text in found.items():
        for target in re.findall(r"(?:`|: |^ *|# )make ([a-z]+)", text, re.MULTILINE):
            assert target in targets, f"{name}: make {target}"


@pytest.mark.parametrize("name", ["a", "x" * 40, "a-b-c-d-e-f"])
def test_short_and_long_names(name: str, renderer: Renderer, tmp_path: Path) -> None:
    """A name of one letter and one of full length give the same tidy files."""
    answers = {"service_name": name, "dependencies": ["b:1", "y" * 63 + ":65535"]}
    service = renderer(tmp_path / "service", answers)
    test_render_is_tidy(answers, lambda _: service)
    test_linter_and_formatter_change_nothing(answers, lambda _: service, tmp_path / "linted")


@pytest.mark.parametrize(
    "text",
    [
        '"quotes" and \\ backslashes\\',
        "{{ service_name }} {% raw %}",
        "emoji 🚀 — ü",
        "'; rm -rf / #",
    ],
)
def test_description_arrives_as_it_is(text: str, renderer: Renderer, tmp_path: Path) -> None:
    """Any one-line description survives in TOML and YAML, and is not read as a template."""
    service = renderer(tmp_path / "service", {"description": text})
    for name in ("pyproject.toml", "chassis/src/chassis/service.toml"):
        data = tomllib.loads((service / name).read_text())
        assert data.get("project", data)["description"] == text
    answers = yaml.safe_load((service / ".copier-answers.yml").read_text())
    assert answers["description"] == text


def test_typo_in_a_template_file_fails_the_render(renderer: Renderer, tmp_path: Path) -> None:
    """An undefined variable is an error, not an empty string."""
    template = tmp_path / "template"
    shutil.copytree(renderer.template, template)
    (template / "template/typo.txt.jinja").write_text("{{ servcie_name }}\n")
    commit(template)
    with pytest.raises(jinja2.UndefinedError, match="servcie_name"):
        Renderer(template)(tmp_path / "service")


def test_existing_files_are_not_overwritten_silently(renderer: Renderer, tmp_path: Path) -> None:
    """In a directory that is in use, Copier asks; without anybody to answer it stops."""
    (tmp_path / "pyproject.toml").write_text("mine\n")
    with pytest.raises(InteractiveSessionError):
        renderer(tmp_path)
    assert (tmp_path / "pyproject.toml").read_text() == "mine\n"


def test_answers_file_is_enough_to_render_again(
    rendered: Rendered, renderer: Renderer, tmp_path: Path
) -> None:
    """The answers file holds every question's answer, and where the template came from."""
    service = rendered(DEFAULT)
    answers = yaml.safe_load((service / ".copier-answers.yml").read_text())
    config = yaml.safe_load((ROOT / "copier.yml").read_text())
    asked = {
        name
        for name, question in config.items()
        if not name.startswith("_") and question.get("ask", True)
    }
    assert answers.keys() == {*asked, "_commit", "_src_path"}
    assert len(asked) <= 12
    assert answers["_commit"] == git(renderer.template, "describe", "--tags", "--always").strip()
    given = {name: value for name, value in answers.items() if not name.startswith("_")}
    assert files(renderer(tmp_path / "again", given)) == files(service)


def test_python_files_hold_no_jinja() -> None:
    """Code lies in the template as it will lie on disk; only the composition root has conditions."""
    templates = [
        path.relative_to(ROOT / "template") for path in (ROOT / "template").rglob("*.py.jinja")
    ]
    assert len(templates) <= 3
    for path in templates:
        assert path.parent == Path("src/app"), path
        lines = (ROOT / "template" / path).read_text().splitlines()
        conditions = [line for line in lines if "{%" in line]
        assert all(re.fullmatch(r"\{% .* %\}", line) for line in conditions), path
    for path in (ROOT / "template").rglob("*.py"):
        assert not re.search(r"\{%|\{\{ ", path.read_text()), path
