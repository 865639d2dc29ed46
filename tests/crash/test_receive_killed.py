"""`receive` that dies, or fails, at each of its side effects: its server ends with it, and no file of others is touched."""
import signal

import pytest

from crash_points import Pointed
from support import images, process
from support.nbd import connected, qemu_io
from support.receiver import Receiver

BEFORE_IT_IS_SERVED = ["file:create", "file:create", "file:sync", "process:receive"]
ITS_END = ["qmp:block-export-del", "qmp:block-export-del", "file:sync", "file:sync"]
DISKS = ("vda=8M", "vdb=8M:raw")
DIES_WITHIN = 5  # seconds, the server of a receive that was killed


@pytest.fixture
def ctl(binary, chainctl):
    return chainctl(binary=binary)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    (made / "other").write_text("somebody's")
    return made


def sent(pointed, folder):
    """A run to its end, or to where it was told to end. Returns its Result."""
    with Receiver(pointed, folder, *DISKS, timeout=0.5) as receiver:
        daemon = receiver.daemon
        first, second = receiver.uris.values()
        with connected(first, "write -P 7 0 64k"):  # or it may be over before the second disk's turn
            qemu_io(second, "write -P 7 0 64k")
        result = receiver.wait()
        assert process.wait_dead(daemon, 5)
    return result


def side_effects(ctl, folder, tmp_path):
    """The side effects of a run that nothing disturbs."""
    pointed = Pointed(ctl, tmp_path)
    assert sent(pointed, folder).status == 0
    assert [effect.name for effect in pointed.effects()] == BEFORE_IT_IS_SERVED + ITS_END
    return pointed.effects()


def others(folder):
    return (folder / "other").read_text(), {path.name for path in folder.iterdir()} - {"other", "vda.qcow2", "vdb.raw"}


def test_killed_at_any_of_them_it_leaves_at_most_its_images(ctl, folder, tmp_path):
    for effect in side_effects(ctl, folder, tmp_path)[: len(BEFORE_IT_IS_SERVED)]:
        for moment in ("before", "after"):
            for path in folder.glob("vd*"):
                path.unlink()
            pointed = Pointed(ctl, tmp_path, f"{effect}:{moment}:die")
            with pytest.raises(RuntimeError, match=f"exit {-signal.SIGKILL}"), Receiver(pointed, folder, *DISKS):
                pass
            assert others(folder) == ("somebody's", set())
            assert all(process.wait_dead(pid, DIES_WITHIN) for pid in process.alive_children())


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("index", range(len(ITS_END)))
def test_killed_at_its_end_it_leaves_all_that_came(ctl, folder, tmp_path, index, moment):
    effect = side_effects(ctl, folder, tmp_path)[len(BEFORE_IT_IS_SERVED) + index]
    for path in folder.glob("vd*"):
        path.unlink()
    result = sent(Pointed(ctl, tmp_path, f"{effect}:{moment}:die"), folder)
    assert result.status == -signal.SIGKILL, result
    assert others(folder) == ("somebody's", set())
    for path in (folder / "vda.qcow2", folder / "vdb.raw"):
        assert images.reads(path, 7, 0, 65536)
    assert images.is_clean(folder / "vda.qcow2")


def test_where_it_fails_before_it_is_served_nothing_is_left(ctl, folder, tmp_path):
    effects = side_effects(ctl, folder, tmp_path)[: len(BEFORE_IT_IS_SERVED)]
    for path in folder.glob("vd*"):
        path.unlink()
    for effect in effects:
        leaves_nothing(Pointed(ctl, tmp_path, f"{effect}:before:fail"), folder)


def leaves_nothing(pointed, folder):
    words = [word for disk in DISKS for word in ("--disk", disk)]
    result = pointed.run("receive", "--listen", f"unix:{folder}/nbd", "--to", folder, *words)
    assert result.status == 1 and not result.json["ok"]
    assert {path.name for path in folder.iterdir()} <= {"other"}
