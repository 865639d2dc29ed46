"""Checks of `receive` that a seeded bug turns red. Each takes a rig (test_mutants.py)."""
from crash_points import Pointed
from support import process, strace
from support.nbd import connected, qemu_io
from support.receiver import Receiver


def syncs_what_came(rig):
    with rig.machine() as made, Receiver(made.ctl, rig.folder, "vda=8M", timeout=0.5) as receiver:
        with strace.attached(receiver.process.pid, "fsync") as calls:
            qemu_io(receiver.uris["vda"], "write -P 1 0 64k")
            assert receiver.process.wait(30) == 0
        receiver.paths["vda"].unlink()
    assert any(call.touches(receiver.paths["vda"]) for call in calls)


def leaves_nothing_where_it_cannot_serve(rig):
    with rig.machine() as made:
        pointed = Pointed(made.ctl, rig.folder, "3:before:fail", mutant=rig.mutant)
        result = pointed.run("receive", "--listen", f"unix:{made.folder}/nbd", "--to", made.folder, "--disk", "vda=8M:raw")
        assert result.status == 1 and pointed.names()[-1] != "file:create"
        assert not (made.folder / "vda.raw").exists()


def waits_for_a_silent_sender(rig):
    with rig.machine() as made, Receiver(made.ctl, made.folder, "vda=8M:raw", timeout=0.5) as receiver:
        with connected(receiver.uris["vda"], "write -P 1 0 64k"):
            assert not process.wait_dead(receiver.process.pid, 3)
