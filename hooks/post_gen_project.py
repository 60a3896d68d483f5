"""Let Copier render. cookiecutter renders this file with Jinja and runs it in the new directory."""

import json
import os
import sys
from pathlib import Path
from urllib.parse import unquote

# JSON is no Python and may hold any text; percent-encoded, it is a plain string.
CONTEXT = json.loads(unquote("{{ cookiecutter | jsonify | urlencode }}"))
# The template's path may be relative to where cookiecutter was started.
STARTS = (os.environ.get("PWD", ""), CONTEXT["_output_dir"])
sys.path[:0] = [str(Path(start, CONTEXT["_repo_dir"], "hooks")) for start in STARTS]

try:
    import cookiecutter_door  # type: ignore[import-not-found]
except ModuleNotFoundError:
    sys.exit(
        "the template is not where cookiecutter was started: give its URL, or its path from / on"
    )

sys.exit(cookiecutter_door.render(CONTEXT, Path.cwd()))
