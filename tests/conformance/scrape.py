"""Reading a page of metrics."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Sample:
    """One series and its value."""

    name: str
    labels: dict[str, str]
    value: float


class Scrape:
    """One scrape: families by name, and all samples."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.types: dict[str, str] = {}
        self.samples: list[Sample] = []
        for family in text_string_to_metric_families(text):
            self.types[family.name] = family.type
            self.samples += [
                Sample(item.name, dict(item.labels), item.value) for item in family.samples
            ]

    def find(self, name: str, **labels: str) -> Iterator[Sample]:
        """Yield the samples of that name that carry these labels (and perhaps more)."""
        for sample in self.samples:
            if sample.name == name and all(
                sample.labels.get(key) == value for key, value in labels.items()
            ):
                yield sample

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the matching samples; 0 when there is none."""
        return math.fsum(sample.value for sample in self.find(name, **labels))

    def labels(self, name: str) -> set[frozenset[str]]:
        """Return the sets of label names in use for a sample name."""
        return {frozenset(sample.labels) for sample in self.find(name)}

    @property
    def series(self) -> int:
        """Return the number of series."""
        return len(self.samples)
