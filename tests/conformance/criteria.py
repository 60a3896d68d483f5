"""The criteria of docs/contract.md, and the white-box tests for those that cannot be seen from outside."""

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRACT = REPOSITORY / "docs" / "contract.md"

AREAS = {
    "S": "Process and configuration",
    "L": "Logging",
    "M": "Metrics",
    "T": "Tracing",
    "C": "CORS",
    "D": "Dependency injection",
    "X": "Tests",
    "H": "Health and shutdown",
    "E": "Errors",
    "B": "Circuit breaker and outgoing calls",
    "A": "The sample application",
}
"""The contract's areas by the letter of their criteria, in the contract's order."""

IMPROVEMENTS = {
    "L": "1 Structured logging",
    "M": "2 Standard metrics",
    "T": "3 Distributed tracing",
    "C": "4 CORS hardened",
    "D": "5 Dependency injection",
    "X": "6 Test coverage",
    "H": "7 Health and shutdown",
    "S": "8 Settings",
    "E": "9 Error responses",
    "B": "10 Circuit breaker",
}
"""The ten improvements by the letter of the criteria that judge them."""

_LINE = re.compile(r"^- \*\*(?P<id>[A-Z]\d+)\*\* (?P<text>.*)$")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One promise of the contract."""

    id: str
    text: str

    @property
    def area(self) -> str:
        """Return the letter of the criterion's area."""
        return self.id[0]


def read_contract(path: Path = CONTRACT) -> dict[str, Criterion]:
    """Return every criterion of the contract by its ID, in the order of the page.

    Raises:
        FileNotFoundError: the contract is not there; there is no second copy to fall back to.
    """
    found: dict[str, Criterion] = {}
    current: str | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.match(line)
        if match:
            current = match["id"]
            found[current] = Criterion(current, match["text"].strip())
        elif current and line.startswith("  ") and line.strip():
            found[current] = Criterion(current, f"{found[current].text} {line.strip()}")
        else:
            current = None
    return found
