"""Every wrong answer is refused with a message that stands alone, and nothing is written."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.harness import GIT_ENVIRONMENT, ROOT, Renderer

LABEL = "must be a DNS label of at most 40 characters"

# Question, wrong answer, what the message has to say.
NO_LISTS: list[object] = ["https://a.example", [], None, {"a": 1}, 1]
WRONG: list[tuple[str, object, str]] = [
    *[
        ("service_name", name, LABEL)
        for name in (
            "",
            "User-Service",
            "user_service",
            "user service",
            "1user",
            "-user",
            "user-",
            "user--service",
            "user.service",
            "üser",
            "user\n",
            "../user",
            "a" * 41,
        )
    ],
    *[
        ("service_name", name, "must not be a reserved word")
        for name in ("metrics", "database", "app", "chassis", "kubernetes", "http", "otel-x")
    ],
    *[
        ("service_name", name, "must not be a word that YAML reads as true, false or null")
        for name in ("no", "on", "null")
    ],
    *[
        ("service_name", name, "must not be the name of a Python package")
        for name in ("fastapi", "pytest", "uvicorn", "opentelemetry-sdk")
    ],
    *[
        ("description", text, "description must be one line of 1 to 200 printable characters")
        for text in (
            "",
            " ",
            "two\nlines",
            "tab\there",
            "bell\x07",
            "escape\x1b[31m",
            "separator\u2028here",
            "end ",
            "x" * 201,
        )
    ],
    *[
        ("port", port, "port must be a whole number from 1024 to 64535")
        for port in (80, 0, -1, 1023, 64536, 70000, "eight", "", 8000.5, True, [8000], None)
    ],
    ("database", "mysql", "'mysql' is not in ['postgresql', 'none']"),
    ("cache", "memcached", "'memcached' is not in ['redis', 'none']"),
    ("ci", "jenkins", "'jenkins' is not in ['github', 'gitlab', 'none']"),
    ("python_version", "3.10", "'3.10' is not in ['3.11', '3.12', '3.13', '3.14']"),
    *[
        ("dependencies", value, "dependencies must be a list of name:port")
        for value in list[object](["auth:8080", {"auth": 8080}, 8080, None])
    ],
    *[
        ("dependencies", [entry], "every dependency must be written name:port")
        for entry in ("auth", "auth:80:80", {"auth": 8080}, 8080, "http://auth:8080", "")
    ],
    *[
        ("dependencies", [entry], "name must be a DNS label of at most 63 characters")
        for entry in ("Auth:8080", "auth_service:8080", ":8080", "1a:8080", "a.b:8080", "a/b:1")
    ],
    *[
        ("dependencies", [entry], "port must be a whole number from 1 to 65535")
        for entry in ("auth:", "auth:0", "auth:65536", "auth:080", "auth:http", "auth:-1", "auth:٣")
    ],
    ("dependencies", ["user-service:8080"], "must not name the service itself"),
    ("dependencies", ["auth:8080", "auth:8081"], "must name each service once"),
    *[
        ("dependencies", [f"{name}:8080"], "a dependency must not be a reserved word")
        for name in ("database", "redis", "metrics", "cache", "test-database", "otel-collector")
    ],
    *[
        ("staging_origins", value, "origins must be a list of at least one origin")
        for value in NO_LISTS
    ],
    *[
        ("staging_origins", [origin], message)
        for origin, message in (
            ("*", "must not contain *: name every origin"),
            ("https://*.example.com", "must not contain *: name every origin"),
            ("null", "must not be null"),
            ("http://a.example", "must start with https://"),
            ("a.example", "must start with https://"),
            ("https://a.example/", "must have neither a path nor a trailing slash"),
            ("https://a.example/path", "must have neither a path nor a trailing slash"),
            ("https://A.example", "must be written in lower case"),
            ("https://a.example:443", "must be written without its default port 443"),
            ("https://a.example:0", "must have a port from 1 to 65535"),
            ("https://a.example:65536", "must have a port from 1 to 65535"),
            ("https://a.example:", "must have a port from 1 to 65535"),
            ("https://localhost", "must not be localhost outside development"),
            ("https://localhost:3000", "must not be localhost outside development"),
            ("https://app.localhost", "must not be localhost outside development"),
            ("https://127.0.0.1", "must not be localhost outside development"),
            ("https://", "a scheme, a host name and an optional port"),
            ("https://a..example", "a scheme, a host name and an optional port"),
            ("https://a.example.", "a scheme, a host name and an optional port"),
            ("https://-a.example", "a scheme, a host name and an optional port"),
            ("https://a-.example", "a scheme, a host name and an optional port"),
            ("https://user@a.example", "a scheme, a host name and an optional port"),
            ("https://a.example?q", "a scheme, a host name and an optional port"),
            ("https://a.example#f", "a scheme, a host name and an optional port"),
            ("https://a example", "a scheme, a host name and an optional port"),
            ("https://bücher.example", "(an international name in its xn-- form)"),
            (f"https://{'a' * 64}.example", "a scheme, a host name and an optional port"),
            (1, "must be text"),
        )
    ],
    ("staging_origins", ["https://a.example"] * 2, "every origin must be listed once"),
    ("production_origins", [], "e.g. [https://app.example.com]"),
    ("production_origins", ["https://app.example.com/"], "neither a path nor a trailing slash"),
    (
        "production_origins",
        ["https://staging.example.com"],
        "staging and production must not share an origin",
    ),
    *[
        ("image_registry", value, f"image_registry {message}")
        for value, message in (
            ("https://registry.example.com", "must have no scheme"),
            ("registry.example.com/team@sha256:0", "must have no digest"),
            ("registry.example.com/team/", "must not end with a slash"),
            ("registry.example.com/team:1.0", "must have no tag"),
            ("registry.example.com:latest", "must have no tag"),
            ("registry.example.com/Team", "must be a host and path in lower case"),
            ("registry.example.com//team", "must be a host and path in lower case"),
            ("registry.example.com/-team", "must be a host and path in lower case"),
            ("registry.example.com/te_-am", "must be a host and path in lower case"),
            ("my_registry:5000/team", "must be a host and path in lower case"),
            ("registry.example.com/te am", "must be a host and path in lower case"),
            ("", "must be a host and path in lower case"),
        )
    ],
    *[
        ("namespace", value, "namespace must be a DNS label of at most 63 characters")
        for value in ("", "Team", "a_b", "a.b", "-a", "a-", "a" * 64)
    ],
    ("namespace", "kube-system", "must not start with kube-"),
]

RIGHT: list[tuple[str, object]] = [
    *[("service_name", name) for name in ("a", "user-service", "a1", "x" * 40, "users2-api")],
    *[
        ("description", text)
        for text in (
            "x",
            'He said "no": it\'s \\ 100 % {{ fine }} {% if %} {# #}',
            "Größe — 사용자 🚀",
            "# heading | <b>bold</b> `code` *star* _under_ [link](x) $HOME ${{ secrets.X }}",
            "- yes: no, [1], {2} & *3 !4 @5",
            "null",
            "1.0",
        )
    ],
    *[("port", port) for port in (1024, 8001, 64535)],
    *[
        ("dependencies", value)
        for value in ([], ["a:1"], ["auth-service:65535", "b:80"], ["x" * 63 + ":8080"])
    ],
    *[
        ("staging_origins", [origin])
        for origin in (
            "https://a.example",
            "https://a.example:8443",
            "https://intranet",
            "https://10.0.0.1",
            "https://xn--bcher-kva.example",
            "https://localhost.example.com",
        )
    ],
    ("production_origins", ["https://a.example", "https://a.example:444"]),
    *[
        ("image_registry", value)
        for value in ("ghcr.io/org", "localhost:5000", "r.example.com:5000/a/b-c", "team", "a/b_c")
    ],
    *[("namespace", value) for value in ("default", "team-a", "t", "x" * 63)],
]


@pytest.fixture(scope="session")
def questionnaire(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """The real questions on the few files that show answers, outside git: renders are quick."""
    template = tmp_path_factory.mktemp("questionnaire")
    names = ["VERSION", "copier.yml", "hooks/answers.jinja", "hooks/packages.jinja"]
    names += ["template/{{_copier_conf.answers_file}}.jinja", "template/pyproject.toml.jinja"]
    names += ["template/chassis/src/chassis/service.toml.jinja"]
    for name in names:
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, template / name)
    return Renderer(template)


@pytest.mark.parametrize(("question", "answer", "message"), WRONG)
def test_wrong_answer_is_refused(
    question: str, answer: object, message: str, questionnaire: Renderer, tmp_path: Path
) -> None:
    """A wrong answer raises the question's own message, and the destination stays untouched."""
    with pytest.raises(ValueError) as refused:
        questionnaire(tmp_path / "service", {question: answer})
    assert message in str(refused.value)
    assert question in str(refused.value)
    assert "e.g." in str(refused.value) or " is not in [" in str(refused.value)
    assert not (tmp_path / "service").exists()


@pytest.mark.parametrize(("question", "answer"), RIGHT)
def test_right_answer_is_kept(
    question: str, answer: object, questionnaire: Renderer, tmp_path: Path
) -> None:
    """A right answer is remembered as it was given and leaves the rendered facts readable."""
    service = questionnaire(tmp_path / "service", {question: answer})
    remembered = yaml.safe_load((service / ".copier-answers.yml").read_text())
    assert remembered[question] == answer
    facts = tomllib.loads((service / "chassis/src/chassis/service.toml").read_text())
    project = tomllib.loads((service / "pyproject.toml").read_text())["project"]
    assert project["name"] == facts["name"] == remembered["service_name"]
    assert project["description"] == facts["description"] == remembered["description"]
    assert facts["port"] == remembered["port"]
    assert facts["staging_origins"] == remembered["staging_origins"]
    assert remembered["dependencies"] == [
        f"{name}:{port}" for name, port in facts["dependencies"].items()
    ]


def copy(template: Path, destination: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call Copier as a user does: its own process, without --trust and without a terminal."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "copier", "copy", "--defaults", "--vcs-ref=HEAD"),
            *(*arguments, str(template), str(destination)),
        ],
        env={**os.environ, **GIT_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_name_is_judged_also_when_files_are_overwritten(
    renderer: Renderer, tmp_path: Path
) -> None:
    """An update overwrites, too, and keeps an old name; that is no way around for a new one."""
    done = copy(renderer.template, tmp_path / "redis", "--force", "--data", "service_name=redis")
    assert "service_name must not be a reserved word" in done.stderr
    assert not (tmp_path / "redis").exists()


def test_a_long_place_of_the_template_stays_on_one_line(renderer: Renderer, tmp_path: Path) -> None:
    """`make update` reads it there."""
    template = tmp_path / "the platform engineering team's documents" / f"{'a' * 60} template"
    shutil.copytree(renderer.template, template)
    assert copy(template, tmp_path / "orders").returncode == 0
    written = (tmp_path / "orders/.copier-answers.yml").read_text().splitlines()
    assert any(
        line.startswith("_src_path") and line.rstrip("'").endswith(" template") for line in written
    )


def test_command_line_accepts_lists(renderer: Renderer, tmp_path: Path) -> None:
    """Lists can be given on the command line; the end names the next two commands."""
    done = copy(
        renderer.template,
        tmp_path / "orders",
        *("--data", "service_name=orders"),
        *("--data", "dependencies=[auth:8080, billing:8081]"),
        *("--data", "production_origins=[https://orders.example]"),
    )
    assert done.returncode == 0, done.stderr
    assert "git commit" in done.stderr and "make run" in done.stderr
    remembered = yaml.safe_load((tmp_path / "orders/.copier-answers.yml").read_text())
    assert remembered["dependencies"] == ["auth:8080", "billing:8081"]


def test_command_line_ends_with_the_message(renderer: Renderer, tmp_path: Path) -> None:
    """Copier ends in a traceback; its last line has to be enough to answer better."""
    done = copy(renderer.template, tmp_path / "orders", "--data", "dependencies=auth:8080")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        "ValueError: Validation error for question 'dependencies': dependencies must be a list "
        "of name:port, e.g. [auth-service:8080, billing:8081], or [] for none; got: auth:8080"
    )
    assert not (tmp_path / "orders").exists()


@pytest.mark.criterion("C2")
def test_origins_mean_the_same_to_the_service() -> None:
    """What the questionnaire accepts, the service takes unchanged; what C2 forbids, both refuse."""
    source = ROOT / "template/chassis/src/chassis/origins.py"
    spec = importlib.util.spec_from_file_location("origins", source)
    assert spec and spec.loader
    origins = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(origins)

    for question, accepted in RIGHT:
        if question.endswith("_origins"):
            assert isinstance(accepted, list)
            assert [origins.normalise(origin, deployed=True) for origin in accepted] == accepted
    wrong = [answer for question, answer, _ in WRONG if question == "staging_origins"]
    for refused in ("*", "null", "http://a.example", "https://a.example/", "https://localhost"):
        assert [refused] in wrong
        with pytest.raises(ValueError):
            origins.normalise(refused, deployed=True)
