"""docs/adopting.md as data: the tests take its commands and lines from the page itself."""

import re
import textwrap

from tests.harness import ROOT

TEXT = (ROOT / "docs/adopting.md").read_text()
PARTS = "[chassis, deploy, docs, renovate.json]"
"""What the page takes in, as it stands in its command."""


def blocks(language: str) -> list[str]:
    """Return the fenced blocks in a language, in the page's order."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


def commands(beginning: str) -> list[str]:
    """Return the lines of the one block of commands whose first line begins like that."""
    (found,) = (block.splitlines() for block in blocks("sh") if block.startswith(beginning))
    return found


def improvements() -> list[str]:
    """Return the lines that switch the improvements on, in the order in which the page does it."""
    return re.findall(r"^\| \d \| `(.*?)` \|", TEXT, re.MULTILINE)


def composition() -> list[str]:
    """Return what `create_app` holds when all of them are on, in the order of the file."""
    (found,) = (
        block.splitlines()
        for block in blocks("python")
        if block.startswith("parts = ") and "install" in block
    )
    return found


def program() -> str:
    """Return `serve.py` as it is before the first improvement."""
    (found,) = (block for block in blocks("python") if "cli.main" in block)
    return found
