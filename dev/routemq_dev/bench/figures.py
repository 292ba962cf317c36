"""What was measured."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over several rounds."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def least(self) -> float:
        return min(self.rounds)

    @property
    def most(self) -> float:
        return max(self.rounds)

    def to_json(self) -> dict[str, Any]:
        """Return all of it, rounded to what a clock can tell."""
        figures = {"median": self.median, "least": self.least, "most": self.most}
        return {name: round(value, 2) for name, value in figures.items()} | {
            "rounds": [round(value, 2) for value in self.rounds]
        }


@dataclass(slots=True)
class Figures:
    """What one side did.

    Attributes:
        end_to_end: Messages per second of each round, from the first publish to the last run.
        processor_us: Processor time of ingest and workers per message of those rounds, which other programs disturb
            less than the rate.
        backlog: The same as `end_to_end`, from the moment that ingest goes on.
        latencies_ms: Of each round, ascending.
        steady_processor_us: Processor time of ingest, Redis and workers per message while they were measured.
        rates: Messages per second at which they were measured.
        lost: Published and acknowledged, never run.
        duplicates: Runs beyond the first of a message.
    """

    end_to_end: list[float] = field(default_factory=list)
    processor_us: list[float] = field(default_factory=list)
    backlog: list[float] = field(default_factory=list)
    latencies_ms: list[Sequence[float]] = field(default_factory=list)
    steady_processor_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    published: int = 0
    lost: int = 0
    duplicates: int = 0

    def percentile_ms(self, percent: int) -> Spread | None:
        """Return a percentile of the latency over the rounds; None before the first."""
        rounds = [each[min(len(each) - 1, len(each) * percent // 100)] for each in self.latencies_ms if each]
        return Spread(tuple(rounds)) if rounds else None

    def spreads(self) -> dict[str, Spread | None]:
        """Return every figure by its name."""
        figures = {
            "end_to_end_per_s": self.end_to_end,
            "processor_us": self.processor_us,
            "backlog_per_s": self.backlog,
            "steady_processor_us": self.steady_processor_us,
        }
        return {
            **{name: Spread(tuple(rounds)) if rounds else None for name, rounds in figures.items()},
            **{f"latency_p{percent}_ms": self.percentile_ms(percent) for percent in (50, 95, 99)},
        }

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            **{name: spread and spread.to_json() for name, spread in self.spreads().items()},
            "latency_at_per_s": [round(rate, 1) for rate in self.rates],
            "published": self.published,
            "lost": self.lost,
            "duplicates": self.duplicates,
        }
