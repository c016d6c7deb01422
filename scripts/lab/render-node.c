/* A stand-in for a DRM node, preloaded into a compositor on a machine without /dev/dri.
 *
 *   gcc -O1 -fPIC -shared -o render-node.so render-node.c
 *
 * Mesa's software renderer needs a node only to allocate "dumb" buffers, map them and pass them on
 * as dmabufs. Here a buffer is a memfd: what comes out maps like a dmabuf, and nothing else can be
 * done with it (no import by a GPU, no fences). The node itself is /dev/full, a character device
 * that every machine has and nobody else opens for reading and writing.
 *
 * A test aid, never a part of the product. Constants and structures are those of the kernel's
 * <drm/drm.h>, <drm/drm_mode.h> and of libdrm's <xf86drm.h>, written out so that this builds
 * without libdrm's headers. PUNKTFUNK_NODE_DEBUG=1 tells what is asked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PRIMARY "/dev/dri/card0"
#define RENDER "/dev/dri/renderD128"
#define STAND_IN "/dev/full"
#define STAND_IN_DEVICE makedev(1, 7)
#define DRIVER "vgem"

/* ---- the kernel's interface ------------------------------------------------------------------ */

enum { TYPE_DRM = 'd', TYPE_DMA_BUF = 'b', DMA_BUF_SYNC = 0 };

enum {
    DRM_VERSION = 0x00,
    DRM_GEM_CLOSE = 0x09,
    DRM_GET_CAP = 0x0c,
    DRM_SET_CLIENT_CAP = 0x0d,
    DRM_PRIME_HANDLE_TO_FD = 0x2d,
    DRM_PRIME_FD_TO_HANDLE = 0x2e,
    DRM_CREATE_DUMB = 0xb2,
    DRM_MAP_DUMB = 0xb3,
    DRM_DESTROY_DUMB = 0xb4,
};

enum { CAP_DUMB_BUFFER = 1, CAP_PRIME = 5, PRIME_IMPORT_AND_EXPORT = 3 };

struct version {
    int major, minor, patch;
    size_t name_length;
    char *name;
    size_t date_length;
    char *date;
    size_t description_length;
    char *description;
};
struct capability {
    uint64_t which, value;
};
struct create_dumb {
    uint32_t height, width, bits_per_pixel, flags, handle, pitch;
    uint64_t size;
};
struct map_dumb {
    uint32_t handle, padding;
    uint64_t offset;
};
struct prime {
    uint32_t handle, flags;
    int32_t fd;
};

/* ---- buffers --------------------------------------------------------------------------------- */

enum { BUFFERS_MAX = 4096, OFFSET_SHIFT = 36 };

static struct {
    int fd;
    int is_used;
} buffers[BUFFERS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void tell(const char *what, unsigned long number) {
    static int wanted = -1;
    if (wanted < 0)
        wanted = getenv("PUNKTFUNK_NODE_DEBUG") != NULL;
    if (wanted)
        fprintf(stderr, "render-node: %s 0x%lx\n", what, number);
}

static int fail(int error) {
    errno = error;
    return -1;
}

/* A handle for it, which owns it from now on; 0 if there is none left. */
static uint32_t keep(int fd) {
    for (uint32_t handle = 1; fd >= 0 && handle < BUFFERS_MAX; handle++) {
        if (!buffers[handle].is_used) {
            buffers[handle].fd = fd;
            buffers[handle].is_used = 1;
            return handle;
        }
    }
    if (fd >= 0)
        close(fd);
    return 0;
}

static int is_known(uint32_t handle) {
    return handle > 0 && handle < BUFFERS_MAX && buffers[handle].is_used;
}

static int forget(uint32_t handle) {
    if (!is_known(handle))
        return fail(EINVAL);
    close(buffers[handle].fd);
    buffers[handle].is_used = 0;
    return 0;
}

static int create(struct create_dumb *wanted) {
    uint32_t row = wanted->width * ((wanted->bits_per_pixel + 7) / 8);
    wanted->pitch = (row + 63) & ~63u;
    wanted->size = ((uint64_t)wanted->pitch * wanted->height + 4095) & ~4095ull;
    int fd = memfd_create("render-node", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    if (ftruncate(fd, (off_t)wanted->size)) {
        close(fd);
        return -1;
    }
    wanted->handle = keep(fd);
    return wanted->handle ? 0 : fail(ENOMEM);
}

static void put(char *into, size_t *length, const char *text) {
    size_t whole = strlen(text);
    if (into && *length)
        memcpy(into, text, *length < whole ? *length : whole);
    *length = whole;
}

static int answer(unsigned number, void *argument) {
    switch (number) {
    case DRM_VERSION: {
        struct version *version = argument;
        version->major = 1;
        version->minor = version->patch = 0;
        put(version->name, &version->name_length, DRIVER);
        put(version->date, &version->date_length, "0");
        put(version->description, &version->description_length, DRIVER);
        return 0;
    }
    case DRM_GET_CAP: {
        struct capability *capability = argument;
        capability->value = capability->which == CAP_DUMB_BUFFER ? 1
                            : capability->which == CAP_PRIME     ? PRIME_IMPORT_AND_EXPORT
                                                                 : 0;
        return 0;
    }
    case DRM_SET_CLIENT_CAP:
        return 0;
    case DRM_CREATE_DUMB:
        return create(argument);
    case DRM_MAP_DUMB: {
        struct map_dumb *map = argument;
        if (!is_known(map->handle))
            return fail(EINVAL);
        map->offset = (uint64_t)map->handle << OFFSET_SHIFT;
        return 0;
    }
    case DRM_DESTROY_DUMB:
    case DRM_GEM_CLOSE: /* both start with the handle */
        return forget(*(uint32_t *)argument);
    case DRM_PRIME_HANDLE_TO_FD: {
        struct prime *prime = argument;
        if (!is_known(prime->handle))
            return fail(EINVAL);
        prime->fd = fcntl(buffers[prime->handle].fd, F_DUPFD_CLOEXEC, 3);
        return prime->fd < 0 ? -1 : 0;
    }
    case DRM_PRIME_FD_TO_HANDLE: {
        struct prime *prime = argument;
        struct stat status;
        if (fstat(prime->fd, &status) || !S_ISREG(status.st_mode))
            return fail(EINVAL);
        prime->handle = keep(fcntl(prime->fd, F_DUPFD_CLOEXEC, 3));
        return prime->handle ? 0 : fail(ENOMEM);
    }
    default:
        tell("not answered:", number);
        return fail(EINVAL);
    }
}

/* ---- what takes the place of libc's functions ------------------------------------------------ */

static int is_node(int fd) {
    struct stat status;
    return fd >= 0 && !fstat(fd, &status) && S_ISCHR(status.st_mode) &&
           status.st_rdev == STAND_IN_DEVICE;
}

static int open_path(const char *path, int flags, mode_t mode) {
    if (path && (!strcmp(path, PRIMARY) || !strcmp(path, RENDER))) {
        tell("opened", (unsigned long)flags);
        path = STAND_IN;
        flags = O_RDWR | (flags & O_CLOEXEC);
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        mode_t mode = 0;                                                                           \
        if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                               \
            va_list rest;                                                                          \
            va_start(rest, flags);                                                                 \
            mode = va_arg(rest, mode_t);                                                           \
            va_end(rest);                                                                          \
        }                                                                                          \
        return open_path(path, flags, mode);                                                       \
    }
OPEN(open)
OPEN(open64)
int __open_2(const char *path, int flags) { return open_path(path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_path(path, flags, 0); }

int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (_IOC_TYPE(request) == TYPE_DRM && is_node(fd)) {
        pthread_mutex_lock(&lock);
        int result = answer(_IOC_NR(request), argument);
        pthread_mutex_unlock(&lock);
        return result;
    }
    /* A memfd is always in sync. */
    struct stat status;
    if (_IOC_TYPE(request) == TYPE_DMA_BUF && _IOC_NR(request) == DMA_BUF_SYNC &&
        !fstat(fd, &status) && S_ISREG(status.st_mode))
        return 0;
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

static void *map(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && !(flags & MAP_ANONYMOUS) && is_node(fd)) {
        uint32_t handle = (uint32_t)((uint64_t)offset >> OFFSET_SHIFT);
        pthread_mutex_lock(&lock);
        int buffer = is_known(handle) ? buffers[handle].fd : -1;
        pthread_mutex_unlock(&lock);
        if (buffer < 0) {
            errno = EINVAL;
            return MAP_FAILED;
        }
        fd = buffer;
        offset = 0;
    }
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return map(at, length, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return map(at, length, protection, flags, fd, offset);
}

/* ---- what takes the place of libdrm's functions ---------------------------------------------- */

enum { NODE_PRIMARY = 0, NODE_RENDER = 2, NODES = 3, BUS_PLATFORM = 2 };

struct device {
    char **nodes;
    int nodes_available;
    int bus;
    void *bus_info, *device_info;
};

/* A device with all that it points to, in one piece, so that one free() ends it. */
struct whole_device {
    struct device device;
    char *nodes[NODES];
    char names[NODES][32];
    char bus_name[512];
    char **compatible;
    char *no_names[1];
};

static struct device *new_device(void) {
    struct whole_device *whole = calloc(1, sizeof *whole);
    if (!whole)
        return NULL;
    for (int node = 0; node < NODES; node++)
        whole->nodes[node] = whole->names[node];
    strcpy(whole->names[NODE_PRIMARY], PRIMARY);
    strcpy(whole->names[NODE_RENDER], RENDER);
    strcpy(whole->bus_name, DRIVER);
    whole->compatible = whole->no_names;
    whole->device.nodes = whole->nodes;
    whole->device.nodes_available = 1 << NODE_PRIMARY | 1 << NODE_RENDER;
    whole->device.bus = BUS_PLATFORM;
    whole->device.bus_info = whole->bus_name;
    whole->device.device_info = &whole->compatible;
    return &whole->device;
}

void drmFreeDevice(struct device **device) {
    if (device) {
        free(*device);
        *device = NULL;
    }
}
void drmFreeDevices(struct device *devices[], int count) {
    for (int at = 0; devices && at < count; at++)
        drmFreeDevice(&devices[at]);
}
int drmGetDevices2(uint32_t flags, struct device *devices[], int count) {
    (void)flags;
    if (!devices)
        return 1;
    if (count < 1)
        return 0;
    devices[0] = new_device();
    return devices[0] ? 1 : -ENOMEM;
}
int drmGetDevices(struct device *devices[], int count) { return drmGetDevices2(0, devices, count); }
int drmGetDevice2(int fd, uint32_t flags, struct device **device) {
    (void)flags;
    if (!is_node(fd))
        return -EINVAL;
    *device = new_device();
    return *device ? 0 : -ENOMEM;
}
int drmGetDevice(int fd, struct device **device) { return drmGetDevice2(fd, 0, device); }
int drmGetDeviceFromDevId(dev_t id, uint32_t flags, struct device **device) {
    (void)flags;
    if (id != STAND_IN_DEVICE)
        return -ENODEV;
    *device = new_device();
    return *device ? 0 : -ENOMEM;
}
int drmDevicesEqual(struct device *one, struct device *other) { return one && other; }
int drmGetNodeTypeFromFd(int fd) { return is_node(fd) ? NODE_PRIMARY : -1; }
int drmGetNodeTypeFromDevId(dev_t id) { return id == STAND_IN_DEVICE ? NODE_PRIMARY : -EINVAL; }
char *drmGetDeviceNameFromFd2(int fd) { return is_node(fd) ? strdup(PRIMARY) : NULL; }
char *drmGetDeviceNameFromFd(int fd) { return drmGetDeviceNameFromFd2(fd); }
char *drmGetPrimaryDeviceNameFromFd(int fd) { return drmGetDeviceNameFromFd2(fd); }
char *drmGetRenderDeviceNameFromFd(int fd) { return is_node(fd) ? strdup(RENDER) : NULL; }
