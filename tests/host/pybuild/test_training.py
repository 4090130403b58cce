"""What an interpreter is trained in: a process that does the same each time, whatever is around it."""

import os
import shutil
from pathlib import Path

import pytest

from hostbuild.pybuild import training, workload
from hostbuild.pybuild.training import Profile, digest_of, texts, wrapped
from hostbuild.run import find_program, run

# A program in the interpreter's place that counts bits of all that may differ from one process to the next
COUNTS = r"""
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int ones, zeros;
static void bits(uint64_t value)
{
    for (; value; value >>= 8) { zeros++; for (unsigned number = value & 255; number; number--) ones++; }
}
static void text(const char *word) { while (*word) bits((unsigned char)*word++); }

int Py_BytesMain(int argc, char **argv)
{
    char here[4096];
    struct timespec now;
    struct stat seen;
    char *block = malloc(40), *other = calloc(3, 400);
    bits((uintptr_t)block); bits((uintptr_t)other); bits((uintptr_t)realloc(block, 5000)); bits((uintptr_t)here);
    free(other);
    bits((uintptr_t)malloc(1200)); bits((uintptr_t)strdup("libc's own call"));
    char *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bits((uintptr_t)pages); bits(pages[4095]); munmap(pages, 1 << 20);
    bits((uintptr_t)argv); bits(argc); bits((uintptr_t)environ);
    for (char **one = environ; *one; one++) text(*one);
    clock_gettime(CLOCK_REALTIME, &now); bits(now.tv_sec); bits(now.tv_nsec); bits(time(NULL));
    bits(getpid()); bits(getppid()); bits(getuid());
    text(getcwd(here, sizeof here));
    mkdir("made", 0777);
    for (int number = 20; number > 0; number--) {
        snprintf(here, sizeof here, "made/%d", number * 7919 % 100);
        close(open(here, O_CREAT | O_WRONLY, 0666));
        if (stat(here, &seen) == 0) { bits(seen.st_ino); bits(seen.st_mode); bits(seen.st_mtim.tv_sec); }
    }
    if (stat("made", &seen) == 0) bits(seen.st_size);
    DIR *directory = opendir("made");
    const char *last = "";
    for (struct dirent *entry; (entry = readdir(directory)) != NULL; last = entry->d_name)
        if (strcmp(last, entry->d_name) < 0) ones++;
    closedir(directory);
    printf("%d %d\n", ones, zeros);
    return 0;
}
"""
PLAIN = "\nint main(int argc, char **argv) { return Py_BytesMain(argc, argv); }\n"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The program in training.c's process, and the same one by itself."""
    if find_program("gcc") is None:
        pytest.skip("there is no gcc here (debian-packages-python.txt)")
    place = tmp_path_factory.mktemp("programs")
    options = ["-O2", "-fno-pie", "-no-pie", "-static", "-D_GNU_SOURCE", "-w"]
    (place / "counts.c").write_text(COUNTS)
    (place / "plain.c").write_text(COUNTS + PLAIN)
    process = Path(training.__file__).with_name("training.c")
    environment = {"PATH": os.environ["PATH"], "PWD": "/proc/self/cwd"}
    for name in ("counts", "plain"):
        words = ["gcc", *options, *training.COUNTING.split(), "-c", f"{name}.c"]
        run(words, timeout=60, cwd=place, env=environment)
    wraps = [f"-Wl,--wrap={name}" for name in wrapped()]
    run(["gcc", *options, "-std=c11", "-c", process], timeout=60, cwd=place)
    links = (["counts.o", "training.o", *wraps, "-o", "counts"], ["plain.o", "-o", "plain"])
    for words in links:
        done = run(["gcc", *options, "-fprofile-generate", *words], timeout=60, cwd=place, check=False)
        if b"cannot find -lc" in done.stderr:
            pytest.skip("libc6-dev has no libc.a here")
        assert done.status == 0, done.stderr.decode()
    return place / "counts", place / "plain"


def counters(program: Path, place: Path, environment: dict[str, str], umask: int) -> tuple[bytes, str]:
    """Run it in a new directory; give what it printed, and its counters' digest."""
    place.mkdir(parents=True)
    words: list[str | Path] = ["sh", "-c", f'umask {umask:o}; exec "$@"', "sh", program, *environment]
    done = run(words, timeout=60, cwd=place, env=environment)
    return done.stdout, digest_of(place / "counters")


@pytest.mark.toolchain
def test_the_counters_are_the_same_everywhere(programs: tuple[Path, Path], tmp_path: Path) -> None:
    """In other directories, environments and modes, by other processes; each bit that it sees counts."""
    ours, plain = programs
    seen = {
        counters(ours, tmp_path / str(number) / ("x" * 37 * number), {"A": "b" * 1000 * number}, umask)
        for number, umask in enumerate((0o022, 0o077, 0o000))
    }
    assert len(seen) == 1
    by_itself = {counters(plain, tmp_path / f"plain{number}", {}, 0o022) for number in range(5)}
    assert len(by_itself) > 1  # the clock at least is another one


def test_the_work_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It matches and writes what it walks: each device has a line, and what nothing matches is told."""
    monkeypatch.chdir(tmp_path)
    workload.train()
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    devices = [line for line in lines if line.startswith('{"type":"device"')]
    assert len(devices) == sum(workload.BUSES.values())
    trie = workload.Trie(workload.patterns())
    assert sorted(trie.lookup(workload.alias_of("pci", 5))) == ["class-1", "pci_driver_5"]
    assert sorted(trie.lookup(workload.alias_of("acpi", 21))) == ["acpi_1"]
    assert any('"module":"usb_7"' in line for line in lines)
    assert any(line.startswith('{"type":"problem"') for line in lines)


def test_what_counts_for_a_build(tmp_path: Path) -> None:
    """The texts of what is trained, and how; an empty profile is none, and says nothing to the compiler."""
    assert any("__wrap_malloc" in text for text in texts())
    assert any("def train()" in text for text in texts())
    assert {"malloc", "mmap64", "clock_gettime", "readdir64", "pthread_self"} <= set(wrapped())
    assert digest_of(tmp_path) == ""
    assert Profile("").flags == ""
    (tmp_path / "a.gcda").write_bytes(b"1")
    first = digest_of(tmp_path)
    assert "-fprofile-use=" in Profile(first).flags
    shutil.move(tmp_path / "a.gcda", tmp_path / "b.gcda")
    assert digest_of(tmp_path) != first
