"""core/loading/priority.py: who goes first, and who gets the processor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.loading.priority import Rank, is_urgent, niceness, rank_of, rank_of_device, rank_of_module

VIRTIO_PCI = "kernel/drivers/virtio/virtio_pci.ko"


@pytest.mark.parametrize(
    ("modalias", "rank"),
    [
        ("pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", Rank.STORAGE),
        ("pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00", Rank.NETWORK),
        ("pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30", Rank.BUS),
        ("pci:v00008086d00002930sv00001AF4sd00001100bc0Csc05i00", Rank.BUS),  # SMBus
        ("virtio:d00000009v00001AF4", Rank.STORAGE),  # 9p
        ("pci:v00008086d00002415sv00001AF4sd00000000bc04sc01i00", Rank.OTHER),
        ("virtio:d00000002v00001AF4", Rank.STORAGE),
        ("virtio:d00000001v00001AF4", Rank.NETWORK),
        ("virtio:d00000004v00001AF4", Rank.OTHER),
        ("usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", Rank.STORAGE),
        ("usb:v0525pA4A2d0000dc02dsc00dp00ic02isc06ip00in00", Rank.NETWORK),
        ("scsi:t-0x00", Rank.STORAGE),
        ("cpu:type:x86,ven0000fam0006mod003A:feature:,0000", Rank.LATE),
        ("input:b0011v0002p0006e0000", Rank.OTHER),
        ("pci:nonsense", Rank.OTHER),
        ("", Rank.OTHER),
    ],
)
def test_the_devices_class_tells(modalias: str, rank: Rank) -> None:
    """A modalias alone says whether a disk, a network or a bus is behind it."""
    assert rank_of_device(modalias) is rank
    assert is_urgent(modalias) == (rank in {Rank.STORAGE, Rank.NETWORK})


@pytest.mark.parametrize(
    ("path", "rank"),
    [
        ("kernel/drivers/block/virtio_blk.ko", Rank.STORAGE),
        ("kernel/drivers/net/ethernet/intel/e1000/e1000.ko.xz", Rank.NETWORK),
        ("kernel/drivers/usb/storage/uas.ko", Rank.STORAGE),
        ("kernel/drivers/usb/host/xhci-pci.ko", Rank.BUS),
        ("kernel/sound/pci/snd-ens1370.ko", Rank.LATE),
        ("kernel/drivers/i2c/busses/i2c-i801.ko", Rank.OTHER),
        ("", Rank.OTHER),
    ],
)
def test_the_modules_place_tells_where_the_device_does_not(path: str, rank: Rank) -> None:
    """For a device of no known class the module's place in the kernel's tree decides."""
    assert rank_of_module(path) is rank
    assert rank_of("platform:x", path) is rank


def test_a_shared_driver_is_as_urgent_as_who_asks() -> None:
    """virtio_pci goes first for a disk, and not for a balloon."""
    disk = "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00"
    balloon = "pci:v00001AF4d00001002sv00001AF4sd00000005bc00scFFi00"
    assert rank_of(disk, VIRTIO_PCI) is Rank.STORAGE
    assert rank_of(balloon, VIRTIO_PCI) is Rank.OTHER


jobs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=12)


@given(jobs, st.integers(1, 4))
def test_some_go_ahead_and_none_is_left_out(running: list[tuple[int, int]], cpus: int) -> None:
    """Of disks and of networks the smallest, as many as there are CPUs, run as they are; all others yield to them."""
    numbered = [(rank, cost, number) for number, (rank, cost) in enumerate(running)]
    nice = niceness(numbered, cpus)
    assert sorted(nice) == list(range(len(running)))
    for rank in (Rank.STORAGE, Rank.NETWORK):
        of_rank = sorted(job for job in numbered if job[0] == rank.value)
        ahead = [job for job in of_rank if nice[job[2]] == 0]
        assert ahead == of_rank[:cpus]
    assert all(nice[n] > 0 for rank, _, n in numbered if rank > Rank.NETWORK.value)
    late = [nice[n] for rank, _, n in numbered if rank == Rank.LATE.value]
    assert all(value == 19 for value in late)
