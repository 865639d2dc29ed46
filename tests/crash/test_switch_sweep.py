"""Promise 2 for the verbs that move a guest or merge its images: whoever dies, and wherever, one `recover` brings all
disks to one state, and nothing that the guest wrote is lost.
"""
import pytest

import crash_oracle as oracle
from crash_cases import AFTER, BEFORE, Scenario
from crash_mirror import MirrorFinish, MirrorFollow, MirrorPivot
from crash_points import Stopped
from crash_switch import Commit, CommitBelow, Rollback, Stream, assert_runs_again

CHAINCTL, BOTH, ALL, QEMU = "chainctl", "chainctl+watchdog", "all", "qemu"

# A verb on so many disks; how many side effects it has; who dies.
SWEPT = [
    (Scenario(Rollback(), 2, False, ()), 28, (CHAINCTL, BOTH, ALL)),
    (Scenario(Rollback(), 1, True, ()), 14, (CHAINCTL, ALL)),
    (Scenario(Commit(), 2, False, ()), 24, (CHAINCTL, BOTH, ALL)),
    (Scenario(CommitBelow(), 1, False, ()), 17, (CHAINCTL, BOTH, ALL)),
    (Scenario(Stream(), 1, False, ()), 14, (CHAINCTL, ALL)),
    (Scenario(MirrorPivot(), 2, False, ()), 35, (CHAINCTL, BOTH, ALL)),
    (Scenario(MirrorFinish(), 2, False, ()), 23, (CHAINCTL, BOTH, ALL)),
    (Scenario(MirrorFollow(), 2, False, ()), 11, (CHAINCTL, ALL)),
]
CASES = [
    pytest.param(scenario, place, when, killed, id=f"{scenario}-{place + 1:02}-{when}-{killed}")
    for scenario, count, kills in SWEPT
    for place, when in [*((place, BEFORE) for place in range(count)), (count - 1, AFTER)]
    for killed in kills
]
WHILE_QEMU_DIES = [(SWEPT[0][0], "qmp:qom-set"), (SWEPT[0][0], "qmp:cont"), (SWEPT[2][0], "qmp:job-complete"),
                   (SWEPT[2][0], "qmp:cont"), (SWEPT[3][0], "qmp:job-finalize"), (SWEPT[3][0], "qmp:job-dismiss"),
                   (SWEPT[4][0], "qmp:job-finalize"), (SWEPT[5][0], "qmp:job-complete"), (SWEPT[5][0], "qmp:cont"),
                   (SWEPT[5][0], "qmp:job-dismiss"), (SWEPT[6][0], "qmp:block-job-cancel"), (SWEPT[6][0], "qmp:job-dismiss"),
                   (SWEPT[7][0], "qmp:blockdev-mirror")]  # fmt: skip


def strike(scenario, point, when, killed, machine, folder):
    """The machine after the death, and the result of a chainctl that outlived its QEMU."""
    stopped = Stopped(machine.ctl, scenario.verb.words, point, when, folder)
    if killed in (BOTH, ALL):
        stopped.kill_watchdogs()
    if killed in (ALL, QEMU):
        machine.power_off()
    if killed == QEMU:
        return stopped.go_on()
    stopped.kill()
    return None


@pytest.mark.parametrize("scenario, count, kills", SWEPT, ids=lambda value: str(value) if isinstance(value, Scenario) else "")
def test_the_side_effects_are_those_that_are_swept(scenario, count, kills, reference):
    assert len(reference(scenario)) == count, [point.name for point in reference(scenario)]


@pytest.mark.parametrize("scenario, place, when, killed", CASES)
def test_death_is_recovered_from(scenario, place, when, killed, reference, machine, tmp_path):
    point = reference(scenario)[place]
    with machine(**scenario.machine_options()) as made:
        scenario.verb.prepare(made)
        strike(scenario, point, when, killed, made, tmp_path)
        if killed == CHAINCTL and not scenario.paused:
            assert_runs_again(made)
        oracle.recovered(made)
        if made.runs and not scenario.paused:
            assert_runs_again(made)
        assert not made.agent.frozen
        scenario.verb.assert_settled(made)
        scenario.verb.assert_goes_on(made)


@pytest.mark.parametrize("scenario, name", WHILE_QEMU_DIES, ids=str)
def test_qemu_that_dies_is_got_over(scenario, name, reference, machine, tmp_path):
    point = next(point for point in reference(scenario) if point.name == name)
    with machine(**scenario.machine_options()) as made:
        scenario.verb.prepare(made)
        result = strike(scenario, point, BEFORE, QEMU, made, tmp_path)
        assert result.json["ok"] == (result.status == 0)
        oracle.recovered(made)
        scenario.verb.assert_settled(made)
        scenario.verb.assert_goes_on(made)
