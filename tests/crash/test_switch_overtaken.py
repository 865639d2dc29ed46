"""A chainctl that hangs while it has the VM paused: its watchdog settles what was begun, and lets the guest go on. When
it wakes up it must not go on from where it was, as the guest has written meanwhile.
"""
import contextlib
import signal

import pytest

import crash_oracle as oracle
from crash_cases import AFTER, BEFORE, Scenario
from crash_machine import REGION
from crash_mirror import MirrorPivot
from crash_points import Stopped
from crash_switch import RUNS_AGAIN_WITHIN, Commit, Rollback, assert_runs_again
from support import process
from support.chainctl import finish

COMMIT = Scenario(Commit(), 2, False, ())
MIRROR = Scenario(MirrorPivot(), 2, False, ())
ROLLBACK = Scenario(Rollback(), 2, False, ())
SCENARIOS = [COMMIT, MIRROR, ROLLBACK]
MEANWHILE = 34
MONITOR_FD = 5  # of a watchdog (engine/watchdog.c)
ENDS_WITHIN = 20  # seconds; much less than it would try to thaw
# Of each verb: at which of the points of that name, and whether it has happened by then.
HANGS = {
    ROLLBACK: [("qmp:qom-set", 0, BEFORE, False), ("qmp:qom-set", 1, BEFORE, False), ("qmp:qom-set", 1, AFTER, True),
               ("qmp:cont", 0, BEFORE, True), ("qmp:cont", 0, AFTER, True)],
    COMMIT: [("qmp:job-complete", 0, BEFORE, True), ("qmp:job-complete", 1, AFTER, True), ("qmp:cont", 0, BEFORE, True)],
    MIRROR: [("qmp:stop", 0, AFTER, False), ("qmp:job-complete", 0, BEFORE, True), ("qmp:job-complete", 1, AFTER, True),
             ("qmp:cont", 0, BEFORE, True)],
}  # fmt: skip


def commits_while_paused(points):
    """Which of the commits of a run lie between its pause and its end."""
    names = [point.name for point in points]
    before, behind = names.index("qmp:stop"), names.index("qmp:cont")
    return range(names[:before].count("db:commit"), names[:behind].count("db:commit"))


def hang(stack, scenario, name, occurrence, when, reference, machine, folder, action="stop"):
    """(machine, chainctl) as the one stands still at a point, the other paused."""
    folder.mkdir()
    point = [point for point in reference(scenario) if point.name == name][occurrence]
    made = stack.enter_context(machine(**scenario.machine_options()))
    scenario.verb.prepare(made)
    stopped = Stopped(made.ctl, scenario.verb.words, point, when, folder, action=action)
    stack.callback(stopped.process.kill)
    return made, stopped


def assert_nothing_is_lost(scenario, made, result, happened):
    for name in made.names:
        made.vm.qemu_io(name, f"read -P {MEANWHILE} {4 * REGION} {REGION}")
    assert not made.agent.frozen
    assert_says_what_is_true(made, result, happened)
    assert scenario.verb.assert_settled(made) == happened, result


def assert_says_what_is_true(made, result, happened):
    """Done, or nothing changed; and it has left nothing to recover."""
    assert result.status in ((0, 10) if happened else (1,)), result
    assert result.json["ok"] == (result.status == 0), result
    if result.status:
        assert "stood still" in result.json["error"]["message"], result
    assert oracle.recovered(made) == [], result


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_one_that_wakes_up_late_changes_nothing_any_more(scenario, reference, machine, tmp_path):
    """All of a verb at once, since each takes its five seconds."""
    with contextlib.ExitStack() as stack:
        hung = []
        for number, (name, occurrence, when, happened) in enumerate(HANGS[scenario]):
            folder = tmp_path / f"hang{number}"
            hung.append((*hang(stack, scenario, name, occurrence, when, reference, machine, folder), happened))
        for made, _, _ in hung:
            assert_runs_again(made)
            for name in made.names:
                made.vm.qemu_io(name, f"write -P {MEANWHILE} {4 * REGION} {REGION}")
        for made, stopped, happened in hung:
            assert_nothing_is_lost(scenario, made, stopped.go_on(), happened)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_one_that_is_stopped_in_a_commit_does_not_keep_the_guest(scenario, reference, machine, tmp_path):
    """It has the database, and nobody can say what becomes of the commit: it is woken, and finds itself overtaken."""
    with contextlib.ExitStack() as stack:
        hung = [hang(stack, scenario, "db:commit", occurrence, when, reference, machine, tmp_path / f"{occurrence}{when}")
                for occurrence in commits_while_paused(reference(scenario)) for when in (BEFORE, AFTER)]  # fmt: skip
        assert hung
        for made, _ in hung:
            assert_runs_again(made)
            for name in made.names:
                made.vm.qemu_io(name, f"write -P {MEANWHILE} {4 * REGION} {REGION}")
        for made, stopped in hung:
            assert_nothing_is_lost(scenario, made, stopped.go_on(), True)
            scenario.verb.assert_goes_on(made)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_one_that_hangs_in_a_commit_and_cannot_be_woken_is_killed(scenario, reference, machine, tmp_path):
    """What it had not committed is not true; what QEMU has done by then is."""
    with contextlib.ExitStack() as stack:
        hung = [hang(stack, scenario, "db:commit", occurrence, BEFORE, reference, machine, tmp_path / str(occurrence), "hang")
                for occurrence in commits_while_paused(reference(scenario))]  # fmt: skip
        for made, stopped in hung:
            assert_runs_again(made)
            assert finish(stopped.process).status == -signal.SIGKILL
            for name in made.names:
                made.vm.qemu_io(name, f"write -P {MEANWHILE} {4 * REGION} {REGION}")
        happened = []
        for made, _ in hung:
            oracle.recovered(made)
            for name in made.names:
                made.vm.qemu_io(name, f"read -P {MEANWHILE} {4 * REGION} {REGION}")
            happened.append(scenario.verb.assert_settled(made))
            scenario.verb.assert_goes_on(made)
        assert not happened[0] and all(happened[1:]), "the first says that it is about to happen, or that it has"


def test_watchdog_that_has_cut_the_monitor_ends_with_qemu(reference, machine, tmp_path):
    """It tries to thaw for two minutes, and the VM's lock is its own; but where the guest is gone nobody waits for it."""
    with contextlib.ExitStack() as stack:
        made, stopped = hang(stack, ROLLBACK, "qmp:cont", 0, BEFORE, reference, machine, tmp_path / "hang")
        made.agent.silent, asked = True, len(made.agent.asked)
        process.wait_until(lambda: len(made.agent.asked) > asked, RUNS_AGAIN_WITHIN, "the watchdog to ask the agent")
        stopped.kill()
        made.power_off()
        assert all(process.wait_dead(pid, ENDS_WITHIN) for pid in stopped.watchdogs), "the watchdog lives on"


def test_watchdog_thaws_where_the_monitor_was_lost_before_its_parent_died(reference, machine, tmp_path):
    """QEMU lives: a new connection tells."""
    with contextlib.ExitStack() as stack:
        made, stopped = hang(stack, ROLLBACK, "qmp:cont", 0, BEFORE, reference, machine, tmp_path / "hang")
        assert made.agent.frozen
        for pid in stopped.watchdogs:
            process.hang_up(pid, MONITOR_FD)
        stopped.kill()
        assert_runs_again(made)
        assert made.agent.wait_thawed(RUNS_AGAIN_WITHIN)
