"""A VM whose disks stand on chains: written region by region, snapshot by snapshot; read; and whether it is sound."""
from support import disks, images

REGION = 64 * 1024


def fill(vm, disk, pattern, region=0, count=1):
    vm.qemu_io(disk, f"write -P {pattern} {region * REGION} {count * REGION}")


def reads(vm, disk, *patterns):
    """Pattern n is what region n reads."""
    vm.qemu_io(disk, *[f"read -P {pattern} {region * REGION} {REGION}" for region, pattern in enumerate(patterns)])


def chained(ctl, vm, names=("vda", "vdb"), snapshots=("one", "two", "three"), count=1):
    """Registers the VM; pattern n in region n before snapshot n, and 9 in the region behind the last one now."""
    disks.register(ctl, vm)
    for region, snapshot in enumerate((*snapshots, None)):
        for name in names:
            fill(vm, name, region + 1 if snapshot else 9, region * count, count)
        if snapshot:
            ctl.ok("snapshot", "vm", snapshot)


def assert_sound(ctl, vm):
    """Nothing is wrong, no node and no job is left over, and every image is clean."""
    assert ctl.ok("check", "vm")["problems"] == []
    assert vm.monitor().execute("query-jobs") == []
    live = {path for tree in ctl.ok("tree", "vm")["disks"] for path in vm.monitor().chain(tree["disk"])}
    assert {node["file"] for name, node in disks.nodes(vm).items() if name.startswith("cc-")} <= live
    for tree in ctl.ok("tree", "vm")["disks"]:
        assert vm.monitor().chain(tree["disk"])[0] == tree["active"]
        assert all(images.is_clean(image["path"]) for image in tree["images"] if image["format"] == "qcow2")
