"""Promise 2: whoever dies, and wherever: as if the snapshot had been taken, or as if it had not.

Every side effect of `snapshot` x before and after it x who is killed there, on machines of one disk and of two, that
run, are paused or shut off; on the way back from a switch that QEMU refused, too; and every side effect that fails.
"""
import pytest

import crash_oracle as oracle
from crash_cases import BEFORE, moments, sweep
from crash_points import Pointed
from crash_snapshot import COMMIT, FREEZE, NOTE, OFFLINE, REFUSED, SCENARIOS, SEALED, SWITCH, THAW, running
from crash_strike import failing, strike

DEATHS = [case for scenario in SCENARIOS for case in sweep(scenario)]
DEATHS_OFFLINE = [case for scenario in OFFLINE for case in sweep(scenario)]
DEATHS_WHILE_SEALING = sweep(SEALED, start=SEALED.points.index(SWITCH))
DEATHS_WHILE_UNDOING = sweep(REFUSED, start=REFUSED.points.index(SWITCH) + 1)


@pytest.mark.parametrize("scenario", [*SCENARIOS, REFUSED, SEALED, *OFFLINE], ids=str)
def test_the_side_effects_are_those_that_are_swept(scenario, reference):
    assert [point.name for point in reference(scenario)] == list(scenario.points)


@pytest.mark.parametrize("case", DEATHS, ids=str)
def test_death_is_recovered_from(case, reference, machine, tmp_path):
    with strike(case, reference, machine, tmp_path) as struck:
        struck.assert_recovers()


@pytest.mark.parametrize("case", DEATHS_OFFLINE, ids=str)
def test_death_while_the_vm_is_shut_off_is_recovered_from(case, reference, machine, tmp_path):
    with strike(case, reference, machine, tmp_path) as struck:
        struck.assert_recovers()


@pytest.mark.parametrize("case", DEATHS_WHILE_SEALING, ids=str)
def test_death_while_images_are_sealed_is_recovered_from(case, reference, machine, tmp_path):
    with strike(case, reference, machine, tmp_path) as struck:
        struck.assert_recovers()


@pytest.mark.parametrize("case", DEATHS_WHILE_UNDOING, ids=str)
def test_death_while_a_refused_switch_is_undone_is_recovered_from(case, reference, machine, tmp_path):
    with strike(case, reference, machine, tmp_path) as struck:
        struck.assert_recovers()


@pytest.mark.parametrize("at", [at for scenario in [*SCENARIOS, OFFLINE[-1]] for at in moments(scenario, [BEFORE])],
                         ids=lambda at: f"{at.scenario}-{at}")  # fmt: skip
def test_failure_is_undone_or_got_over(at, reference, machine, tmp_path):
    is_record = at.place == len(at.scenario.points) - 1
    status = 8 if is_record else 0 if at.name in (FREEZE, THAW, NOTE) else 1
    with failing(at, reference, machine, tmp_path) as (made, result):
        assert result.status == status, result
        if status == 0:
            consistency = result.json["snapshot"]["consistency"]
            crash = at.name == FREEZE or at.scenario.paused
            assert consistency == ("offline" if at.scenario.shut_off else "crash" if crash else "filesystem")
            said = [warning["code"] for warning in result.json["warnings"]]
            assert said.count("note-not-written") == (at.name == NOTE), said
        else:
            assert "was made to fail" in result.json["error"]["message"]
        assert not made.agent.frozen
        # Nobody wrote to what was switched while it was shut off, so that either answer is right.
        happened = status == 0 or (is_record and not at.scenario.shut_off)
        outcome = "finished" if happened else "undone"
        assert oracle.recovered(made) == ([outcome] if is_record else [])
        at.scenario.verb.assert_settled(made, happened)
        if not made.runs:
            oracle.restart(made)
        at.scenario.verb.assert_goes_on(made, happened)


def test_failed_freeze_that_was_required_is_undone(reference, machine, tmp_path):
    scenario = running(2)
    [point] = [point for point in reference(scenario) if point.name == FREEZE]
    with machine(**scenario.machine_options()) as made:
        pointed = Pointed(made.ctl, tmp_path, f"{point}:before:fail")
        pointed.fails(5, *scenario.verb.words, "--quiesce", "require")
        assert pointed.names()[-1] == COMMIT
        scenario.verb.assert_settled(made, False)
        scenario.verb.assert_goes_on(made, False)
