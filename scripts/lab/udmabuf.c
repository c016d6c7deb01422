/* A stand-in for /dev/udmabuf, preloaded into a compositor on a machine whose kernel lacks it.
 *
 *   gcc -O1 -fPIC -shared -o udmabuf.so udmabuf.c
 *
 * Mesa's software Vulkan (lavapipe) makes its dmabufs by that device, out of memfds. Here the memfd
 * itself is passed on: it maps like a dmabuf, and nothing else can be done with it (no import by a
 * GPU, no fences). One difference shows: a dmabuf can be waited for by epoll and an idle one is
 * readable at once, a memfd is refused (EPERM). An eventfd that is always readable waits in its
 * place. The device itself is /dev/full, a character device that every machine has and nobody else
 * opens for reading and writing.
 *
 * A test aid, never a part of the product. The request and its structure are those of the kernel's
 * <linux/udmabuf.h>.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DEVICE "/dev/udmabuf"
#define STAND_IN "/dev/full"
#define STAND_IN_DEVICE makedev(1, 7)

/* ---- the device ------------------------------------------------------------------------------ */

static int is_device(int fd) {
    struct stat status;
    return fd >= 0 && !fstat(fd, &status) && S_ISCHR(status.st_mode) &&
           status.st_rdev == STAND_IN_DEVICE;
}

/* Asks of the memfd what the kernel asks: whole pages, within it, and that it cannot shrink. */
static int create(const struct udmabuf_create *wanted) {
    struct stat status;
    int seals = fcntl((int)wanted->memfd, F_GET_SEALS);
    unsigned long long end = wanted->offset + wanted->size, page = 4096;
    if (seals < 0 || fstat((int)wanted->memfd, &status) || !(seals & F_SEAL_SHRINK) ||
        wanted->offset || wanted->size % page || end > (unsigned long long)status.st_size) {
        errno = EINVAL;
        return -1;
    }
    int duplicate = wanted->flags & UDMABUF_FLAGS_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD;
    return fcntl((int)wanted->memfd, duplicate, 3);
}

int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (request == UDMABUF_CREATE && is_device(fd))
        return create(argument);
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

static int open_path(int directory, const char *path, int flags, mode_t mode) {
    if (path && !strcmp(path, DEVICE))
        path = STAND_IN;
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

#define MODE                                                                                       \
    mode_t mode = 0;                                                                               \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                                   \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }
#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        MODE return open_path(AT_FDCWD, path, flags, mode);                                        \
    }
#define OPENAT(name)                                                                               \
    int name(int directory, const char *path, int flags, ...) {                                    \
        MODE return open_path(directory, path, flags, mode);                                       \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int __open_2(const char *path, int flags) { return open_path(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_path(AT_FDCWD, path, flags, 0); }

/* ---- waiting for a dmabuf -------------------------------------------------------------------- */

enum { WAITED_MAX = 256 };

/* Descriptors that are waited for, with the eventfd that waits in the place of each. */
static struct {
    int set, fd, readable;
} waited[WAITED_MAX];
static int waited_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int control(int set, int operation, int fd, struct epoll_event *event) {
    return (int)syscall(SYS_epoll_ctl, set, operation, fd, event);
}

static int find(int set, int fd) {
    for (int at = 0; at < waited_count; at++)
        if (waited[at].set == set && waited[at].fd == fd)
            return at;
    return -1;
}

/* Closing the eventfd takes it out of its set. */
static int forget(int set, int fd) {
    int at = find(set, fd);
    if (at < 0)
        return 0;
    close(waited[at].readable);
    waited[at] = waited[--waited_count];
    return 1;
}

static int wait_in_its_place(int set, int fd, struct epoll_event *event) {
    if (waited_count == WAITED_MAX) {
        errno = ENOSPC;
        return -1;
    }
    int readable = eventfd(1, EFD_CLOEXEC);
    if (readable < 0)
        return -1;
    if (control(set, EPOLL_CTL_ADD, readable, event)) {
        close(readable);
        return -1;
    }
    waited[waited_count].set = set;
    waited[waited_count].fd = fd;
    waited[waited_count++].readable = readable;
    return 0;
}

int epoll_ctl(int set, int operation, int fd, struct epoll_event *event) {
    pthread_mutex_lock(&lock);
    int result;
    if (operation == EPOLL_CTL_ADD) {
        /* One that was closed without a word, and its number used again. */
        forget(set, fd);
        result = control(set, operation, fd, event);
        if (result && errno == EPERM)
            result = wait_in_its_place(set, fd, event);
    } else if (operation == EPOLL_CTL_DEL && forget(set, fd)) {
        result = 0;
    } else {
        int at = find(set, fd);
        result = control(set, operation, at < 0 ? fd : waited[at].readable, event);
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
