"""Whoever dies while the database is copied or put back: there is the old one or the new one, whole, and no half copy."""
import signal

import pytest

from crash_points import Pointed
from support.chainctl import finish


def killed(ctl, folder, *words, moments=("before", "after")):
    """Runs to each of its side effects and dies there. Yields the name of the point and the moment."""
    for number in range(1, 50):
        for moment in moments:
            pointed = Pointed(ctl, folder, f"{number}:{moment}:die")
            result = finish(pointed.start(*words))
            if result.status != -signal.SIGKILL:
                assert number > 1, result
                return
            yield pointed.names()[-1], moment


def names(ctl):
    return [one["name"] for one in ctl.ok("list", "vm")["snapshots"]]


def test_death_leaves_the_old_or_the_restored_database(machine, tmp_path):
    with machine() as made:
        made.ctl.ok("snapshot", "vm", "one")
        made.ctl.ok("state", "backup", tmp_path / "copy.db")
        made.ctl.ok("snapshot", "vm", "two")
        seen = {}
        for name, moment in killed(made.ctl, tmp_path, "state", "restore", tmp_path / "copy.db"):
            seen[name, moment] = names(made.ctl)
            assert made.ctl.run("check", "vm").status in (0, 7)
            if seen[name, moment] == ["one"]:
                break
        assert seen == {("db:restore", "before"): ["one", "two"], ("db:restore", "after"): ["one"]}
        kept = made.ctl.state_dir / "chainctl.db.before-restore"
        made.ctl.ok("state", "restore", kept)
        assert names(made.ctl) == ["one", "two"] and made.ctl.ok("check", "vm")["problems"] == []


def test_death_over_a_damaged_database_leaves_that_or_the_restored_one(machine, tmp_path):
    with machine() as made:
        made.ctl.ok("snapshot", "vm", "one")
        made.ctl.ok("state", "backup", tmp_path / "copy.db")
        (made.ctl.state_dir / "chainctl.db").write_bytes(b"damaged" * 1000)
        for name, moment in killed(made.ctl, tmp_path, "state", "restore", tmp_path / "copy.db"):
            assert name == "db:replace"
            if moment == "before":
                assert made.ctl.fails(1, "list", "vm")["code"] == "database-damaged"
                continue
            break
        assert names(made.ctl) == ["one"] and made.ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_leaves_a_whole_backup_or_none(machine, tmp_path, moment):
    with machine() as made:
        made.ctl.ok("snapshot", "vm", "one")
        name, _ = next(killed(made.ctl, tmp_path, "state", "backup", tmp_path / "copy.db", moments=[moment]))
        assert name == "db:backup" and (tmp_path / "copy.db").exists() == (moment == "after")
        made.ctl.ok("state", "backup", tmp_path / "next.db")
