/* A process that does the same each time, down to its addresses: what an interpreter is trained in (training.py).

   The counters of a trained program hold alignments, and orders that follow from hashes of addresses. A program with
   fixed addresses has its text and data in one place; here it has its memory, its stack, its arguments and environment
   there as well, and what it is told of the clock, of identities and of files' numbers is made up. The linker puts
   these functions in the place of libc's (ld's --wrap): each is called __wrap_NAME, and libc's own __real_NAME. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

int Py_BytesMain(int argc, char **argv);

static void
give_up(const char *why)
{
    static const char tail[] = ": the training cannot go on\n";
    (void)!write(2, why, strlen(why));
    (void)!write(2, tail, sizeof tail - 1);
    _exit(99);
}

/* Memory: one array. What is given back is given again, the last first, by classes of size. */

enum { PAGE = 4096, ROOM = 512 << 20, SMALLEST = 5, CLASSES = 30 };

static _Alignas(1 << 20) unsigned char room[ROOM];
static size_t used;
static void *freed[2][CLASSES]; /* of malloc, of mmap */

struct head {
    size_t class;
    size_t padding;
};

static unsigned
class_of(size_t size)
{
    unsigned class = SMALLEST;
    while (((size_t)1 << class) < size) {
        class++;
    }
    if (class >= CLASSES) {
        give_up("a block is too large");
    }
    return class;
}

static void *
take(int kind, size_t size, size_t alignment)
{
    unsigned class = class_of(size);
    void **block = freed[kind][class];
    if (block != NULL) {
        freed[kind][class] = *block;
        return block;
    }
    used = (used + alignment - 1) & ~(alignment - 1);
    if (ROOM - used < (size_t)1 << class) {
        give_up("memory is used up");
    }
    block = (void **)(room + used);
    used += (size_t)1 << class;
    return block;
}

static void
give_back(int kind, void *block, unsigned class)
{
    *(void **)block = freed[kind][class];
    freed[kind][class] = block;
}

static int
is_ours(const void *block)
{
    return (const unsigned char *)block >= room && (const unsigned char *)block < room + ROOM;
}

void *
__wrap_malloc(size_t size)
{
    struct head *head = take(0, size + sizeof *head, 16);
    head->class = class_of(size + sizeof *head);
    return head + 1;
}

void
__wrap_free(void *block)
{
    if (block != NULL && is_ours(block)) {
        struct head *head = (struct head *)block - 1;
        give_back(0, head, head->class);
    }
}

void *
__wrap_calloc(size_t count, size_t size)
{
    size_t all;
    if (__builtin_mul_overflow(count, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return memset(__wrap_malloc(all), 0, all);
}

void *
__wrap_realloc(void *block, size_t size)
{
    if (block == NULL) {
        return __wrap_malloc(size);
    }
    struct head *head = (struct head *)block - 1;
    size_t held = ((size_t)1 << head->class) - sizeof *head;
    if (size <= held) {
        return block;
    }
    void *larger = memcpy(__wrap_malloc(size), block, held);
    __wrap_free(block);
    return larger;
}

void *
__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    (void)address;
    (void)protection;
    void *block = memset(take(1, length, PAGE), 0, length);
    if ((flags & MAP_ANONYMOUS) == 0 && pread(fd, block, length, offset) < 0) {
        return MAP_FAILED;
    }
    return block;
}

int
__wrap_munmap(void *block, size_t length)
{
    give_back(1, block, class_of(length));
    return 0;
}

/* The clock: a millisecond later each time it is asked. */

static int64_t
now_ns(void)
{
    static int64_t now = 1700000000000000000;
    return now += 1000000;
}

int
__wrap_clock_gettime(clockid_t clock, struct timespec *value)
{
    (void)clock;
    int64_t now = now_ns();
    value->tv_sec = now / 1000000000;
    value->tv_nsec = now % 1000000000;
    return 0;
}

int
__wrap_gettimeofday(struct timeval *value, void *zone)
{
    (void)zone;
    int64_t now = now_ns();
    value->tv_sec = now / 1000000000;
    value->tv_usec = now % 1000000000 / 1000;
    return 0;
}

time_t
__wrap_time(time_t *value)
{
    time_t now = now_ns() / 1000000000;
    if (value != NULL) {
        *value = now;
    }
    return now;
}

/* Who it is */

pid_t __wrap_getpid(void) { return 100; }
pid_t __wrap_getppid(void) { return 1; }
uid_t __wrap_getuid(void) { return 0; }
uid_t __wrap_geteuid(void) { return 0; }
gid_t __wrap_getgid(void) { return 0; }
gid_t __wrap_getegid(void) { return 0; }
unsigned long __wrap_pthread_self(void) { return 0x1000; }
int __wrap_isatty(int fd) { (void)fd; errno = ENOTTY; return 0; }
char *__wrap_setlocale(int category, const char *name) { (void)category; (void)name; return (char *)"C"; }

char *
__wrap_getcwd(char *place, size_t size)
{
    if (size < 2) {
        errno = ERANGE;
        return NULL;
    }
    return strcpy(place, "/");
}

ssize_t
__wrap_getrandom(void *place, size_t size, unsigned flags)
{
    (void)flags;
    memset(place, 1, size);
    return (ssize_t)size;
}

/* Files: numbered as they are met; without times, owners and what else file systems differ in. */

enum { KNOWN = 4096 };

static ino_t
number_of(dev_t device, ino_t inode)
{
    static struct { dev_t device; ino_t inode; } known[KNOWN];
    static ino_t count;
    ino_t number = 0;
    while (number < count && (known[number].device != device || known[number].inode != inode)) {
        number++;
    }
    if (number == KNOWN) {
        give_up("there are too many files");
    }
    if (number == count) {
        known[count].device = device;
        known[count++].inode = inode;
    }
    return number + 100;
}

static int
made_up(int status, struct stat *value)
{
    if (status == 0) {
        struct stat plain = {
            .st_mode = value->st_mode,
            .st_size = S_ISREG(value->st_mode) || S_ISLNK(value->st_mode) ? value->st_size : 0,
            .st_ino = number_of(value->st_dev, value->st_ino),
            .st_dev = 20,
            .st_nlink = 1,
            .st_blksize = PAGE,
            .st_blocks = 8,
            .st_mtim.tv_sec = 1700000000,
        };
        *value = plain;
    }
    return status;
}

int __wrap_stat(const char *path, struct stat *value) { return made_up(fstatat(AT_FDCWD, path, value, 0), value); }
int
__wrap_lstat(const char *path, struct stat *value)
{
    return made_up(fstatat(AT_FDCWD, path, value, AT_SYMLINK_NOFOLLOW), value);
}
int __wrap_fstat(int fd, struct stat *value) { return made_up(fstatat(fd, "", value, AT_EMPTY_PATH), value); }

/* Directories, in the order of their names: read whole when they are opened. */

enum { OPEN = 8, ENTRIES = 256 };

struct listing {
    int fd;
    size_t count, next;
    struct dirent64 entries[ENTRIES];
};

static struct listing listings[OPEN];

static int
by_name(const void *one, const void *other)
{
    return strcmp(((const struct dirent64 *)one)->d_name, ((const struct dirent64 *)other)->d_name);
}

DIR *
__wrap_fdopendir(int fd)
{
    static _Alignas(16) char buffer[1 << 16];
    struct listing *listing = listings;
    while (listing < listings + OPEN && listing->count != 0) {
        listing++;
    }
    if (listing == listings + OPEN) {
        give_up("too many directories are open");
    }
    listing->fd = fd;
    listing->next = 0;
    for (ssize_t length; (length = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) != 0;) {
        if (length < 0) {
            listing->count = 0;
            return NULL;
        }
        for (char *place = buffer; place < buffer + length;) {
            struct dirent64 *entry = (struct dirent64 *)place;
            if (listing->count == ENTRIES) {
                give_up("a directory has too many entries");
            }
            place += entry->d_reclen;
            struct dirent64 *kept = &listing->entries[listing->count++];
            kept->d_ino = 1;
            kept->d_off = 0;
            kept->d_reclen = sizeof *kept;
            kept->d_type = entry->d_type;
            strcpy(kept->d_name, entry->d_name);
        }
    }
    qsort(listing->entries, listing->count, sizeof *listing->entries, by_name);
    return (DIR *)listing;
}

DIR *
__wrap_opendir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? NULL : __wrap_fdopendir(fd);
}

struct dirent64 *
__wrap_readdir64(DIR *directory)
{
    struct listing *listing = (struct listing *)directory;
    return listing->next < listing->count ? &listing->entries[listing->next++] : NULL;
}

void
__wrap_rewinddir(DIR *directory)
{
    ((struct listing *)directory)->next = 0;
}

int
__wrap_closedir(DIR *directory)
{
    struct listing *listing = (struct listing *)directory;
    listing->count = 0;
    return close(listing->fd);
}

/* The same by the names that programs with large files call */
#define ALSO(name) __attribute__((alias("__wrap_" #name))) extern __typeof__(__wrap_##name)
ALSO(mmap) __wrap_mmap64;
ALSO(readdir64) __wrap_readdir;
ALSO(stat) __wrap_stat64;
ALSO(lstat) __wrap_lstat64;
ALSO(fstat) __wrap_fstat64;

/* It runs on a stack of its own; what it has to say of errors is written to a file. */

static _Alignas(PAGE) unsigned char stack[8 << 20];
static ucontext_t outside, inside;
static int status;

static void
run(void)
{
    static char *words[] = {"/usr/bin/python3", "-SsP", "-c", "import sys; sys.path.clear(); import workload", NULL};
    status = Py_BytesMain(4, words);
}

/* Standard streams, which might be pipes, files or terminals */
static void
stand_for(int fd, const char *path, int flags)
{
    int opened = open(path, flags, 0644);
    if (opened < 0 || (opened != fd && (dup2(opened, fd) != fd || close(opened) != 0))) {
        give_up(path);
    }
}

int
main(void)
{
    static char *settings[] = {
        "LC_ALL=C", "PYTHONHASHSEED=0", "PYTHONUTF8=1", "PYTHONCOERCECLOCALE=0", NULL,
    };
    environ = settings;
    umask(022);
    stand_for(0, "/dev/null", O_RDONLY);
    stand_for(1, "/dev/null", O_WRONLY);
    stand_for(2, "errors", O_WRONLY | O_CREAT | O_TRUNC);
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL);
    }
    getcontext(&inside);
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = sizeof stack;
    inside.uc_link = &outside;
    makecontext(&inside, run, 0);
    swapcontext(&outside, &inside);
    return status;
}
