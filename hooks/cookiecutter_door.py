"""What the two hooks of cookiecutter do: check the answers, then let Copier render.

The questions, and what makes an answer wrong, stand in copier.yml and are read from there. Every function returns
None when all is well and otherwise the sentence to end with.
"""

import importlib.util
import subprocess
from collections.abc import Mapping
from pathlib import Path

import jinja2
import yaml

ROOT = Path(__file__).resolve().parent.parent
# What cookiecutter copies from its own directory, and Copier then replaces.
SHELL = "README.md"
# How Copier knows that an address is a git repository's.
GIT_PREFIXES = ("git@", "git://", "git+", "https://github.com/", "https://gitlab.com/")

Context = Mapping[str, str | None]


def check(context: Context, directory: Path) -> str | None:
    """Check everything that can be wrong while the new directory is still empty."""
    if importlib.util.find_spec("copier") is None:
        return (
            "Copier is missing beside cookiecutter and does the rendering: install it in the same environment, "
            "e.g. pipx inject cookiecutter copier, or uv tool install cookiecutter --with copier"
        )
    if any(directory.iterdir()):
        return (
            f"{directory} is not empty: cookiecutter only makes new services; "
            "to bring an existing one forward, call copier update in it"
        )
    if str(context["_template"]).lower().endswith(".zip"):
        return "an archive of the template has no history to update from: give its repository, as a URL or a path"
    return problem(context)


def problem(context: Context) -> str | None:
    """Find the first wrong answer, by the validators of copier.yml and in their order."""
    loader = jinja2.FileSystemLoader(ROOT)
    # Nothing here becomes HTML.
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined)  # noqa: S701
    # What copier.yml reads besides the answers: nothing is updated here.
    answers: dict[str, object] = {"_copier_conf": {"overwrite": False}}
    for name, question in _asked().items():
        answers[name] = context[name]
        if question["type"] == "yaml":
            try:
                answers[name] = yaml.safe_load(str(context[name]))
            except yaml.YAMLError as error:
                return f"Invalid answer for question '{name}': {error}"
        validator = environment.from_string(question.get("validator", ""))
        message = validator.render(answers).strip()
        if message:
            return f"Validation error for question '{name}': {message}"
    return None


def source(context: Context) -> tuple[str, str]:
    """Name the real template, from which later updates come, and the version to render.

    A path is what the user gave. Anything else was cloned by cookiecutter, whose clone may be renewed or deleted:
    its origin stays.
    """
    url = _git("config", "--get", "remote.origin.url")
    if context["_template"] == context["_repo_dir"] or not url:
        return str(ROOT), context["_checkout"] or "HEAD"
    known = url.endswith(".git") or url.startswith(GIT_PREFIXES) or Path(url).is_dir()
    return url if known else f"git+{url}", _git("rev-parse", "HEAD")


def render(context: Context, directory: Path) -> str | None:
    """Let Copier make the service, as `copier copy` does with the same answers."""
    import copier

    (directory / SHELL).unlink(missing_ok=True)
    template, version = source(context)
    copier.run_copy(
        template,
        directory,
        data={name: context[name] for name in _asked()},
        defaults=True,
        vcs_ref=version,
    )
    return None


def _asked() -> dict[str, dict[str, str]]:
    config = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    return {
        name: question
        for name, question in config.items()
        if not name.startswith("_") and question.get("ask", True)
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
