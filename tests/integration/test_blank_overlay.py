"""An overlay that we laid out is the one that QEMU would have made: held against `qemu-img create`, empty and written to."""
import json

import pytest

from support import disks, images

SECTOR, KIB, MIB, GIB, TIB = 512, 1 << 10, 1 << 20, 1 << 30, 1 << 40
SIZES = {"sector": SECTOR, "cluster": 64 * KIB, "odd": 3 * MIB + 7 * SECTOR, "large": 5 * GIB + SECTOR, "huge": 3 * TIB + 3 * SECTOR}
SMALL = {name: size for name, size in SIZES.items() if size <= 5 * GIB + SECTOR}  # 3 TiB take more of an L1 table than may be
SHAPES = [(512, False), (1 * KIB, False), (4 * KIB, False), (0, False), (2 * MIB, False), (16 * KIB, True), (0, True), (2 * MIB, True)]
PIECES = 16  # blocks of 512 bytes in which a file system remembers where a file's pieces lie
LAYOUT = ("virtual-size", "cluster-size", "format", "format-specific", "backing-filename", "backing-filename-format", "dirty-flag")


def shape(cluster_size, extended_l2):
    return f"cluster={cluster_size or 'usual'}{'-extended' * extended_l2}"


@pytest.fixture(params=SHAPES, ids=lambda one: shape(*one))
def made(request, qemu, chainctl, folder, tmp_path):
    """[(what we made, what QEMU makes)] on images of all sizes, in clusters of one size; the VM has gone."""
    cluster_size, extended_l2 = request.param
    sizes = SMALL if cluster_size in (512, 1 * KIB) else SIZES
    bases = {name: images.create(folder / f"{name}.qcow2", size) for name, size in sizes.items()}
    vm, ctl = qemu([word for name, path in bases.items() for word in disks.blockdev(name, path)]), chainctl()
    conf = f"[space]\nreserve=0\n[overlay]\nextended_l2={'on' if extended_l2 else 'off'}\n"
    (tmp_path / "conf").write_text(conf + (f"cluster_size={cluster_size}\n" if cluster_size else ""))
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one", "--config", tmp_path / "conf")
    vm.kill()
    options = ",".join([f"extended_l2={'on' if extended_l2 else 'off'}"] + [f"cluster_size={cluster_size}"] * bool(cluster_size))
    return [(folder / f"{name}.one.qcow2", images.create(folder / f"{name}.theirs.qcow2", None, backing=base, options=options))
            for name, base in bases.items()]  # fmt: skip


def layout(path):
    told = images.info(path, "qcow2")
    return {key: told.get(key) for key in LAYOUT}


def extent(path):
    """Clusters in use, and where the last one ends; where there is an error or a leak the test is over."""
    told = images.check(path)
    assert images.is_clean(path), f"{path}: {told}"
    return told.get("allocated-clusters"), told["image-end-offset"]


def test_blank_overlay_is_laid_out_as_qemus_own(made):
    for ours, theirs in made:
        assert layout(ours) == layout(theirs)
        # QEMU's has given back what a refcount table that had to grow was in before.
        assert extent(ours)[1] <= extent(theirs)[1]
        assert ours.stat().st_size <= theirs.stat().st_size
        assert ours.stat().st_blocks <= theirs.stat().st_blocks
        assert images.compare(ours, theirs)


def test_blank_overlay_grows_as_qemus_own(made):
    for ours, theirs in made:
        size = images.info(ours)["virtual-size"]
        places = sorted({0, size // 2 // SECTOR * SECTOR, size - SECTOR})
        for path in (ours, theirs):
            for number, place in enumerate(places):
                images.write(path, f"write -P {number + 1} {place} {SECTOR}")
        used, end = extent(ours)
        assert used == extent(theirs)[0] and end <= extent(theirs)[1]
        assert ours.stat().st_blocks <= theirs.stat().st_blocks + PIECES
        assert images.compare(ours, theirs)
        for number, place in enumerate(places):
            assert images.reads(ours, number + 1, place, SECTOR)


def test_blank_overlay_can_be_resized_rebased_and_given_a_bitmap_as_qemus_own(made, folder):
    elsewhere = images.create(folder / "elsewhere.raw", "1M", "raw")
    for ours, theirs in made:
        for path in (ours, theirs):
            size = images.info(path)["virtual-size"]
            images.qemu_img("resize", "-q", "-f", "qcow2", path, size + 8 * MIB)
            images.qemu_img("bitmap", "-f", "qcow2", "--add", path, "point")
            images.qemu_img("rebase", "-u", "-f", "qcow2", "-b", elsewhere, "-F", "raw", path)
        assert layout(ours) == layout(theirs)
        assert extent(ours)[1] <= extent(theirs)[1]


def qemu_can_name(path, length, cluster_size):
    """Whether QEMU makes an overlay on an image whose name is so long."""
    words = ["-u", "-f", "qcow2", "-F", "qcow2", "-b", "/" + "b" * (length - 1), "-o", f"cluster_size={cluster_size}"]
    path.unlink(missing_ok=True)
    images.qemu_img("create", "-q", *words, path, "1M", statuses=(0, 1))
    return path.exists()


@pytest.mark.parametrize("cluster_size", [512, 1 * KIB, 64 * KIB])
def test_names_of_backing_images_are_as_long_as_qemu_lets_them_be(qemu, chainctl, tmp_path, cluster_size):
    """As many bytes as QEMU writes, and not one more."""
    (tmp_path / "conf").write_text(f"[space]\nreserve=0\n[overlay]\ncluster_size={cluster_size}\nextended_l2=off\n")
    longest = max(length for length in (*range(300, 400), *range(870, 900), *range(1000, 1030))
                  if qemu_can_name(tmp_path / "theirs.qcow2", length, cluster_size))  # fmt: skip
    for length, status in ((longest, 0), (longest + 1, 9)):
        folder = tmp_path
        while length - len(str(folder)) - len("/disk.qcow2") > 200:
            folder = folder / ("d" * 100)
        folder = folder / ("d" * (length - len(str(folder)) - len("//disk.qcow2")))
        folder.mkdir(parents=True)
        base = images.create(folder / "disk.qcow2", "1M")
        assert len(str(base)) == length
        vm, ctl = qemu(disks.blockdev("vda", base)), chainctl(tmp_path / str(length))
        disks.register(ctl, vm, "--quiesce", "off")
        result = ctl.run("snapshot", "vm", "one", "--config", tmp_path / "conf", "--dir", tmp_path)
        assert result.status == status, json.dumps(result.json)
        if status == 0:
            assert images.info(tmp_path / "disk.one.qcow2", "qcow2")["backing-filename"] == str(base)
            assert images.is_clean(tmp_path / "disk.one.qcow2")
        vm.kill()
