"""Carries a case out: a machine, a chainctl that stands at the moment, the dead, and what has to be true after."""
import contextlib

import crash_oracle as oracle
from crash_cases import ALL, BOTH, QEMU
from crash_points import Pointed, Stopped

WATCHDOG_THAWS_WITHIN = 2  # seconds
INTERRUPTED = 8


class Struck:
    """`result`: of a chainctl that went on after its QEMU had died, else None."""

    def __init__(self, case, machine, stopped):
        self.case, self.machine, self.verb = case, machine, case.moment.scenario.verb
        self.frozen, self.result = machine.agent.frozen, None
        self._write()
        self._kill(stopped)
        if machine.runs:
            self.verb.tidy(machine)

    def assert_recovers(self, recover=oracle.recovered):
        self.assert_guest_is_brought_back()
        self.assert_survivor_knows()
        self.assert_outcome(recover(self.machine))
        self.assert_whole()

    def assert_guest_is_brought_back(self):
        """By the watchdog, where it lives."""
        if self.case.killed == BOTH:
            assert self.machine.agent.frozen == self.frozen
        else:
            assert self.machine.agent.wait_thawed(WATCHDOG_THAWS_WITHIN), "the watchdog does not thaw"

    def assert_survivor_knows(self):
        """A chainctl that lost its QEMU says what came of it, or that it left that to recover."""
        if self.result is None:
            return
        status = self.result.status
        assert self.result.json["ok"] == (status == 0), self.result
        if self.case.happens:
            assert status == 0, self.result
        else:
            assert status in (1, 4) or (status == INTERRUPTED and "recover" in self.result.json["error"]["hint"])

    @property
    def left_open(self):
        return self.result.status == INTERRUPTED if self.result else self.case.moment.open

    def assert_outcome(self, outcomes):
        outcome = "finished" if self.case.happens else "undone"
        assert outcomes == ([outcome] if self.left_open else [])

    def assert_whole(self):
        machine, happens = self.machine, self.case.happens
        assert not machine.agent.frozen
        self.verb.assert_settled(machine, happens)
        self.verb.assert_data(machine, happens, self.before if self.case.moment.executed else machine.patterns)
        if not machine.runs:
            oracle.restart(machine)
        self.verb.assert_goes_on(machine, happens)

    def _write(self):
        """To the last disk alone, so that one overlay has to answer for all."""
        last = self.machine.names[-1]
        self.before = {name: list(patterns) for name, patterns in self.machine.patterns.items()}
        if self.case.writes == "data":
            self.machine.write(last, oracle.AT_THE_MOMENT)
        elif self.case.writes == "zeroes":
            self.machine.write_zeroes(last, region=1)

    def _kill(self, stopped):
        if self.case.killed in (BOTH, ALL):
            stopped.kill_watchdogs()
        if self.case.killed in (QEMU, ALL):
            stopped.kill_standins()
            self.machine.power_off()
        if self.case.killed == QEMU:
            self.result = stopped.go_on()
        else:
            stopped.kill()


@contextlib.contextmanager
def strike(case, reference, machine, folder, mutant=None):
    """A Struck."""
    scenario = case.moment.scenario
    point = reference(scenario)[case.moment.place]
    with machine(**scenario.machine_options()) as made:
        scenario.verb.prepare(made)
        yield Struck(case, made, Stopped(made.ctl, scenario.verb.words, point, case.moment.when, folder, mutant))


@contextlib.contextmanager
def failing(at, reference, machine, folder):
    """(machine, result) of a run that was made to fail at that moment's point."""
    point = reference(at.scenario)[at.place]
    with machine(**at.scenario.machine_options()) as made:
        at.scenario.verb.prepare(made)
        run = Pointed(made.ctl, folder, f"{point}:before:fail")
        result = run.run(*at.scenario.verb.words)
        assert point in run.effects(), result
        yield made, result
