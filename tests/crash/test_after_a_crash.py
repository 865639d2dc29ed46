"""After a crash: any verb recovers first, other people's files survive, and what cannot be decided is refused."""
import contextlib
import os
import shutil
import sqlite3

import pytest

import crash_oracle as oracle
from crash_cases import AFTER, ALL, BEFORE, BOTH, CHAINCTL, Case, moment
from crash_snapshot import ADD, COMMIT, CREATE, FREEZE, NAME, SWITCH, running
from crash_strike import strike
from support import images

TWO = running(2)
TAKEN = Case(moment(TWO, AFTER, SWITCH), BOTH)
NOT_TAKEN = Case(moment(TWO, BEFORE, SWITCH), BOTH)


@pytest.fixture
def struck(request, reference, machine, tmp_path):
    with strike(request.param, reference, machine, tmp_path) as made:
        made.assert_guest_is_brought_back()
        yield made


def at(case):
    return pytest.mark.parametrize("struck", [case], ids=[str(case)], indirect=True)


def each(*cases):
    return pytest.mark.parametrize("struck", cases, ids=str, indirect=True)


@each(TAKEN, NOT_TAKEN)
@pytest.mark.parametrize("words", ["list vm", "tree vm", "path vm vda", "vm show vm", "snapshot vm more", "check vm",
                                   "guest vm status"])  # fmt: skip
def test_every_verb_recovers_first_and_says_so(struck, words):
    said = struck.machine.ctl.ok(*words.split())
    assert "recovered" in [warning["code"] for warning in said["warnings"]]
    taken = [NAME] * struck.case.happens + ["more"] * words.startswith("snapshot")
    if "snapshots" in said:
        assert [entry["name"] for entry in said["snapshots"]] == taken
    if "guest" in said:
        assert said["guest"]["status"] == "thawed", "recovery comes before the look"
    oracle.assert_settled(struck.machine, taken)
    oracle.assert_goes_on(struck.machine, taken)


FOREIGN = {
    "empty": lambda path, base: path.touch(),
    "random": lambda path, base: path.write_bytes(os.urandom(100_000)),
    "alike": lambda path, base: images.create(path, None, backing=base),
}
BEFORE_THE_FILE = Case(moment(TWO, BEFORE, CREATE), CHAINCTL)
AFTER_THE_FILE = Case(moment(TWO, AFTER, CREATE, 1), CHAINCTL)
PREPARED = Case(moment(TWO, AFTER, ADD), CHAINCTL)
PREPARED_ALL = Case(moment(TWO, AFTER, ADD), ALL)


@pytest.mark.parametrize("kind", FOREIGN)
@each(BEFORE_THE_FILE, AFTER_THE_FILE, PREPARED, PREPARED_ALL, NOT_TAKEN)
def test_file_of_somebody_else_at_the_path_survives(struck, kind):
    """It may have been put in the place of ours."""
    machine = struck.machine
    path, base = oracle.overlay(machine, "vda", NAME), machine.bases["vda"]
    path.unlink(missing_ok=True)
    FOREIGN[kind](path, base)
    digest = images.sha256(path)
    assert oracle.recovered(machine) == ["undone"]
    assert images.sha256(path) == digest
    oracle.assert_settled(machine, [], extra_files=[path.name])
    if not machine.runs:
        oracle.restart(machine)
    oracle.assert_goes_on(machine, [], extra_files=[path.name])


@each(PREPARED, PREPARED_ALL)
def test_hard_link_that_somebody_made_of_our_file_is_left(struck):
    machine = struck.machine
    made, theirs = oracle.overlay(machine, "vda", NAME), machine.images / "theirs.qcow2"
    os.link(made, theirs)
    digest = images.sha256(theirs)
    assert oracle.recovered(machine) == ["undone"]
    assert not made.exists() and images.sha256(theirs) == digest


OPEN_IN_FILES = Case(moment(TWO, AFTER, SWITCH), ALL)


@at(OPEN_IN_FILES)
def test_overlay_with_data_that_somebody_replaced_is_refused_not_guessed(struck):
    """What the guest wrote is gone: neither is it as if the snapshot had been taken, nor as if it had not."""
    machine = struck.machine
    path = oracle.overlay(machine, "vdb", NAME)
    kept = shutil.move(path, machine.folder / "kept.qcow2")
    path.write_bytes(os.urandom(100_000))
    files = {one: images.sha256(machine.images / one) for one in machine.files()}
    error = machine.ctl.fails(9, "recover", "vm")
    assert str(path) in error["message"]
    assert files == {one: images.sha256(machine.images / one) for one in machine.files()}
    assert oracle.operations(machine) == ["open"]
    shutil.move(kept, path)
    assert oracle.recovered(machine) == ["finished"]
    struck.assert_whole()


@at(OPEN_IN_FILES)
def test_qemu_that_was_started_again_on_the_old_images_is_refused(struck):
    machine = struck.machine
    machine.start(machine.bases)
    for words in (["recover", "vm"], ["snapshot", "vm", "more"]):
        error = machine.ctl.fails(9, *words)
        assert "vdb" in error["message"]
    assert oracle.operations(machine) == ["open"]
    machine.power_off()
    assert oracle.recovered(machine) == ["finished"]
    struck.assert_whole()


@at(OPEN_IN_FILES)
def test_qemu_that_was_started_again_on_the_overlays_is_finished(struck):
    machine = struck.machine
    machine.start({name: oracle.overlay(machine, name, NAME) for name in machine.names})
    assert oracle.recovered(machine) == ["finished"]
    struck.assert_whole()


@at(OPEN_IN_FILES)
def test_after_a_power_cut_the_files_tell_what_the_journal_has_lost(struck):
    """That the switch was about to be sent is journalled and not synced; and the kernel is another one then."""
    machine = struck.machine
    with contextlib.closing(sqlite3.connect(machine.ctl.state_dir / "chainctl.db")) as db, db:
        assert db.execute("DELETE FROM step").rowcount == 1
        db.execute("UPDATE operation SET boot = 'another'")
    assert oracle.recovered(machine) == ["finished"]
    struck.assert_whole()


FROZEN = Case(moment(TWO, AFTER, FREEZE), BOTH)


@at(FROZEN)
def test_guest_that_is_frozen_and_paused_is_thawed_by_the_next_command_after_it_runs(struck):
    """Nobody can thaw it while it is paused; nobody may forget it."""
    machine, monitor = struck.machine, struck.machine.vm.monitor()
    monitor.execute("stop")
    machine.agent.silent = True
    result = machine.ctl.run("--timeout", "0.5", "recover", "vm")
    assert result.status == 4 and "frozen" in result.json["error"]["message"], result
    assert machine.agent.frozen
    assert machine.ctl.ok("--timeout", "0.5", "log", "vm")["operations"][-1]["state"] == "open"
    machine.agent.silent = False
    monitor.execute("cont")
    machine.ctl.ok("list", "vm")
    assert not machine.agent.frozen
    struck.assert_whole()


@at(Case(moment(TWO, BEFORE, COMMIT, -1), CHAINCTL))
def test_recover_of_all_machines_says_which(struck):
    said = struck.machine.ctl.ok("recover")
    assert [(entry["vm"], entry["verb"], entry["outcome"]) for entry in said["recovered"]] == [
        ("vm", "snapshot", "finished")
    ]
    struck.assert_whole()
