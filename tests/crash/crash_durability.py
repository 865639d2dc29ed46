"""What reaches the disk, and when: the calls of one run of a verb that sync, name a file, or make QEMU switch."""
import os
import pathlib

from support import strace

CALLS = "fsync,fdatasync,linkat,sendto"


def trace(machine, words):
    """The run as words, in order: "sync wal", "name vda.crash.qcow2", "sync images", "send transaction"."""
    argv = ["env", *(f"{name}={value}" for name, value in machine.ctl.env.items() if name not in os.environ),
            machine.ctl.binary, "--state", machine.ctl.state_dir, *words]  # fmt: skip
    status, calls = strace.run(argv, CALLS)
    assert status == 0
    inodes = {path.stat().st_ino: path.name for path in machine.images.iterdir()}
    told = [_told(machine, call, inodes) for call in calls]
    return [word for word in told if word]


def _told(machine, call, inodes):
    if call.name == "sendto":
        return "send transaction" if 'execute\\":\\"transaction' in call.arguments else None
    if call.name == "linkat":
        return "name " + pathlib.Path(call.arguments.split('"')[3]).name
    path = pathlib.Path(call.arguments.partition("<")[2].rpartition(">")[0].removesuffix(" (deleted)"))
    known = {machine.ctl.state_dir / "chainctl.db-wal": "wal", machine.ctl.state_dir / "chainctl.db": "database"}
    unnamed = inodes.get(int(path.name[1:])) if path.name[0] == "#" else path.name
    return "sync " + known.get(path, unnamed)


def expected(disks):
    """One snapshot: the intent is on disk before a file has its name, the overlays and their names before QEMU is told,
    and the record after it. That the switch is about to be sent is journalled too, and need not be on the disk: a
    machine that loses its power loses its QEMU, and then the files tell. (SQLite syncs the folder of a log that a
    process syncs for the first time.)"""
    overlays = [f"vd{letter}.crash.qcow2" for letter in "abc"[:disks]]
    return [
        "sync wal", "sync state",
        *(f"name {overlay}" for overlay in overlays),
        *(f"sync {overlay}" for overlay in overlays), "sync images",
        "send transaction", "sync wal",
    ]  # fmt: skip
