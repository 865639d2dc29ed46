"""A chainctl that hangs while it has the VM paused: its watchdog settles what was begun, and lets the guest go on. When
it wakes up it must not go on from where it was, as the guest has written meanwhile.
"""
import contextlib
import time

import crash_oracle as oracle
from crash_cases import AFTER, BEFORE, Scenario
from crash_machine import REGION
from crash_points import Missed, Stopped
from crash_strike import attempts
from crash_switch import Commit, Rollback, assert_runs_again

COMMIT = Scenario(Commit(), 2, False, ())
ROLLBACK = Scenario(Rollback(), 2, False, ())
MEANWHILE = 34
# At which of the points of that name, and whether it has happened by then.
HANGS = [(ROLLBACK, "qmp:qom-set", 0, BEFORE, False), (ROLLBACK, "qmp:qom-set", 1, BEFORE, False),
         (ROLLBACK, "qmp:qom-set", 1, AFTER, True), (ROLLBACK, "qmp:cont", 0, BEFORE, True),
         (ROLLBACK, "qmp:cont", 0, AFTER, True), (COMMIT, "qmp:job-complete", 0, BEFORE, True),
         (COMMIT, "qmp:job-complete", 1, AFTER, True), (COMMIT, "qmp:cont", 0, BEFORE, True)]  # fmt: skip


def hang(stack, scenario, name, occurrence, when, reference, machine, folder):
    """(machine, chainctl) as the one stands still at a point, the other paused."""
    point = [point for point in reference(scenario) if point.name == name][occurrence]
    for made in attempts(machine, scenario):
        stack.enter_context(made)
        scenario.verb.prepare(made)
        with contextlib.suppress(Missed):
            stopped = Stopped(made.ctl, scenario.verb.words, point, when, folder)
            stack.callback(stopped.process.kill)
            return made, stopped
    raise Missed(str(point))


def assert_nothing_is_lost(scenario, made, result, happened):
    for name in made.names:
        made.vm.qemu_io(name, f"read -P {MEANWHILE} {4 * REGION} {REGION}")
    assert not made.agent.frozen
    assert result.json["ok"] == (result.status == 0), result
    oracle.recovered(made)
    assert scenario.verb.assert_settled(made) == happened, result


def test_one_that_wakes_up_late_changes_nothing_any_more(reference, machine, tmp_path):
    """All at once, since each takes its five seconds."""
    with contextlib.ExitStack() as stack:
        hung = []
        for number, (scenario, name, occurrence, when, happened) in enumerate(HANGS):
            folder = tmp_path / f"hang{number}"
            folder.mkdir()
            hung.append((scenario, *hang(stack, scenario, name, occurrence, when, reference, machine, folder), happened))
        for _, made, _, _ in hung:
            assert_runs_again(made)
            for name in made.names:
                made.vm.qemu_io(name, f"write -P {MEANWHILE} {4 * REGION} {REGION}")
        for scenario, made, stopped, happened in hung:
            assert_nothing_is_lost(scenario, made, stopped.go_on(), happened)


def test_one_that_hangs_in_its_commit_keeps_the_guest_until_it_is_known_what_was_committed(reference, machine, tmp_path):
    points = [point.name for point in reference(ROLLBACK)]
    record = points[: points.index("qmp:cont")].count("db:commit") - 1
    with contextlib.ExitStack() as stack:
        made, stopped = hang(stack, ROLLBACK, "db:commit", record, BEFORE, reference, machine, tmp_path)
        time.sleep(7)  # the watchdog has come, and cannot know
        result = stopped.go_on()
        assert_runs_again(made)
        assert result.json["ok"] == (result.status == 0), result
        oracle.recovered(made)
        ROLLBACK.verb.assert_settled(made)
        ROLLBACK.verb.assert_goes_on(made)


def test_one_that_is_killed_in_its_commit_after_it_hung_has_not_rolled_back(reference, machine, tmp_path):
    points = [point.name for point in reference(ROLLBACK)]
    record = points[: points.index("qmp:cont")].count("db:commit") - 1
    with contextlib.ExitStack() as stack:
        made, stopped = hang(stack, ROLLBACK, "db:commit", record, BEFORE, reference, machine, tmp_path)
        time.sleep(11)  # the watchdog has come, and has given up waiting for the database once
        stopped.kill()
        assert_runs_again(made)
        oracle.recovered(made)
        assert not ROLLBACK.verb.assert_settled(made)
        ROLLBACK.verb.assert_goes_on(made)
