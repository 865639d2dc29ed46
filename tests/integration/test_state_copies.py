"""`state backup` and `state restore`: a copy while the database is in use, and what takes its place."""
import fcntl
import os
import shutil
import sqlite3

import pytest

from support import disks


@pytest.fixture
def ctl(chainctl, vm):
    """A chainctl with one snapshot of that QEMU."""
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one")
    return ctl


@pytest.fixture
def copy(ctl, tmp_path):
    """A backup of it as it was then."""
    ctl.ok("state", "backup", tmp_path / "copy.db")
    return tmp_path / "copy.db"


def names(ctl):
    return [one["name"] for one in ctl.ok("list", "vm")["snapshots"]]


def database(ctl):
    return ctl.state_dir / "chainctl.db"


def beside(ctl):
    return sorted(path.name for path in ctl.state_dir.iterdir() if "before-restore" in path.name)


def test_backup_is_one_sound_private_file(ctl, tmp_path):
    said = ctl.ok("state", "backup", tmp_path / "copy.db")
    assert said["state"] == {"path": str(tmp_path / "copy.db"), "vms": 1, "snapshots": 1}
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]
    assert "1 VM, 1 snapshot\n" in ctl.run("state", "backup", tmp_path / "other.db", json_output=False).out
    with sqlite3.connect(tmp_path / "copy.db") as copied:
        assert copied.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copied.execute("SELECT name FROM snapshot").fetchall() == [("one",)]


def test_backup_overwrites_nothing(ctl, tmp_path):
    (tmp_path / "there").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for place in ("there", "dangling"):
        assert ctl.fails(1, "state", "backup", tmp_path / place)["code"] == "exists"
    assert (tmp_path / "there").read_text() == "mine" and not (tmp_path / "nothing").exists()


def test_backup_of_nothing_is_an_error_and_a_dry_run_makes_nothing(chainctl, ctl, tmp_path):
    assert chainctl(tmp_path / "none").fails(3, "state", "backup", tmp_path / "copy.db")["code"] == "not-found"
    ctl.ok("state", "backup", tmp_path / "copy.db", "--dry-run")
    assert not (tmp_path / "copy.db").exists() and not (tmp_path / "none").exists()


def test_backup_while_another_process_writes_is_consistent_and_waits_for_nobody(ctl, tmp_path):
    writer = sqlite3.connect(database(ctl), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE snapshot SET name = 'half'")
    ctl.ok("state", "backup", tmp_path / "copy.db")
    writer.execute("ROLLBACK")
    writer.close()
    with sqlite3.connect(tmp_path / "copy.db") as copied:
        assert copied.execute("SELECT name FROM snapshot").fetchall() == [("one",)]


def test_restore_brings_back_what_was_and_keeps_what_is(ctl, copy):
    ctl.ok("snapshot", "vm", "two")
    said = ctl.ok("state", "restore", copy)
    kept = f"{database(ctl)}.before-restore"
    assert said["state"] == {"path": str(database(ctl)), "vms": 1, "snapshots": 1, "before": kept}
    assert names(ctl) == ["one"] and copy.exists()
    assert ctl.ok("state", "restore", kept)["state"]["before"] == f"{kept}-2"
    assert names(ctl) == ["one", "two"] and beside(ctl) == ["chainctl.db.before-restore", "chainctl.db.before-restore-2"]
    assert ctl.ok("check", "vm")["problems"] == []


def test_restore_where_there_is_no_database(ctl, copy):
    shutil.rmtree(ctl.state_dir)
    assert ctl.ok("state", "restore", copy)["state"]["before"] is None
    assert names(ctl) == ["one"] and ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "no-database"])
def test_restore_over_a_damaged_database_keeps_that_too(ctl, copy, damage):
    """Its log must not be played into the new file."""
    path = database(ctl)
    assert path.with_name("chainctl.db-wal").exists(), "else this shows less than it means to"
    if damage == "truncated":
        path.with_name("chainctl.db-wal").unlink()
    damaged = {"truncated": path.read_bytes()[:5000], "empty": b"", "no-database": b"hello" * 5000}[damage]
    path.write_bytes(damaged)
    ctl.fails(1, "list", "vm")
    said = ctl.ok("state", "restore", copy)
    assert [warning["code"] for warning in said["warnings"]] == ["database-damaged"]
    assert path.with_name("chainctl.db.before-restore").read_bytes() == damaged
    assert names(ctl) == ["one"] and ctl.ok("check", "vm")["problems"] == []


def broken(copy, how):
    """The copy, spoiled."""
    if how == "truncated":
        os.truncate(copy, 8192)
    elif how == "text":
        copy.write_text("hello")
    elif how == "empty":
        copy.write_text("")
    elif how == "pages":
        with open(copy, "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 20000)
    else:
        with sqlite3.connect(copy) as made:
            made.execute({"foreign": "PRAGMA application_id = 7", "newer": "PRAGMA user_version = 99",
                          "older": "PRAGMA user_version = 0"}[how])  # fmt: skip
        made.close()


@pytest.mark.parametrize("how, code", [
    ("truncated", "database-damaged"), ("text", "database-damaged"), ("empty", None), ("pages", "database-damaged"),
    ("foreign", "database-foreign"), ("newer", "database-newer"), ("older", "database-damaged"),
])  # fmt: skip
def test_what_is_no_sound_copy_is_refused_and_nothing_changes(ctl, copy, how, code):
    broken(copy, how)
    before = disks.files(ctl.state_dir)
    error = ctl.fails(1, "state", "restore", copy)
    assert str(copy) in error["message"] and (code is None or error["code"] == code), error
    assert {path: what for path, what in disks.files(ctl.state_dir).items() if path in before} == before
    assert names(ctl) == ["one"] and beside(ctl) == []


def test_missing_copy_and_the_database_itself_are_refused(ctl, tmp_path):
    assert ctl.fails(3, "state", "restore", tmp_path / "nowhere")["code"] == "not-found"
    ctl.fails(2, "state", "restore", database(ctl))
    assert names(ctl) == ["one"]


def test_restore_is_refused_while_an_operation_runs(ctl, copy):
    with open(ctl.state_dir / "locks/vm.lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        error = ctl.fails(6, "state", "restore", copy)
        assert error["code"] == "held" and "'vm'" in error["message"]
        assert beside(ctl) == [] and names(ctl) == ["one"]
    ctl.ok("state", "restore", copy)


def test_reader_that_is_at_work_sees_the_old_database_to_its_end_and_then_the_new(ctl, copy):
    ctl.ok("snapshot", "vm", "two")
    reader = sqlite3.connect(database(ctl), isolation_level=None)
    reader.execute("BEGIN")
    count = "SELECT count(*) FROM snapshot"
    assert reader.execute(count).fetchone() == (2,)
    ctl.ok("state", "restore", copy)
    assert reader.execute(count).fetchone() == (2,)
    reader.execute("COMMIT")
    assert reader.execute(count).fetchone() == (1,)
    reader.close()


def test_operation_that_was_under_way_in_the_copy_is_told_and_recovered(ctl, copy):
    with sqlite3.connect(copy) as made:
        made.execute("UPDATE operation SET state = 'open', ended_us = NULL")
    made.close()
    said = ctl.ok("state", "restore", copy)
    assert [warning["code"] for warning in said["warnings"]] == ["operation-unfinished"]
    assert [entry["outcome"] for entry in ctl.ok("recover", "vm")["recovered"]] == ["finished"]
    assert names(ctl) == ["one"] and ctl.ok("check", "vm")["problems"] == []


def test_dry_run_restores_nothing(ctl, copy):
    ctl.ok("snapshot", "vm", "two")
    def files():
        """But for the index of the log, in which readers leave their marks."""
        return {path: what for path, what in disks.files(ctl.state_dir).items() if not path.name.endswith("-shm")}

    before = files()
    said = ctl.ok("state", "restore", copy, "--dry-run")
    assert said["dry_run"] and said["plan"] and files() == before
    assert names(ctl) == ["one", "two"]
