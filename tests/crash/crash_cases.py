"""What is crashed, and how: a verb, its scenarios with the side effects of each, the moments, and who dies there.

A new verb plugs in with a Verb of its own, as crash_snapshot.py does for the first: how a machine is made ready for
it, its words, the point at which it happens, the table of its side effects per scenario, what is true afterwards.
"""
import itertools
from dataclasses import dataclass

BEFORE, AFTER = "before", "after"
CHAINCTL, BOTH, QEMU, ALL = "chainctl", "chainctl+watchdog", "qemu", "all"


class Verb:
    """`intent`, `switch`, `record`: the first point of that name commits the journal's intent, the first executes the
    verb, the last commits its outcome."""

    name, words = "", ()
    intent = record = "db:commit"
    switch = ""

    def prepare(self, machine):
        """Makes the machine ready, before the verb."""

    def tidy(self, machine):
        """Takes back what prepare did to a QEMU that is still alive, after the death."""

    def assert_settled(self, machine, happened):
        """As if the verb had run, or as if it had not; QEMU may be dead."""
        raise NotImplementedError

    def assert_data(self, machine, happened, before):
        """`before`: what every disk read when the verb happened."""
        raise NotImplementedError

    def assert_goes_on(self, machine, happened):
        """QEMU runs; the verb can be used again, and no data is lost."""
        raise NotImplementedError


@dataclass(frozen=True)
class Scenario:
    """A verb on a machine of so many disks; `points` are its side effects, in order. Where it is shut off, the stand-in
    takes QEMU's place among the dead, and dies with its chainctl in any case."""

    verb: Verb
    disks: int
    paused: bool
    points: tuple
    shut_off: bool = False

    def __str__(self):
        state = "shut-off" if self.shut_off else "paused" if self.paused else "running"
        return f"{self.verb.name}-{self.disks}-{state}"

    def machine_options(self):
        return {"disks": self.disks, "paused": self.paused}


@dataclass(frozen=True)
class Moment:
    """Before or after one side effect of a scenario, which is named by its place in the table."""

    scenario: Scenario
    place: int
    when: str

    def __str__(self):
        return f"{self.place + 1:02}-{self.when}-{self.name.partition(':')[2]}"

    @property
    def name(self):
        return self.scenario.points[self.place]

    @property
    def begun(self):
        """The journal has the intent."""
        return self._is_after(self.scenario.points.index(self.scenario.verb.intent))

    @property
    def executed(self):
        """What the verb is for has happened."""
        points, switch = self.scenario.points, self.scenario.verb.switch
        return switch in points and self._is_after(points.index(switch))

    @property
    def ended(self):
        """The journal has the outcome."""
        points = self.scenario.points
        return self._is_after(len(points) - 1 - points[::-1].index(self.scenario.verb.record))

    @property
    def open(self):
        """A death leaves work for recover."""
        return self.begun and not self.ended

    def _is_after(self, place):
        return self.place > place or (self.place == place and self.when == AFTER)


@dataclass(frozen=True)
class Case:
    """`writes`: what the guest writes between the moment and the death: data, zeroes, or nothing."""

    moment: Moment
    killed: str
    writes: str = "data"

    def __str__(self):
        writes = "" if self.writes == "data" else f"-{self.writes}"
        return f"{self.moment.scenario}-{self.moment}-{self.killed}{writes}"

    @property
    def kills_qemu(self):
        return self.killed in (QEMU, ALL) or self.moment.scenario.shut_off

    @property
    def happens(self):
        """As if the verb had run, or as if it had not? Where QEMU lives it says so itself; where it is dead, what was
        written to an overlay shows that it was live, and without any the two are the same."""
        decided = self.writes != "nothing" or not self.kills_qemu or self.moment.ended
        # A chainctl that outlives its QEMU has seen the answer.
        return self.moment.executed and (decided or self.killed == QEMU)


def moments(scenario, whens=(BEFORE, AFTER), start=0):
    return [Moment(scenario, place, when) for place in range(start, len(scenario.points)) for when in whens]


def moment(scenario, when, name, occurrence=0):
    """The moment at the so-manieth point of that name; -1 is the last."""
    places = [place for place, other in enumerate(scenario.points) if other == name]
    return Moment(scenario, places[occurrence], when)


def sweep(scenario, start=0):
    """Every moment with every set of the dead; and with no write, and with zeroes, where the answer is in files. To a
    machine that is shut off nobody writes."""
    if scenario.shut_off:
        return _sweep_shut_off(scenario)
    kills = (CHAINCTL, QEMU, ALL) if scenario.paused else (CHAINCTL, BOTH, QEMU, ALL)
    cases = [Case(at, killed) for at, killed in itertools.product(moments(scenario, start=start), kills)]
    by_files = [case for case in cases if case.moment.executed and case.kills_qemu]
    return cases + [Case(case.moment, case.killed, writes) for case in by_files for writes in ("nothing", "zeroes")]


def _sweep_shut_off(scenario):
    """Before its first side effect there is no stand-in that could die; and who dies first matters on no second disk."""
    first, *others = moments(scenario)
    kills = (CHAINCTL, QEMU, ALL) if scenario.disks == 1 else (CHAINCTL, QEMU)
    pairs = [(first, CHAINCTL), *itertools.product(others, kills)]
    return [Case(at, killed, "nothing") for at, killed in pairs]
