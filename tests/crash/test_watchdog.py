"""Promise 1 between freeze and thaw: the watchdog in the parent's place, the other way round, a parent that hangs."""
import contextlib
import os
import signal
import time

import pytest

import crash_oracle as oracle
from crash_cases import AFTER, BEFORE, CHAINCTL, Case, moment
from crash_points import Pointed, Stopped
from crash_snapshot import ADD, COMMIT, FREEZE, HELPER, NAME, SWITCH, THAW, running
from crash_strike import strike
from support import process
from support.chainctl import finish

ONE = running(1)
MAX_FROZEN, SLACK = 5, 1.5  # seconds
THAW_COMMAND, STATUS_COMMAND = "guest-fsfreeze-thaw", "guest-fsfreeze-status"


@contextlib.contextmanager
def stopped_at(at, reference, machine, folder, mutant=None):
    """A machine, and the chainctl on it that stands at the moment."""
    point = reference(at.scenario)[at.place]
    with machine(**at.scenario.machine_options()) as made:
        stopped = Stopped(made.ctl, at.scenario.verb.words, point, at.when, folder, mutant)
        try:
            yield made, stopped
        finally:
            stopped.process.kill()


HELD = [moment(ONE, AFTER, HELPER), moment(ONE, AFTER, ADD), moment(ONE, BEFORE, FREEZE),
        moment(ONE, AFTER, FREEZE), moment(ONE, BEFORE, SWITCH), moment(ONE, AFTER, SWITCH),
        moment(ONE, BEFORE, THAW), moment(ONE, AFTER, THAW), moment(ONE, BEFORE, COMMIT, -1)]  # fmt: skip


@pytest.mark.parametrize("at", HELD, ids=str)
def test_watchdog_that_dies_leaves_no_frozen_guest(at, reference, machine, tmp_path):
    armed_at = ONE.points.index(FREEZE)
    with stopped_at(at, reference, machine, tmp_path) as (made, stopped):
        asked = len(made.agent.asked)
        stopped.kill_watchdogs()
        result = stopped.go_on()
        assert not made.agent.frozen
        taken = result.status == 0
        if at.place < armed_at:
            assert not taken and "guest-fsfreeze-freeze" not in made.agent.asked[asked:], "no watchdog, no freeze"
            assert "watchdog" in result.json["error"]["message"]
        elif taken and at.place < ONE.points.index(COMMIT, armed_at):
            consistency = result.json["snapshot"]["consistency"]
            assert consistency == "crash", "what nobody watched is not called quiesced"
        oracle.assert_settled(made, [NAME] * taken)
        oracle.assert_goes_on(made, [NAME] * taken)


@pytest.mark.parametrize(
    "choice, frozen",
    [("1:before", True), ("1:after", True), ("2:before", True), ("2:after", False), ("3:before", False)],
)
def test_watchdog_that_dies_at_work_is_followed_by_recover(choice, frozen, reference, machine, tmp_path):
    """Its points: it asks for the status, thaws, and asks again."""
    at = moment(ONE, AFTER, FREEZE)
    point = reference(ONE)[at.place]
    with machine(**ONE.machine_options()) as made:
        pointed = Pointed(made.ctl, tmp_path, f"{point}:after:die", watchdog=f"{choice}:die")
        assert pointed.run(*ONE.verb.words).status == -9
        process.wait_until(lambda: not process.children_with("--watchdog"), 5, "the watchdog's end")
        assert made.agent.frozen == frozen
        assert oracle.recovered(made) == ["undone"]
        assert not made.agent.frozen
        oracle.assert_settled(made, [])
        oracle.assert_goes_on(made, [])


HANGS = [moment(ONE, AFTER, FREEZE), moment(ONE, BEFORE, SWITCH), moment(ONE, AFTER, SWITCH),
         moment(ONE, BEFORE, THAW)]  # fmt: skip


def test_parent_that_hangs_while_frozen_is_overtaken_after_five_seconds(reference, machine, tmp_path):
    """All at once, since each takes its five seconds."""
    with contextlib.ExitStack() as stack:
        hung = []
        for number, at in enumerate(HANGS):
            folder = tmp_path / f"hang{number}"
            folder.mkdir()
            made, stopped = stack.enter_context(stopped_at(at, reference, machine, folder))
            assert made.agent.frozen
            hung.append((at, made, stopped, time.monotonic()))
        for at, made, stopped, since in hung:
            assert made.agent.wait_thawed(since + MAX_FROZEN + SLACK - time.monotonic()), f"{at}: frozen for too long"
        for at, made, stopped, _ in hung:
            assert_says_what_it_was_worth(at, made, stopped.go_on())


def assert_says_what_it_was_worth(at, made, result):
    """Taken, but no more than crash-consistent; or not taken at all."""
    taken = result.status == 0
    assert taken or not at.executed, result
    if taken:
        assert (result.json["snapshot"]["consistency"], bool(result.json["snapshot"]["reason"])) == ("crash", True), at
    else:
        assert result.status in (1, 4, 5), result
    assert not made.agent.frozen
    oracle.assert_settled(made, [NAME] * taken)
    oracle.assert_goes_on(made, [NAME] * taken)


def test_parent_that_hangs_while_the_agent_thaws_does_without_the_answer(machine):
    """Both read from the one connection: the watchdog, which comes meanwhile, has read what was the parent's to read."""
    with machine(**ONE.machine_options()) as made:
        started, agent = [], made.agent

        def stop(command):
            if command == THAW_COMMAND and agent.asked.count(THAW_COMMAND) == 1:
                started[0].send_signal(signal.SIGSTOP)

        agent.before_answer = stop
        started.append(made.ctl.start(*ONE.verb.words))
        os.waitid(os.P_PID, started[0].pid, os.WSTOPPED | os.WNOWAIT)
        thawed_at = len(agent.asked)
        process.wait_until(lambda: STATUS_COMMAND in agent.asked[thawed_at:], MAX_FROZEN + SLACK, "the watchdog to look")
        started[0].send_signal(signal.SIGCONT)
        result = finish(started[0])
        assert (result.status, result.json["snapshot"]["consistency"]) == (0, "crash"), result
        oracle.assert_settled(made, [NAME])
        oracle.assert_goes_on(made, [NAME])


def test_recover_waits_for_the_watchdog_that_is_at_work(reference, machine, tmp_path):
    """It is never answered with "held" (exit 6)."""
    with strike(Case(moment(ONE, AFTER, FREEZE), CHAINCTL), reference, machine, tmp_path) as struck:
        struck.assert_recovers()


def test_second_chainctl_beside_one_that_hangs_is_refused_and_harms_nothing(reference, machine, tmp_path):
    with stopped_at(moment(ONE, BEFORE, SWITCH), reference, machine, tmp_path) as (made, stopped):
        for words in (["recover", "vm"], ["snapshot", "vm", "more"]):
            error = made.ctl.fails(6, *words)
            assert str(stopped.process.pid) in error["message"]
        result = stopped.go_on()
        assert result.status == 0, result
        oracle.assert_settled(made, [NAME])


def test_terminated_while_frozen_the_guest_is_thawed_and_all_or_nothing_is_done(reference, machine, tmp_path):
    with stopped_at(moment(ONE, AFTER, FREEZE), reference, machine, tmp_path) as (made, stopped):
        stopped.process.terminate()
        result = stopped.go_on()
        taken = result.status == 0  # the signal may be taken too late for the verb to care
        assert taken or (result.status, result.json["error"]["code"]) == (1, "cancelled"), result
        assert not made.agent.frozen
        oracle.assert_settled(made, [NAME] * taken)
        oracle.assert_goes_on(made, [NAME] * taken)
