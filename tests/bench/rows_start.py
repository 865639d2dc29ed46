"""(c) What the program costs by itself: start-up, peak memory, a long list."""
import os
import sqlite3
import subprocess
import time

from figures import Row
from support import disks, process
from support.qemu import Qemu

STARTS = 5  # in a round: a start is short
LENGTHS = (10_000, 100_000)


def rows(bench):
    ctl = bench.chainctl("start")
    folder = bench.new_folder("start")
    words, _ = disks.two(folder)
    memory = []
    with Qemu(words) as vm:
        ctl("vm", "add", "vm", "--qmp", vm.qmp)
        for turn in range(bench.rounds):
            memory.append(peak(bench, ctl, folder / "time", "snapshot", "vm", f"s{turn}") / 1024)
    starts = [started(bench, ctl, "--version") for _ in range(bench.rounds * STARTS)]
    yield Row("c", "chainctl --version", starts, limits={"": 5})
    yield Row("c", "peak memory of snapshot", memory, unit="MiB", limits={"": 16})
    for length in LENGTHS:
        yield from list_rows(bench, length)


def list_rows(bench, length):
    """Of a VM with so many snapshots of one disk, each with an image of its own."""
    folder = bench.new_folder(f"list-{length}")
    words = disks.blockdev("vda", disks.images.create(folder / "vda.qcow2", "8M"))
    ctl = bench.chainctl(f"list-{length}")
    with Qemu(words) as vm:
        ctl("vm", "add", "vm", "--qmp", vm.qmp)
    fill(bench.folder / f"state-list-{length}/chainctl.db", folder, length)
    times = [started(bench, ctl, "list", "vm") for _ in range(bench.rounds + 1)][1:]
    yield Row("c", f"list of {length:,} snapshots", times, limits={"": 60} if length == 10_000 else {})
    memory = [peak(bench, ctl, folder / "time", "list", "vm") / 1024 for _ in range(bench.rounds)]
    yield Row("c", f"list of {length:,} snapshots, peak memory", memory, unit="MiB")


def fill(database, folder, length):
    """As if so many snapshots had been taken: rows by SQL, images as files, so that their sizes can be asked for."""
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA foreign_keys = ON")
        vm, = db.execute("SELECT id FROM vm").fetchone()
        disk, head = db.execute("SELECT id, active FROM disk").fetchone()
        columns = [row[1] for row in db.execute("PRAGMA table_info (image)") if row[1] not in ("id", "parent", "path")]
        copy = f"INSERT INTO image (parent, path, {', '.join(columns)}) SELECT ?, ?, {', '.join(columns)}"
        for number in range(length):
            path = folder / f"vda.s{number}.qcow2"
            path.write_bytes(b"")
            parent, head = head, db.execute(f"{copy} FROM image WHERE id = ?", (head, bytes(path), head)).lastrowid
            key = f"00000000-0000-4000-8000-{number:012x}"
            sequence = db.execute(
                "INSERT INTO snapshot (vm, id, name, created_us, protected, automatic, consistency, frozen_us)"
                " VALUES (?, ?, ?, ?, 0, 0, 'filesystem', 2000)",
                (vm, key, f"s{number}", 1_700_000_000_000_000 + number * 60_000_000)).lastrowid
            db.execute("INSERT INTO snapshot_disk (snapshot, disk, image, overlay) VALUES (?, ?, ?, ?)",
                       (sequence, disk, parent, head))
        db.execute("UPDATE disk SET active = ?", (head,))
    db.close()


def started(bench, ctl, *words):
    """Milliseconds from before the process is there until it is gone, with as little of ours in between as can be."""
    words = [str(bench.binary), *words]
    with open(os.devnull, "w") as nothing:
        actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 1)]
        began = time.monotonic()
        pid = os.posix_spawn(words[0], words, ctl.environment, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        took = (time.monotonic() - began) * 1000
    assert status == 0, f"{words}: {status}"
    return took


def peak(bench, ctl, out, *words):
    """KiB at most. Asked by GNU time: of a child of ours the kernel tells no less than what we ourselves take."""
    timer = [process.program("time"), "-f", "%M", "-o", out, bench.binary, *words]
    subprocess.run(timer, env=ctl.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return int(out.read_text().split()[-1])
