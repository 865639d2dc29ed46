"""What is true once all is settled: told by QEMU, qemu-img and the files, and held against what chainctl says."""
import pathlib

from crash_machine import REGION
from support import disks, images

AT_THE_MOMENT, LATER = 13, 14  # what the guest writes there


def overlay(machine, name, snapshot):
    return machine.images / f"{name}.{snapshot}.qcow2"


def recovered(machine, ctl=None):
    """`recover`; returns the outcomes."""
    entries = (ctl or machine.ctl).ok("recover", "vm")["recovered"]
    assert all(entry["vm"] == "vm" and entry["op"] and entry["message"] for entry in entries)
    return [entry["outcome"] for entry in entries]


def snapshots(machine):
    return [entry["name"] for entry in machine.ctl.ok("list", "vm")["snapshots"]]


def operations(machine):
    return [entry["state"] for entry in machine.ctl.ok("log", "vm")["operations"]]


def assert_settled(machine, taken, extra_files=()):
    """The machine has these snapshots, on all disks, and nothing else is left of anything. `taken`: names in order."""
    chains = chains_of(machine, taken)
    assert recovered(machine) == [], "a second recover has nothing to do"
    assert snapshots(machine) == taken
    assert not {"open", "detached"} & set(operations(machine))
    made = {path.rpartition("/")[2] for chain in chains.values() for path in chain}
    notes = {f"{overlay(machine, name, one).name}.chainctl" for name in machine.names for one in taken}
    assert machine.files() == made | notes | set(extra_files)
    _assert_agreement(machine, chains)


def assert_goes_on(machine, taken, extra_files=()):
    """The next snapshot works, what was frozen stays as it is, and all that the guest ever wrote is there."""
    frozen = {path: images.sha256(path) for chain in chains_of(machine, taken).values() for path in chain[1:]}
    machine.assert_reads_back()
    machine.ctl.ok("snapshot", "vm", "next")
    machine.write(machine.names[0], LATER)
    machine.assert_reads_back()
    chains = chains_of(machine, [*taken, "next"])
    assert machine.ctl.ok("check", "vm")["problems"] == []
    for name, chain in chains.items():
        assert machine.chain(name)[: len(chain)] == chain
    _assert_images(machine, chains)
    for path, digest in frozen.items():
        assert images.sha256(path) == digest, f"{path}: frozen, and changed"


def assert_image_reads(path, patterns):
    """The image, with all below it, reads so to whom opens it now, and as nothing behind the regions given."""
    path = pathlib.Path(path)
    raw = path.parent.parent / f"{path.name}.raw"
    try:
        images.to_raw(path, raw)
        with open(raw, "rb") as file:
            for region, pattern in enumerate([*patterns, 0]):
                found = set(file.read(REGION))
                assert found == {pattern}, f"{path}: region {region} reads {found}, not {pattern}"
    finally:
        raw.unlink(missing_ok=True)


def chains_of(machine, taken):
    """{disk: its own images, the active one first} after snapshots of these names."""
    return {name: [str(overlay(machine, name, one)) for one in reversed(taken)] + [str(base)]
            for name, base in machine.bases.items()}  # fmt: skip


def restart(machine):
    """A QEMU on what `path` says."""
    machine.start({name: machine.ctl.ok("path", "vm", name)["path"] for name in machine.names})


def _assert_agreement(machine, chains):
    """Database, files and, where it runs, QEMU tell of the same chains, and so does `check`."""
    assert machine.ctl.ok("check", "vm")["problems"] == []
    _assert_database(machine, chains)
    if machine.runs:
        _assert_live(machine, chains)
    assert images.sha256(machine.templates.golden) == machine.templates.golden_sha256


def _assert_database(machine, chains):
    trees = {tree["disk"]: tree for tree in machine.ctl.ok("tree", "vm")["disks"]}
    for name, chain in chains.items():
        parents = {image["path"]: image["parent"] for image in trees[name]["images"]}
        assert trees[name]["active"] == chain[0] and trees[name]["base"] == chain[-1]
        assert [parents[path] for path in chain[:-1]] == chain[1:]
        assert set(parents) <= {*chain, str(machine.templates.golden)}


def _assert_images(machine, chains):
    for chain in chains.values():
        headers = {header["filename"]: header for header in images.chain(chain[0])}
        for path, below in zip(chain, [*chain[1:], str(machine.templates.golden)]):
            header = headers[path]
            assert (header["format"], header["backing-filename"]) == ("qcow2", below)
            assert header["backing-filename-format"] == "qcow2"
            assert images.is_clean(path), f"{path}: {images.check(path)}"


def _assert_live(machine, chains):
    shown = {disk["disk"]: disk["path"] for disk in machine.ctl.ok("vm", "show", "vm")["vm"]["disks"]}
    live = set()
    for name, chain in chains.items():
        assert machine.chain(name)[: len(chain)] == chain == [shown[name], *chain[1:]]
        live |= set(chain)
    nodes = disks.nodes(machine.vm)
    stray = [name for name in machine.nodes_of_ours() if nodes[name]["file"] not in live]
    assert not stray, f"nodes of ours that no disk uses: {stray}"
    for path in live:
        assert len([name for name, node in nodes.items() if node["file"] == path]) == 2, path
    assert machine.vm.monitor().execute("query-jobs") == []
    assert not machine.agent.frozen
