"""The proof that the suite can fail: each bug that the build can be seeded with turns at least one check red.

A row names the bug and the smallest case that catches it. The test runs the check of that case without the bug, and
wants it to pass, then with the bug seeded, and wants an assertion to fail in it.
"""
import os
import pathlib
import re

import pytest

import crash_durability as durability
import crash_oracle as oracle
from crash_cases import AFTER, ALL, BEFORE, BOTH, CHAINCTL, Case, Scenario, moment
from crash_machine import REGION
from crash_mirror import keeps_what_somebody_uses, keeps_what_was_in_step
from crash_points import Pointed, Stopped
from crash_receive import leaves_nothing_where_it_cannot_serve, syncs_what_came, waits_for_a_silent_sender
from crash_snapshot import ADD, CREATE, FREEZE, NAME, SWITCH, running
from crash_strike import strike
from crash_switch import Commit, Rollback, assert_runs_again
from support import images

ROOT = pathlib.Path(__file__).resolve().parents[2]
ONE, TWO = running(1), running(2)
ROLLBACK = Scenario(Rollback(), 2, False, ())


class Rig:
    """What a check is given: machines on which a chainctl does all that is done with the bug in it."""

    def __init__(self, machine, folder, mutant):
        self.folder, self.mutant = folder, mutant
        self._machine = machine

    def machine(self, **options):
        made = self._machine(**options)
        made.ctl.env["CHAINCTL_MUTANT"] = self.mutant
        return made

    def reference(self, scenario):
        """The points in the table's order, with the numbers that they have in a run with the bug."""
        with self.machine(**scenario.machine_options()) as made:
            pointed = Pointed(made.ctl, self.folder)
            pointed.run(*scenario.verb.words)
        left, found = pointed.effects(), []
        for name in scenario.points:
            found.append(next((point for point in left if point.name == name), None))
            left = [point for point in left if point is not found[-1]]
        return found

    def effects(self, scenario):
        """The side effects of a run of it on a machine that is ready for it."""
        with self.machine(**scenario.machine_options()) as made:
            scenario.verb.prepare(made)
            pointed = Pointed(made.ctl, self.folder)
            pointed.run(*scenario.verb.words)
            return pointed.effects()

    def strike(self, case):
        return strike(case, self.reference, self.machine, self.folder, self.mutant)


def dies(case):
    """The sweep's own check of this case."""

    def check(rig):
        with rig.strike(case) as struck:
            struck.assert_recovers()

    return check


def passes_the_points_of(scenario):
    def check(rig):
        with rig.machine(**scenario.machine_options()) as made:
            pointed = Pointed(made.ctl, rig.folder, mutant=rig.mutant)
            pointed.run(*scenario.verb.words)
            assert tuple(pointed.names()) == scenario.points

    return check


def leaves_the_guest_thawed(rig):
    with rig.machine() as made:
        made.ctl.ok(*ONE.verb.words)
        assert not made.agent.frozen


def leaves_files_of_others(rig):
    with rig.strike(Case(moment(TWO, AFTER, ADD), CHAINCTL)) as struck:
        path = oracle.overlay(struck.machine, "vda", NAME)
        path.unlink()
        path.write_bytes(os.urandom(1000))
        struck.machine.ctl.ok("recover", "vm")
        assert path.exists()


def refuses_to_reuse_an_overlay_of_another(rig):
    with rig.machine() as made:
        other = images.create(made.folder / "other.qcow2", None, backing=made.templates.golden)
        made.ctl.fails(9, *ONE.verb.words, "--reuse", f"vda={other}")


def syncs(rig):
    with rig.machine() as made:
        assert durability.trace(made, ONE.verb.words) == durability.expected(1)


def strikes_a_switch(verb, disks, name, when, occurrence=0):
    """The machine of a chainctl that died at that side effect, its watchdog alive; the sweep's own check of it."""

    def check(rig, meanwhile=None):
        scenario = Scenario(verb(), disks, False, ())
        with rig.machine(**scenario.machine_options()) as made:
            scenario.verb.prepare(made)
            effects = rig.effects(scenario)
            point = [one for one in effects if one.name == name][occurrence]
            Stopped(made.ctl, scenario.verb.words, point, when, rig.folder, rig.mutant).kill()
            assert_runs_again(made)
            if meanwhile:
                meanwhile(made)
                return
            oracle.recovered(made)
            scenario.verb.assert_settled(made)

    return check


def dies_with_its_watchdog_behind_the_switch(rig):
    """The VM is paused, and nobody is left who would let it go on."""
    with rig.machine(**ROLLBACK.machine_options()) as made:
        stopped = stopped_in_a_rollback(rig, made, "qmp:qom-set", 1, AFTER)
        stopped.kill_watchdogs()
        stopped.kill()
        oracle.recovered(made)
        goes_on(made)
        ROLLBACK.verb.assert_settled(made)


def hangs_before_the_moves_of_a_rollback(rig):
    """The watchdog comes meanwhile, and lets the guest go on on what it has. What the hung one sends then must not come."""
    with rig.machine(**ROLLBACK.machine_options()) as made:
        stopped = stopped_in_a_rollback(rig, made, "qmp:qom-set", 0, BEFORE)
        goes_on(made)
        for name in made.names:
            made.vm.qemu_io(name, f"write -P 34 {4 * REGION} {REGION}")
        result = stopped.go_on()
        for name in made.names:
            made.vm.qemu_io(name, f"read -P 34 {4 * REGION} {REGION}")
        assert result.status == 1 and "stood still" in result.json["error"]["message"], result


def hangs_in_the_commit_of_a_rollback(rig):
    with rig.machine(**ROLLBACK.machine_options()) as made:
        names = [one.name for one in rig.effects(ROLLBACK)]
        stopped = stopped_in_a_rollback(rig, made, "db:commit", names[: names.index("qmp:stop")].count("db:commit"), BEFORE)
        try:
            goes_on(made)
        finally:
            stopped.process.kill()


def goes_on(made):
    try:
        assert_runs_again(made)
    except TimeoutError as error:
        raise AssertionError("the guest stands still") from error


def stopped_in_a_rollback(rig, made, name, occurrence, when):
    ROLLBACK.verb.prepare(made)
    point = [one for one in rig.effects(ROLLBACK) if one.name == name][occurrence]
    return Stopped(made.ctl, ROLLBACK.verb.words, point, when, rig.folder, rig.mutant)


def does_not_merge_into_a_branch(rig):
    with rig.machine() as made:
        Commit().prepare(made)
        made.ctl.ok(*Rollback.words)
        made.ctl.fails(9, *Commit.words)


def merges(rig):
    with rig.machine() as made:
        Commit().prepare(made)
        made.ctl.ok(*Commit.words)
        assert oracle.snapshots(made) == []


def what_is_written_after_a_rescue_is_there(rig):
    def write_and_die(made):
        made.vm.qemu_io("vda", f"write -P 31 {2 * REGION} {REGION}")  # what the old top holds, too
        made.patterns["vda"][2] = 31
        made.power_off()
        oracle.recovered(made)
        oracle.restart(made)
        made.assert_reads_back()

    strikes_a_switch(Commit, 2, "qmp:job-complete", AFTER, -1)(rig, write_and_die)


MUTANTS = {
    "backing-not-checked": refuses_to_reuse_an_overlay_of_another,
    "file-in-use-removed": keeps_what_somebody_uses,
    "database-not-synced": syncs,
    "file-not-synced": syncs,
    "folder-not-synced": syncs,
    "followed-copy-removed": keeps_what_was_in_step,
    "hung-parent-keeps-database": hangs_in_the_commit_of_a_rollback,
    "hung-parent-not-fenced": hangs_before_the_moves_of_a_rollback,
    "merge-ignores-branches": does_not_merge_into_a_branch,
    "outcome-first-disk-only": dies(Case(moment(TWO, AFTER, SWITCH), ALL)),
    "outcome-not-from-files": dies(Case(moment(ONE, AFTER, SWITCH), ALL)),
    "record-before-switch": passes_the_points_of(ONE),
    "pivot-not-journalled": strikes_a_switch(Commit, 2, "qmp:job-complete", BEFORE, 1),
    "received-not-removed": leaves_nothing_where_it_cannot_serve,
    "received-not-synced": syncs_what_came,
    "recover-always-undoes": dies(Case(moment(ONE, AFTER, SWITCH), CHAINCTL)),
    "recover-does-not-thaw": dies(Case(moment(ONE, AFTER, FREEZE), BOTH)),
    "rescue-records-nothing": what_is_written_after_a_rescue_is_there,
    "rollback-not-journalled": dies_with_its_watchdog_behind_the_switch,
    "rollback-not-put-back": strikes_a_switch(Rollback, 2, "qmp:qom-set", BEFORE, 1),
    "sender-not-waited-for": waits_for_a_silent_sender,
    "snapshots-not-destroyed-first": merges,
    "switch-disk-by-disk": passes_the_points_of(TWO),
    "switch-not-journalled": dies(Case(moment(ONE, AFTER, SWITCH), ALL)),
    "thaw-skipped": leaves_the_guest_thawed,
    "undo-leaves-files": dies(Case(moment(ONE, AFTER, CREATE), CHAINCTL)),
    "undo-leaves-nodes": dies(Case(moment(ONE, AFTER, ADD), CHAINCTL)),
    "undo-removes-any-file": leaves_files_of_others,
    "watchdog-armed-late": dies(Case(moment(ONE, AFTER, FREEZE), CHAINCTL)),
    "watchdog-does-not-thaw": dies(Case(moment(ONE, AFTER, FREEZE), CHAINCTL)),
}
NO_BUG = "none"


def test_every_bug_that_can_be_seeded_has_its_row():
    seeded = [re.findall(r'base_point_is_mutant \("([^"]+)"\)', path.read_text())
              for folder in ("base", "qmp", "chains", "engine", "tools")
              for path in (ROOT / folder).rglob("*.c")]  # fmt: skip
    assert {name for names in seeded for name in names} == set(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_seeded_bug_turns_a_check_red(mutant, machine, tmp_path):
    MUTANTS[mutant](Rig(machine, tmp_path, NO_BUG))
    with pytest.raises(AssertionError):
        MUTANTS[mutant](Rig(machine, tmp_path, mutant))
