/* A card that fails on request: LD_PRELOAD for one process, told what to do through a mapped file (gateway_shim.py).
 *
 * The n-th matching call on a file whose path starts with `folder` and ends with `name` fails, is cut short, is delayed
 * or ends the process, and so do the `times - 1` matching calls after it. Everything else goes through untouched.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, OPEN = 4 };
enum { PASS, FAIL_EIO, FAIL_ENOSPC, SHORT, DELAY, DIE };

struct order {
    _Atomic long armed, calls, nth, times, action, delay_us, seen, fired;
    char folder[256], name[64];
};

static struct order *order;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAILING_CARD");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *order, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) order = map;
    close(fd);
}

static int meant(const char *path) {
    size_t length = strlen(path), tail = strlen(order->name);
    return strncmp(path, order->folder, strlen(order->folder)) == 0 && length >= tail &&
           strcmp(path + length - tail, order->name) == 0;
}

static int turn(void) {
    long at = atomic_fetch_add(&order->seen, 1) + 1;
    if (at < order->nth || (order->times > 0 && at >= order->nth + order->times)) return PASS;
    atomic_fetch_add(&order->fired, 1);
    if (order->action == DIE) kill(getpid(), SIGKILL);
    if (order->action == DELAY) {
        struct timespec wait = {order->delay_us / 1000000, order->delay_us % 1000000 * 1000};
        nanosleep(&wait, NULL);
        return PASS;
    }
    return (int)order->action;
}

static int fate(int fd, int call) {
    char link[32], path[PATH_MAX];
    if (!order || !order->armed || !(order->calls & call)) return PASS;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return PASS;
    path[length] = 0;
    return meant(path) ? turn() : PASS;
}

static int refused(int what) {
    if (what == FAIL_EIO) errno = EIO;
    if (what == FAIL_ENOSPC) errno = ENOSPC;
    return what == FAIL_EIO || what == FAIL_ENOSPC;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define CUT(what, count) ((what) == SHORT && (count) > 1 ? (count) / 2 : (count))

ssize_t write(int fd, const void *data, size_t count) {
    REAL(write);
    int what = fate(fd, WRITE);
    return refused(what) ? -1 : real(fd, data, CUT(what, count));
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
    REAL(pwrite);
    int what = fate(fd, WRITE);
    return refused(what) ? -1 : real(fd, data, CUT(what, count), at);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) {
    REAL(pwrite64);
    int what = fate(fd, WRITE);
    return refused(what) ? -1 : real(fd, data, CUT(what, count), at);
}

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    return refused(fate(fd, WRITE)) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return refused(fate(fd, WRITE)) ? -1 : real(fd, size);
}

int fsync(int fd) {
    REAL(fsync);
    return refused(fate(fd, SYNC)) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return refused(fate(fd, SYNC)) ? -1 : real(fd);
}

static int opens(const char *path, int flags) {
    if (!order || !order->armed || !(order->calls & OPEN) || !(flags & O_CREAT) || !meant(path)) return PASS;
    return turn();
}

#define OPENED(name)                                                  \
    int name(const char *path, int flags, ...) {                      \
        REAL(name);                                                   \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;     \
        va_end(rest);                                                 \
        return refused(opens(path, flags)) ? -1 : real(path, flags, mode); \
    }

OPENED(open)
OPENED(open64)
