"""The points of a build with -Dpoints=true: which ones a run passes, and how to stop it exactly at one of them.

A point is a side effect: a command to QEMU or to the agent, a file, a process, a commit. Those that only ask have
numbers too, but how many there are differs from run to run, and with the load of the machine. So a side effect is known
by its name and its place among those of that name, which are learnt from a run before.
"""
import collections
import os
import pathlib
import re
import signal
from dataclasses import dataclass

from crash_machine import standins_of, watchdogs_of
from support.chainctl import Chainctl, finish
from support.process import wait_dead

STANDIN_ENDS_WITHIN = 5  # seconds

QUESTION = re.compile(
    r"qmp:((x-debug-)?query-.*|qom-(get|list).*|qmp_capabilities)"
    r"|qga:guest-(sync-delimited|ping|info|get-fsinfo|fsfreeze-status)"
)


@dataclass(frozen=True)
class Point:
    name: str
    number: int  # of that name; 1 is the first

    def __str__(self):
        """As a choice names it."""
        return f"{self.name}#{self.number}"


class Missed(Exception):
    """The run did not come to the point. No AssertionError, which a seeded bug is to cause."""


def passed(log):
    """All points that a log tells of."""
    lines = pathlib.Path(log).read_text().splitlines() if pathlib.Path(log).exists() else []
    counted = collections.Counter()
    for name in (line.partition(" ")[2] for line in lines):
        counted[name] += 1
        yield Point(name, counted[name])


def side_effects(points):
    return [point for point in points if not QUESTION.fullmatch(point.name)]


class Pointed(Chainctl):
    """A chainctl that writes down its points and, where told so, comes to one of them and ends, fails or stops."""

    def __init__(self, ctl, folder, choice=None, mutant=None, watchdog=None):
        self.log = pathlib.Path(folder) / "points"
        self.log.unlink(missing_ok=True)
        variables = {"POINT_LOG": self.log, "POINT": choice, "MUTANT": mutant, "WATCHDOG_POINT": watchdog}
        chosen = {f"CHAINCTL_{name}": str(value) for name, value in variables.items() if value}
        inherited = {name: value for name, value in ctl.env.items() if name == "CHAINCTL_MUTANT"}
        super().__init__(ctl.state_dir, binary=ctl.binary, env={**inherited, **chosen})

    def effects(self):
        """The side effects that were passed, in order."""
        return side_effects(passed(self.log))

    def names(self):
        return [point.name for point in self.effects()]


class Stopped:
    """A chainctl that stands still at a point, with its watchdog beside it: kill any of them, or let it go on. One that
    hangs does not go on."""

    def __init__(self, ctl, words, point, moment, folder, mutant=None, action="stop"):
        self.name = words[-1]
        pointed = Pointed(ctl, folder, f"{point}:{moment}:{action}", mutant)
        self.process = pointed.start(*words)
        happened = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if happened.si_code != os.CLD_STOPPED:
            raise Missed(f"{point}: {finish(self.process)}")
        self.watchdogs, self.standins = watchdogs_of(self.process.pid), standins_of(self.process.pid)

    def kill(self):
        """SIGKILL for chainctl alone; a stand-in dies of it."""
        self.process.kill()
        finish(self.process)
        assert all(wait_dead(pid, STANDIN_ENDS_WITHIN) for pid in self.standins), "a stand-in lives on"

    def kill_standins(self):
        for pid in self.standins:
            os.kill(pid, signal.SIGKILL)

    def kill_watchdogs(self):
        for pid in self.watchdogs:
            os.kill(pid, signal.SIGKILL)

    def go_on(self, timeout=60):
        """Lets it run to its end. Returns the Result."""
        self.process.send_signal(signal.SIGCONT)
        return finish(self.process, timeout)
