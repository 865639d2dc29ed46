"""The bench tells the truth: what its instrument reads, what its table says, and that its rivals do what they should."""
import contextlib
import os
import pathlib
import select
import sys
import time

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"
sys.path.append(str(BENCH))

import bare  # noqa: E402
import bench  # noqa: E402
from figures import Row, number, table  # noqa: E402
from support import disks, images  # noqa: E402
from support.agent import Agent  # noqa: E402
from support.freezer import Freezer  # noqa: E402
from support.qmp import connect_unix  # noqa: E402
from tap import Tap, pivots  # noqa: E402

SIZE = 8 << 20


@pytest.fixture
def short(tmp_path_factory):
    """A folder whose name leaves room for a socket's."""
    return tmp_path_factory.mktemp("b")


def test_tap_reads_the_time_from_the_freezes_answer_to_the_thaw(short):
    with Freezer(short / "agent") as freezer, Tap(short / "tap", freezer.path) as tap:
        for held in (0.02, 0.2):
            with Agent(short / "tap") as agent:
                agent.execute("guest-fsfreeze-freeze")
                assert agent.execute("guest-fsfreeze-status") == "frozen"
                time.sleep(held)
                agent.execute("guest-fsfreeze-thaw")
            switch = tap.switch()
            assert held * 1000 <= switch <= freezer.frozen_s[-1] * 1000


def test_tap_does_not_count_what_the_agent_did_before_the_answer(short):
    def slow(agent):
        time.sleep(0.3)
        return agent.freeze()

    with Freezer(short / "agent", freeze=slow) as freezer, Tap(short / "tap", freezer.path) as tap:
        with Agent(short / "tap") as agent:
            agent.execute("guest-fsfreeze-freeze")
            agent.execute("guest-fsfreeze-thaw")
        assert tap.switch() <= freezer.frozen_s[-1] * 1000


def test_tap_outlives_a_client_that_leaves_with_a_reset(short):
    with Freezer(short / "agent") as freezer, Tap(short / "tap", freezer.path) as tap:
        rude = connect_unix(short / "tap", 20)
        rude.sendall(b'{"execute": "guest-ping"}\n')
        assert select.select([rude], [], [], 20)[0]
        rude.close()  # with the answer unread
        with Agent(short / "tap") as agent:
            agent.execute("guest-fsfreeze-freeze")
            agent.execute("guest-fsfreeze-thaw")
        assert tap.switch() <= freezer.frozen_s[-1] * 1000


def test_bare_client_takes_snapshots_on_snapshots(qemu, tmp_path):
    words, paths = disks.two(tmp_path)
    vm = qemu(words)
    heads = [bare.Disk(f"{name}-format", path, SIZE) for name, path in paths.items()]
    for label in ("one", "two"):
        bare.snapshot(vm.qmp, heads, label)
    for position, (name, base) in enumerate(paths.items()):
        overlays = [str(tmp_path / f"{label}-{position}.qcow2") for label in ("two", "one")]
        assert vm.monitor().chain(name) == [*overlays, str(base)]
        assert [entry["filename"] for entry in images.chain(overlays[0])] == [*overlays, str(base)]


def test_bare_client_of_many_takes_one_each(qemu, tmp_path):
    vms, heads = [], {}
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        path = images.create(tmp_path / name / "vda.qcow2", SIZE)
        vms.append(qemu(disks.blockdev("vda", path)))
        heads[vms[-1].qmp] = bare.Disk("vda-format", path, SIZE)
    for label in ("one", "two"):
        bare.snapshot_of_many(heads, label)
    for name, vm in zip(("a", "b", "c"), vms):
        assert vm.monitor().chain("vda") == [str(tmp_path / name / f"{x}.qcow2") for x in ("two", "one", "vda")]


def test_tap_reads_the_time_from_the_last_job_that_is_ready_to_the_pivot(qemu, tmp_path, short):
    words, paths = disks.two(tmp_path)
    vm = qemu(words)
    heads = [bare.Disk(f"{name}-format", path, SIZE) for name, path in paths.items()]
    bare.snapshot(vm.qmp, heads, "one")
    with Tap(short / "tap", vm.qmp, pivots) as tap:
        for head in heads:
            bare.commit(short / "tap", head)
            assert 0 < tap.switch() < 5000
    assert [vm.monitor().chain(name) for name in paths] == [[str(path)] for path in paths.values()]


def test_bare_client_streams_all_into_the_head(qemu, tmp_path):
    path = images.create(tmp_path / "vda.qcow2", SIZE)
    vm = qemu(disks.blockdev("vda", path))
    vm.qemu_io("vda", "write -P 7 0 1M")
    heads = [bare.Disk("vda-format", path, SIZE)]
    bare.snapshot(vm.qmp, heads, "one")
    bare.stream(vm.qmp, heads[0])
    assert vm.monitor().chain("vda") == [str(heads[0].path)]
    vm.qemu_io("vda", "read -P 7 0 1M")


def test_bare_client_rolls_back_again_and_again(qemu, tmp_path):
    words, paths = disks.two(tmp_path)
    vm = qemu(words, paused=False)
    bases = [bare.Disk(f"{name}-format", path, SIZE) for name, path in paths.items()]
    heads = list(bases)
    for name in paths:
        vm.qemu_io(name, "write -P 7 0 64k")
    bare.snapshot(vm.qmp, heads, "one")
    for label in ("two", "three"):
        for name in paths:
            vm.qemu_io(name, "write -P 8 0 64k")
        heads = bare.rollback(vm.qmp, list(paths), bases, heads, label)
        for head, (name, base) in zip(heads, paths.items()):
            vm.qemu_io(name, "read -P 7 0 64k")
            assert vm.monitor().chain(name) == [str(head.path), str(base)]
    assert vm.monitor().execute("query-status")["status"] == "running"


@pytest.mark.parametrize("median, met", [(9.7, "met"), (9.6, "**missed**")])
def test_table_says_what_had_to_be_reached_at_least(median, met):
    rival = Row("x", "rival", [10], unit="MiB/s")
    *_, last = table([Row("x", "ours", [median], unit="MiB/s", ratios={"bare": rival}, floors={"bare": 0.97})]).splitlines()
    assert [cell.strip() for cell in last.strip("|").split("|")][-2:] == ["≥ 0.97 x bare", met]


def row(median, limits, against=10):
    rival = Row("x", "rival", [against])
    return Row("x", "ours", [median - 1, median, median + 1], ratios={"bare": rival}, limits=limits)


@pytest.mark.parametrize("median, limits, met", [
    (13, {"bare": 1.3}, "met"),
    (14, {"bare": 1.3}, "**missed**"),
    (14, {"bare": 1.5, "": 13}, "**missed**"),
    (99, {}, ""),
])  # fmt: skip
def test_table_says_what_was_reached(median, limits, met):
    *_, last = table([row(median, limits)]).splitlines()
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells[:5] == ["x", "ours", f"{number(median)} ms", f"{number(median - 1)} – {number(median + 1)}",
                         f"{median / 10:.2f} x bare"]
    assert cells[6] == met


def test_page_is_written_whole_or_not_at_all(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("as it was")
    with contextlib.suppress(AttributeError):
        bench.write(page, [None], ["a fact"])
    assert page.read_text() == "as it was"
    bench.write(page, [row(13, {"bare": 1.3})], ["a fact", "another"])
    text = page.read_text()
    assert "- a fact\n- another\n" in text and "| met" in text and "@" not in text
    assert os.listdir(tmp_path) == ["performance.md"]
