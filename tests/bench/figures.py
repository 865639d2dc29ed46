"""One row of the table: its figures, what they are held against, and what must be reached; and how rows are drawn.

Times are in milliseconds throughout. A ratio is of samples of one run: where both were taken round by round it is the
median of the rounds' own ratios, for what else goes on changes more between rounds than within one.
"""
import statistics
import time
from dataclasses import dataclass, field

HEADER = ("", "what", "median", "from – to", "ratio", "must reach", "")
WORSE, BETTER = "**missed**", "met"


@dataclass
class Row:
    """letter: the group of rows. samples: one figure a round. ratios: {"bare": Row}. limits: {"bare": at most}, where
    "" is a limit on the median itself; floors: {"bare": at least}."""

    letter: str
    what: str
    samples: list
    unit: str = "ms"
    ratios: dict = field(default_factory=dict)
    limits: dict = field(default_factory=dict)
    floors: dict = field(default_factory=dict)

    @property
    def median(self):
        return statistics.median(self.samples)

    def ratio(self, name):
        rival = self.ratios[name]
        if len(self.samples) != len(rival.samples):
            return self.median / rival.median
        return statistics.median(ours / theirs for ours, theirs in zip(self.samples, rival.samples))

    def value(self, name):
        """What a limit of that name is on."""
        return self.ratio(name) if name else self.median

    def is_met(self):
        """None where nothing has to be reached."""
        if not self.limits and not self.floors:
            return None
        return (all(self.value(name) <= limit for name, limit in self.limits.items())
                and all(self.value(name) >= floor for name, floor in self.floors.items()))  # fmt: skip

    def cells(self):
        bounds = [("≤", self.limits), ("≥", self.floors)]
        limits = [f"{sign} {limit:g} {f'x {name}' if name else self.unit}" for sign, given in bounds
                  for name, limit in given.items() if not name or name in self.ratios]
        ratios = [f"{self.ratio(name):.2f} x {name}" for name in self.ratios]
        span = f"{number(min(self.samples))} – {number(max(self.samples))}" if len(self.samples) > 1 else ""
        met = {None: "", True: BETTER, False: WORSE}[self.is_met()]
        return (self.letter, self.what, f"{number(self.median)} {self.unit}", span, ", ".join(ratios),
                ", ".join(limits), met)


def number(value):
    """With three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows):
    """All rows as a table in Markdown, which reads as well on a terminal."""
    lines = [HEADER, *[row.cells() for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    drawn = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    drawn.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(drawn)


def in_turn(rivals, turn):
    """Their order in a round: every other time the other way about, for each finds what the one before left behind, a
    page cache and a file system that still writes."""
    return list(rivals)[:: -1 if turn % 2 else 1]


def timed(action, *words, **options):
    """How long the call took."""
    began = time.monotonic()
    action(*words, **options)
    return (time.monotonic() - began) * 1000
