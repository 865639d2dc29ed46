"""A recovery that dies is recovered like anything else: killed, alone or with its QEMU, around each of its effects."""
import itertools
from dataclasses import dataclass

import pytest

import crash_oracle as oracle
from crash_cases import AFTER, ALL, BEFORE, BOTH, CHAINCTL, Case, moment
from crash_points import Pointed, Stopped
from crash_snapshot import ADD, CLOSE, COMMIT, CREATE, FREEZE, NOTE, REMOVE, SWITCH, THAW, running
from crash_strike import strike

TWO = running(2)

# A crash, and the side effects of the recovery from it.
RECOVERIES = {
    Case(moment(TWO, AFTER, CREATE, 1), CHAINCTL): (REMOVE, REMOVE, COMMIT),
    Case(moment(TWO, AFTER, ADD), BOTH): (CLOSE, CLOSE, REMOVE, REMOVE, COMMIT),
    Case(moment(TWO, AFTER, ADD, 1), ALL): (REMOVE, REMOVE, COMMIT),
    Case(moment(TWO, AFTER, FREEZE), BOTH): (THAW, CLOSE, CLOSE, REMOVE, REMOVE, COMMIT),
    Case(moment(TWO, AFTER, SWITCH), BOTH): (THAW, NOTE, NOTE, COMMIT),
    Case(moment(TWO, AFTER, SWITCH), ALL): (NOTE, NOTE, COMMIT),
    Case(moment(TWO, BEFORE, COMMIT, -1), CHAINCTL): (NOTE, NOTE, COMMIT),
}


@dataclass(frozen=True)
class Second:
    """The death of the recovery."""

    crash: Case
    place: int
    when: str
    killed: str

    def __str__(self):
        return f"{self.crash}-then-{self.place + 1}-{self.when}-{RECOVERIES[self.crash][self.place]}-{self.killed}"


SECONDS = [
    Second(crash, place, when, killed)
    for crash, points in RECOVERIES.items()
    for place, when, killed in itertools.product(range(len(points)), (BEFORE, AFTER), (CHAINCTL, ALL))
    if killed == CHAINCTL or not crash.kills_qemu
]


@pytest.fixture(scope="module")
def recovery_points():
    """What a recovery from each crash passed, once it has been seen."""
    return {}


def learn(crash, known, *rig):
    """The side effects of an undisturbed recovery."""
    if crash not in known:
        with strike(crash, *rig) as struck:
            pointed = Pointed(struck.machine.ctl, rig[-1])
            struck.assert_guest_is_brought_back()
            oracle.recovered(struck.machine, pointed)
            known[crash] = pointed.effects()
    return known[crash]


@pytest.mark.parametrize("crash", RECOVERIES, ids=str)
def test_the_side_effects_of_recovery_are_those_that_are_swept(crash, recovery_points, reference, machine, tmp_path):
    names = tuple(point.name for point in learn(crash, recovery_points, reference, machine, tmp_path))
    assert names == RECOVERIES[crash]


@pytest.mark.parametrize("second", SECONDS, ids=str)
def test_recovery_that_dies_is_recovered_from(second, recovery_points, reference, machine, tmp_path):
    point = learn(second.crash, recovery_points, reference, machine, tmp_path)[second.place]
    with strike(second.crash, reference, machine, tmp_path) as struck:
        struck.assert_guest_is_brought_back()
        stopped = Stopped(struck.machine.ctl, ["recover", "vm"], point, second.when, tmp_path)
        if second.killed == ALL:
            struck.machine.power_off()
        stopped.kill()
        is_over = second.when == AFTER and second.place == len(RECOVERIES[second.crash]) - 1
        outcome = "finished" if second.crash.happens else "undone"
        assert oracle.recovered(struck.machine) == ([] if is_over else [outcome])
        struck.assert_whole()


# A note that cannot be written is a warning.
FAILURES = [(crash, place) for crash, points in RECOVERIES.items() for place in range(len(points))
            if points[place] != NOTE]  # fmt: skip


@pytest.mark.parametrize(
    "crash, place", FAILURES, ids=lambda value: str(value if isinstance(value, Case) else value + 1)
)
def test_recovery_that_fails_leaves_the_operation_to_the_next(
    crash, place, recovery_points, reference, machine, tmp_path
):
    point = learn(crash, recovery_points, reference, machine, tmp_path)[place]
    with strike(crash, reference, machine, tmp_path) as struck:
        struck.assert_guest_is_brought_back()
        failing = Pointed(struck.machine.ctl, tmp_path, f"{point}:before:fail")
        result = failing.run("recover", "vm")
        assert point in failing.effects(), result
        assert result.status in (1, 4) and "made to fail" in result.json["error"]["message"], result
        assert oracle.recovered(struck.machine) == ["finished" if crash.happens else "undone"]
        struck.assert_whole()
