"""Whatever a team edits, an update from any supported version keeps it or reports a conflict."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import copier
import jinja2
import pytest
from hypothesis import HealthCheck, given, settings

from tests.harness import Renderer, commit, files, git
from tests.test_ownership import SHARED
from tests.updates.edits import Edit, edits
from tests.updates.judge import ANSWERS, Update, is_team, unmerged
from tests.updates.versions import VERSIONS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# For all versions together.
CASES = 54


@pytest.fixture(scope="module", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile each text of the template once: every case renders three times, and it takes half of their time."""
    compile_ = jinja2.Environment.compile
    known: dict[tuple[object, ...], CodeType | str] = {}

    def remembered(
        self: jinja2.Environment, source: str, *arguments: Any, **options: Any
    ) -> CodeType | str:
        key = (source, *arguments, *options.items())
        if key not in known:
            known[key] = compile_(self, source, *arguments, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", remembered)
        yield


@dataclass(frozen=True, slots=True)
class Start:
    """A service as an old version made it, and as the new one makes it."""

    service: Path
    old: dict[str, bytes]
    new: dict[str, bytes]

    def groups(self) -> list[list[str]]:
        """Sort the files that can be edited: the template's that change and that do not, the team's, the shared."""
        names = sorted(self.old.keys() - {ANSWERS})
        ours = [name for name in names if not is_team(name) and name not in SHARED]
        changing = [name for name in ours if self.new.get(name) != self.old[name]]
        team = [name for name in names if is_team(name)]
        return [changing, sorted({*ours} - {*changing}), team, [n for n in SHARED if n in names]]


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda version: version[:7])
def start(
    request: pytest.FixtureRequest, history: Renderer, tmp_path_factory: pytest.TempPathFactory
) -> Start:
    """Render the old version, which every case copies, and the new one."""
    base = tmp_path_factory.mktemp("start")
    service = history(base / "old", version=request.param)
    commit(service)
    return Start(service, files(service), files(history(base / "new")))


def updated(start: Start, edits: list[Edit], service: Path) -> Update:
    """Copy the service, edit it, and update it."""
    shutil.copytree(start.service, service)
    for number, edit in enumerate(edits):
        edit.apply(service, number)
    git(service, "add", "--all")
    git(service, "commit", "--quiet", "--allow-empty", "--message=Edit")
    before = files(service)
    copier.run_update(service, defaults=True, overwrite=True, quiet=True, vcs_ref="HEAD")
    return Update(start.old, start.new, before, files(service), unmerged(service))


def test_no_edit_is_lost(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each case is one to eight edits: of lines anywhere in a file, of whole files, of names, in every class."""

    @settings(
        max_examples=-(-CASES // len(VERSIONS)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(edits(*start.groups()))
    def keeps(made: list[Edit]) -> None:
        service = tmp_path_factory.mktemp("case") / "service"
        problems = [*updated(start, made, service).problems()]
        shutil.rmtree(service)
        assert not problems, "\n".join(problems)

    keeps()
