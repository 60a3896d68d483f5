"""Write cookiecutter.json from copier.yml: cookiecutter asks what Copier asks. A test says when it is stale."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def text_of(default: object) -> str:
    """Write a default as a user types it: cookiecutter knows text and choices only."""
    if isinstance(default, list):
        return f"[{', '.join(map(str, default))}]"
    return str(default).replace("{{ service_name }}", "{{ cookiecutter.service_name }}")


def questions(copier: dict[str, dict[str, object]]) -> str:
    """Translate the questions of copier.yml: names, defaults, choices and what is asked."""
    defaults: dict[str, object] = {}
    prompts: dict[str, object] = {}
    for name, question in copier.items():
        if name.startswith("_") or question.get("ask") is False:
            continue
        # A prompt of cookiecutter is no template.
        asked = str(question["help"]).replace("{{ service_name }}", "<service_name>")
        choices = question.get("choices")
        if isinstance(choices, list):
            choices = {choice: choice for choice in choices}
        if isinstance(choices, dict):
            # cookiecutter's default is the first choice.
            labels = {value: label for label, value in choices.items()}
            defaults[name] = sorted(labels, key=lambda value: value != question["default"])
            prompts[name] = {"__prompt__": asked, **labels}
        else:
            defaults[name] = text_of(question["default"])
            prompts[name] = asked
    return json.dumps({**defaults, "__prompts__": prompts}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    copier = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    (ROOT / "cookiecutter.json").write_text(questions(copier), "utf-8")
