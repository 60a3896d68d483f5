"""A template, and an installed service that is updated from it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import Service


@dataclass(frozen=True, slots=True)
class Pair:
    """A template, and an installed service that was made from it."""

    template: Path
    service: Service

    def update(self, *arguments: str) -> str:
        """Call `make update`, with the Copier that this repository has locked."""
        return self.service.make("update", "COPIER=copier", *arguments)

    def refusal(self, *arguments: str) -> str:
        """Call `make update`, which has to fail, and return what it says."""
        with pytest.raises(AssertionError) as failed:
            self.update(*arguments)
        return str(failed.value)
