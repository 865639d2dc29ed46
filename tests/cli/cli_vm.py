"""A VM for tests of the command line: its QEMU, its disks, and what of them must not change."""
import hashlib
import os
import pathlib
import sqlite3
from dataclasses import dataclass

from support.chainctl import Chainctl
from support.qemu import Qemu


def disk_words(paths):
    """QEMU's words for virtio disks; paths is {qdev id: image}, the format is the file's suffix."""
    words = []
    for name, path in paths.items():
        path = pathlib.Path(path)
        driver, escaped = path.suffix[1:], str(path).replace(",", ",,")
        words += ["-blockdev", f"driver=file,node-name={name}-file,filename={escaped}"]
        words += ["-blockdev", f"driver={driver},node-name={name}-format,file={name}-file"]
        words += ["-device", f"virtio-blk-pci,drive={name}-format,id={name}"]
    return words


@dataclass
class RegisteredVm:
    name: str
    qemu: Qemu
    chainctl: Chainctl
    paths: dict

    @property
    def folder(self):
        return next(iter(self.paths.values())).parent

    def files_of(self, snapshots):
        """The names of all files in the folder that has the disks' images and those snapshots' overlays, each with its note."""
        overlays = {f"{disk}.{name}.qcow2" for disk in self.paths for name in snapshots}
        return {path.name for path in self.paths.values()} | overlays | {f"{overlay}.chainctl" for overlay in overlays}

    def graph(self):
        """What QEMU says of its nodes and jobs, without what a mere flush would change."""
        monitor = self.qemu.monitor()
        nodes = {node["node-name"]: node for node in monitor.execute("query-named-block-nodes", flat=True)}
        return nodes, monitor.execute("query-jobs"), monitor.execute("query-block-jobs")

    def untouched(self):
        """What a verb that fails leaves as it was: the database, the images and the graph. A lock may name who held it."""
        state = {path: what for path, what in contents(self.chainctl.state_dir).items() if not path.endswith(".lock")}
        return state, contents(self.folder), self.graph()


def point_at(vm, socket):
    """The VM's registration names another monitor."""
    with sqlite3.connect(vm.chainctl.state_dir / "chainctl.db") as database:
        database.execute("UPDATE vm SET qmp = ?", (os.fsencode(socket),))
    database.close()


def file_names(folder):
    return {path.name for path in pathlib.Path(folder).iterdir()}


def contents(folder):
    """{path: digest} of every file below a folder, and the folders; but what SQLite's readers make: -shm, an empty -wal."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        made_by_a_reader = path.name.endswith("-shm") or (path.name.endswith("-wal") and not path.stat().st_size)
        if not made_by_a_reader:
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            found[str(path)] = (digest, path.stat().st_mode)
    return found
