/* A disk that fails, for a process that loads this with LD_PRELOAD.
 *
 * The file that ASOF_FAILING names is shared with the test: calls are counted in it, and it says which of them fail. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, LIST_SYNCS = 3 };

struct plan {
    _Atomic uint64_t calls;       /* calls of the kind so far */
    _Atomic uint64_t first, last; /* those that fail */
    uint64_t kind;                /* writes, syncs, or syncs of the list of RocksDB's files alone */
    uint64_t error;               /* as errno has it */
    uint64_t torn;                /* whether half of it is written before, where it is longer than a line */
    char below[PATH_MAX];         /* the directory whose files are counted */
};

static struct plan *plan;

__attribute__((constructor)) static void start(void) {
    const char *name = getenv("ASOF_FAILING");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *shared = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    plan = shared == MAP_FAILED ? NULL : shared;
    close(file);
}

static int is_below(const char *path) {
    size_t length = strlen(plan->below);
    return strncmp(path, plan->below, length) == 0 && path[length] == '/';
}

/* Counts a call; whether it fails. */
static int fails(void) {
    uint64_t call = atomic_fetch_add(&plan->calls, 1) + 1;
    return call >= plan->first && call <= plan->last;
}

static int fails_at(int file, uint64_t kind) {
    char link[64], path[PATH_MAX];
    if (!plan || (kind != plan->kind && !(kind == SYNCS && plan->kind == LIST_SYNCS)))
        return 0;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0)
        return 0;
    path[length] = 0;
    if (plan->kind == LIST_SYNCS && !strstr(path, "/MANIFEST-"))
        return 0;
    return is_below(path) && fails();
}

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real)                                                                                                         \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define FAIL                                                                                                           \
    do {                                                                                                               \
        errno = (int)plan->error;                                                                                      \
        return -1;                                                                                                     \
    } while (0)

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (fails_at(file, WRITES)) {
        if (plan->torn && count > 64)
            (void)!real(file, bytes, count / 2);
        FAIL;
    }
    return real(file, bytes, count);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    if (fails_at(file, WRITES)) {
        if (plan->torn && count > 64)
            (void)!real(file, bytes, count / 2, at);
        FAIL;
    }
    return real(file, bytes, count, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    return pwrite(file, bytes, count, at);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (fails_at(file, WRITES))
        FAIL;
    return real(file, parts, count);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    if (fails_at(file, WRITES))
        FAIL;
    return real(file, parts, count, at);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) {
    return pwritev(file, parts, count, at);
}

int fallocate(int file, int mode, off_t at, off_t length) {
    REAL(int, "fallocate", int, int, off_t, off_t);
    if (fails_at(file, WRITES))
        FAIL;
    return real(file, mode, at, length);
}

int fallocate64(int file, int mode, off64_t at, off64_t length) {
    return fallocate(file, mode, at, length);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (plan && plan->kind == WRITES && is_below(to) && fails())
        FAIL;
    return real(from, to);
}

int fsync(int file) {
    REAL(int, "fsync", int);
    if (fails_at(file, SYNCS))
        FAIL;
    return real(file);
}

int fdatasync(int file) {
    REAL(int, "fdatasync", int);
    if (fails_at(file, SYNCS))
        FAIL;
    return real(file);
}
