"""The pipelines: valid, pinned, with few rights, and their steps really run."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import output, tool
from tests.harness import BARE, COMBINATIONS, DEFAULT, ROOT, Answers, commit, git, label

Rendered = Callable[[Answers], Path]

GITHUB: list[Answers] = [
    *({"ci": "github"}, {**BARE, "ci": "github", "python_version": "3.14"}),
    {"ci": "github", "database": "none"},
]
GITLAB: list[Answers] = [{"ci": "gitlab"}, {**BARE, "ci": "gitlab", "python_version": "3.14"}]
# No job may be called like these, says GitLab's reference of the file.
KEYWORDS = {
    *("image", "services", "stages", "types", "before_script", "after_script", "variables"),
    *("cache", "include"),
}
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
TEST_SERVERS = {"database": "TEST_DATABASE_URL", "cache": "TEST_REDIS_URL"}


@pytest.fixture(params=[*GITHUB, None], ids=["default", "bare", "no-database", "template"])
def workflows(request: pytest.FixtureRequest, rendered: Rendered) -> list[Path]:
    """The workflows of a render, and those of this repository."""
    root = ROOT if request.param is None else rendered(request.param)
    return sorted((root / ".github/workflows").iterdir())


@pytest.fixture(params=GITLAB, ids=["default", "bare"])
def pipeline(request: pytest.FixtureRequest, rendered: Rendered) -> dict[str, Any]:
    """GitLab's pipeline of a render."""
    return load(rendered(request.param) / ".gitlab-ci.yml")


def load(file: Path) -> dict[str, Any]:
    """Read YAML whose keys are strings, `on` too."""
    found: dict[str, Any] = yaml.load(file.read_text(), Loader=yaml.BaseLoader)  # noqa: S506
    return found


def jobs(workflow: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from load(workflow)["jobs"].items()


def test_zizmor_has_no_complaint(workflows: list[Path]) -> None:
    output(tool("zizmor"), "--offline", "--quiet", *workflows)


def test_actionlint_has_no_complaint(workflows: list[Path]) -> None:
    """With shellcheck, since steps are scripts."""
    output(tool("actionlint"), "-shellcheck", tool("shellcheck"), *workflows)


def test_actions_are_pinned(workflows: list[Path]) -> None:
    """By commit, with the version beside it for readers and Renovate; one commit per action everywhere."""
    pins: dict[str, set[str]] = {}
    for workflow in workflows:
        for used in re.findall(r"uses: (.+)", workflow.read_text()):
            assert PINNED.fullmatch(used), used
            pins.setdefault(used.split("@")[0], set()).add(used)
    assert "actions/checkout" in pins
    assert all(len(used) == 1 for used in pins.values()), pins


def test_workflows_have_few_rights_and_end(workflows: list[Path]) -> None:
    for workflow in workflows:
        document = load(workflow)
        assert document["permissions"] == {}
        assert document["concurrency"]["group"]
        for name, job in jobs(workflow):
            assert 0 < int(job["timeout-minutes"]) <= 120, name
            assert job["runs-on"] == "ubuntu-24.04"
            rights = job["permissions"]
            assert rights == {"contents": "read"} or (workflow.stem, name) == ("updates", "propose")
            for step in job["steps"]:
                if "actions/checkout" in step.get("uses", ""):
                    assert step["with"]["persist-credentials"] == "false"


def test_nobody_writes_who_runs_what_an_update_brought(rendered: Rendered) -> None:
    """The job with a token that may push runs nothing of the repository, the one that does has none."""
    made = dict(jobs(rendered(DEFAULT) / ".github/workflows/updates.yml"))
    assert "secrets." not in json.dumps(made["make"]) and "GH_TOKEN" not in json.dumps(made["make"])
    scripts = "\n".join(step.get("run", "") for step in made["propose"]["steps"])
    assert not re.search(r"\bmake\b|\bpip\b|\bpython", scripts)
    assert "--trust" not in (rendered(DEFAULT) / ".github/workflows/updates.yml").read_text()


# The worker that renders a combination for other tests has it already.
@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(answers, id=label(answers), marks=pytest.mark.xdist_group(label(answers)))
        for answers in COMBINATIONS
    ],
)
def test_pipeline_is_there_by_answer(answers: Answers, rendered: Rendered) -> None:
    """One system's files or none, and servers for the tests exactly when they are needed."""
    service = rendered(answers)
    github = service / ".github/workflows/ci.yml"
    gitlab = service / ".gitlab-ci.yml"
    assert github.exists() == (answers["ci"] == "github")
    assert gitlab.exists() == (answers["ci"] == "gitlab")
    if answers["ci"] == "none":
        return
    test = load(github)["jobs"]["test"] if github.exists() else load(gitlab)["test"]
    given = test.get("env", {}) | test.get("variables", {})
    wanted = {name for feature, name in TEST_SERVERS.items() if answers[feature] != "none"}
    assert {name for name in given if name.startswith("TEST_")} == wanted
    assert len(test.get("services", [])) == len(wanted)


def test_python_is_the_answer(rendered: Rendered) -> None:
    for answers in (GITHUB[0], GITHUB[1]):
        wanted = str(answers.get("python_version", "3.13"))
        for workflow in (rendered(answers) / ".github/workflows").iterdir():
            assert set(re.findall(r'python-version: "(.+)"', workflow.read_text())) == {wanted}
    for answers in GITLAB:
        wanted = str(answers.get("python_version", "3.13"))
        pipeline = load(rendered(answers) / ".gitlab-ci.yml")
        assert pipeline["default"]["image"] == f"python:{wanted}"


def test_gitlab_pipeline_is_sound(pipeline: dict[str, Any]) -> None:
    """Every job has a script and says when it runs; only updates run on a schedule."""
    known = {"workflow", "default"}
    assert not pipeline.keys() & KEYWORDS
    found = {k: v for k, v in pipeline.items() if k not in known and not k.startswith(".")}
    scheduled = {"updates", "propose"}
    assert found.keys() == scheduled | {"check", "test", "manifests", "alert-rules", "container"}
    for name, job in found.items():
        assert job["script"] and all(isinstance(line, str) for line in job["script"]), name
        assert ("!=" in job["rules"][0]["if"]) == (name not in scheduled)
        assert job.keys() <= {
            *("rules", "script", "services", "variables", "image", "interruptible", "parallel"),
            *("artifacts", "environment", "stage"),
        }


def test_nobody_writes_on_gitlab_who_runs_what_an_update_brought(pipeline: dict[str, Any]) -> None:
    """The token is scoped to the environment of the job that pushes."""
    updates, propose = pipeline["updates"], pipeline["propose"]
    assert "environment" not in updates
    assert propose["environment"] == {"name": "updates", "action": "access"}
    assert "UPDATE_TOKEN" not in "\n".join(updates["script"])
    assert not re.search(r"\bmake\b|\bpip\b|\bpython", "\n".join(propose["script"]))


def test_gitlab_proposes_what_passed(
    pipeline: dict[str, Any], rendered: Rendered, tmp_path: Path
) -> None:
    """The update of the template fails, that of the libraries becomes a branch of its own."""
    origin, checkout, programs = (tmp_path / name for name in ("origin", "checkout", "programs"))
    shutil.copytree(rendered(GITLAB[0]), checkout)
    commit(checkout)
    git(tmp_path, "clone", "--quiet", "--bare", str(checkout), str(origin))
    git(origin, "config", "receive.advertisePushOptions", "true")
    programs.mkdir()
    (programs / "make").write_text(
        '#!/bin/sh\ncase $1 in lock) echo "$*" > requirements.lock;; update) exit 1;; esac\n'
    )
    (programs / "make").chmod(0o755)
    given = {
        **{"PATH": f"{programs}:{os.environ['PATH']}", "CI_SERVER_HOST": "gitlab.example.com"},
        **{"CI_SERVER_URL": "https://gitlab.example.com:8443/git"},
        **{"CI_DEFAULT_BRANCH": "main", "CI_PROJECT_PATH": "team/service", "UPDATE_TOKEN": "t"},
        **{"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{origin}.insteadOf"},
        "GIT_CONFIG_VALUE_0": "https://oauth2:t@gitlab.example.com:8443/git/team/service.git",
    }

    def ran(job: str, **variables: str) -> bool:
        script = "set -eo pipefail\n" + "\n".join(pipeline[job]["script"])
        environment = {**os.environ, **given, **variables}
        return not subprocess.run(["bash", "-c", script], cwd=checkout, env=environment).returncode

    assert not ran("updates", CHANGE="template")
    assert ran("updates", CHANGE="libraries")
    git(checkout, "checkout", "--quiet", "main")
    git(checkout, "reset", "--quiet", "--hard", "HEAD^")
    assert ran("propose")
    assert git(origin, "branch", "--format=%(refname:short)").split() == [
        "main",
        "updates/libraries",
    ]
    changed = git(origin, "diff", "--name-only", "main", "updates/libraries").split()
    assert changed == ["requirements.lock"]

    pushed = git(origin, "rev-parse", "updates/libraries")
    git(
        checkout,
        "bundle",
        "create",
        "--quiet",
        "libraries.bundle",
        tampered(checkout, ".gitlab-ci.yml"),
    )
    assert not ran("propose")
    assert git(origin, "rev-parse", "updates/libraries") == pushed


def tampered(checkout: Path, pipeline: str) -> str:
    """Commit what a new library slipped in, leave the branch as it was, and return the commit's range."""
    for name in ("requirements.lock", pipeline):
        (checkout / name).write_text("evil\n")
    git(checkout, "commit", "--quiet", "--all", "--message=Update the libraries")
    git(checkout, "branch", "--force", "evil")
    git(checkout, "reset", "--quiet", "--hard", "HEAD^")
    return "main..evil"


@pytest.mark.parametrize(
    ("gh", "evil", "proposed"),
    [("echo 0", False, True), ("exit 1", False, False), ("echo 0", True, False)],
    ids=["passed", "no-answer", "tampered"],
)
def test_github_proposes_what_passed(
    gh: str, evil: bool, proposed: bool, rendered: Rendered, tmp_path: Path
) -> None:
    """A branch and a pull request; red when there is none, and nothing but locks is pushed with new libraries."""
    origin, checkout = tmp_path / "origin", tmp_path / "checkout"
    shutil.copytree(rendered(DEFAULT), checkout)
    commit(checkout)
    git(tmp_path, "clone", "--quiet", "--bare", str(checkout), str(origin))
    git(checkout, "remote", "add", "origin", str(origin))
    changes = tmp_path / "changes/libraries"
    changes.mkdir(parents=True)
    pipeline = ".github/workflows/ci.yml" if evil else "requirements-dev.lock"
    # A bundle names what it holds, which has to be HEAD.
    commits = tampered(checkout, pipeline).partition("..")[2]
    git(checkout, "checkout", "--quiet", commits)
    bundle = str(changes / "libraries.bundle")
    git(checkout, "bundle", "create", "--quiet", bundle, "main..HEAD", "HEAD")
    git(checkout, "checkout", "--quiet", "main")
    (tmp_path / "gh").write_text(
        f'#!/bin/sh\ncase "$1 $2" in "pr list") {gh};; "pr create") touch {tmp_path}/created;; esac\n'
    )
    (tmp_path / "gh").chmod(0o755)
    made = dict(jobs(checkout / ".github/workflows/updates.yml"))
    script = made["propose"]["steps"][-1]["run"]
    given = {"RUNNER_TEMP": str(tmp_path), "GITHUB_REF_NAME": "main"}
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=checkout,
        env={**os.environ, **given, "PATH": path},
    )
    assert (done.returncode == 0) == (tmp_path / "created").exists() == proposed
    assert ("updates/libraries" in git(origin, "branch", "--format=%(refname:short)")) != evil


def test_scripts_of_gitlab_pass_shellcheck(pipeline: dict[str, Any], tmp_path: Path) -> None:
    for name, job in pipeline.items():
        if "script" in job:
            script = tmp_path / f"{name}.sh"
            script.write_text("#!/bin/bash\nset -eo pipefail\n" + "\n".join(job["script"]) + "\n")
            output(tool("shellcheck"), script)


@pytest.mark.parametrize("answers", [DEFAULT, {**BARE, "ci": "gitlab"}], ids=["github", "gitlab"])
def test_both_systems_do_the_same(answers: Answers, rendered: Rendered) -> None:
    """What a pipeline runs exists in the render, whatever system it is for."""
    service = rendered(answers)
    (file,) = [
        f for f in (service / ".github/workflows/ci.yml", service / ".gitlab-ci.yml") if f.exists()
    ]
    text = file.read_text()
    targets = set(re.findall(r"make ([a-z]+)", text)) - {"update"}
    makefile = (service / "Makefile").read_text()
    assert targets >= {"check", "test", "install"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.M) for target in targets)
    assert "sh deploy/check.sh" in text and (service / "deploy/check.sh").exists()
    assert "promtool" in text and "docker build" in text


def test_shell_scripts_pass_shellcheck(rendered: Rendered) -> None:
    output(tool("shellcheck"), rendered(DEFAULT) / "deploy/check.sh")
    output(tool("shellcheck"), "--severity=warning", ROOT / ".ci/run")


def test_renovate_follows_the_template(rendered: Rendered) -> None:
    """Its copier manager is on and never trusts; the template's own files are left to the template."""
    service = rendered(DEFAULT)
    settings = json.loads((service / "renovate.json").read_text())
    assert "copier" in settings["enabledManagers"]
    assert settings.get("ignoreScripts", True)
    files = {name for rule in settings["packageRules"] for name in rule.get("matchFileNames", ())}
    assert files - {".gitlab-ci.yml"} <= {
        path.relative_to(service).as_posix() for path in service.rglob("*") if path.is_file()
    }
