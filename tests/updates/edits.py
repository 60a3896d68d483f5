"""Edits that a team could make to any file, as data: hypothesis draws lists of them and makes failing ones smaller."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

Lines = list[str]


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit of one file, at a place from 0.0, its first line, to 1.0, its end."""

    action: str
    file: str
    place: float = 0.0

    def apply(self, service: Path, number: int) -> None:
        """Make the edit; one of a file that an earlier edit took away does nothing."""
        path = service / self.file
        if not path.exists():
            return
        mark = f"# edit {number} of the team\n"
        if self.action == "delete":
            path.unlink()
        elif self.action == "rename":
            path.rename(path.with_name(f"renamed-{number}-{path.name}"))
        elif self.action == "add":
            path.with_name(f"added-{number}-{path.name}").write_text(mark)
        else:
            lines = path.read_text().splitlines(keepends=True)
            LINES[self.action](lines, round(self.place * len(lines)), mark)
            path.write_text("".join(lines))


def insert(lines: Lines, at: int, mark: str) -> None:
    """Put a line in, below a last line without an end as well."""
    if at == len(lines) and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    lines.insert(at, mark)


def replace(lines: Lines, at: int, mark: str) -> None:
    """Change a line."""
    lines[at : at + 1] = [mark]


def remove(lines: Lines, at: int, _mark: str) -> None:
    """Take a few lines away."""
    del lines[at : at + 3]


LINES: dict[str, Callable[[Lines, int, str], None]] = {
    "insert": insert,
    "replace": replace,
    "remove": remove,
}
ACTIONS = [*LINES, "delete", "rename", "add"]


def edits(*groups: Sequence[str]) -> st.SearchStrategy[list[Edit]]:
    """Draw one to eight edits of the files in `groups`, each group as often as the others."""
    names = st.one_of(*map(st.sampled_from, groups))
    places = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    one = st.builds(Edit, action=st.sampled_from(ACTIONS), file=names, place=places)
    return st.lists(one, min_size=1, max_size=8)
