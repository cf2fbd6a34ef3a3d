"""Metrics as numbers: Prometheus' text read into samples that can be summed and subtracted."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Samples:
    """Every sample of a scrape, or the difference of two."""

    values: dict[Series, float]

    @staticmethod
    def parse(text: str) -> Samples:
        """Read an exposition; a series that stands twice is an error."""
        values: dict[Series, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                series = (sample.name, frozenset(sample.labels.items()))
                assert series not in values, f"{series} twice"
                values[series] = sample.value
        return Samples(values)

    def get(self, name: str, **labels: str) -> float:
        """The sum of the samples with this name and at least these labels; 0 if there are none."""
        wanted = set(labels.items())
        return sum(value for (series, has), value in self.values.items() if series == name and wanted <= has)

    def names(self) -> set[str]:
        """Every sample's name."""
        return {name for name, _ in self.values}

    def __sub__(self, before: Samples) -> Samples:
        return Samples({series: value - before.values.get(series, 0.0) for series, value in self.values.items()})
