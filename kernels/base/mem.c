/* mem.c - the heap, big pages, and files in memory.
 *
 * Running out of small memory ends the process here and nowhere else; running out of model-sized
 * memory is an error with numbers, because the user can act on it. */
#include "kernels/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/log.h"

enum { HUGE_PAGE = 2 << 20 };

static void (*_Atomic watcher)(size_t bytes);

void mem_watch(void (*taken)(size_t bytes))
{
    atomic_store(&watcher, taken);
}

static void tell(size_t bytes)
{
    void (*taken)(size_t) = bytes >= MEM_LARGE ? atomic_load(&watcher) : NULL;

    if (taken)
        taken(bytes);
}

/* Large blocks come straight from the kernel, which clears them a page at the first touch: with
 * pages of 4 KB that costs more than what is then done with a list of ten million tokens. */
static void advise_huge(void *p, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)p + page - 1) / page;

    if (bytes >= 2 * (size_t)HUGE_PAGE)
        madvise((void *)(first * page), bytes / page * page - page, MADV_HUGEPAGE);
}

static void *checked(void *p, size_t bytes)
{
    if (!p) {
        log_error("out of memory: %zu bytes refused", bytes);
        abort();
    }
    tell(bytes);
    advise_huge(p, bytes);
    return p;
}

void *xmalloc(size_t bytes)
{
    return checked(malloc(bytes ? bytes : 1), bytes);
}

void *xcalloc(size_t n, size_t bytes)
{
    /* calloc checks n * bytes itself */
    return checked(calloc(n ? n : 1, bytes ? bytes : 1),
                   bytes > SIZE_MAX / (n | 1) ? SIZE_MAX : n * bytes);
}

void *xrealloc(void *p, size_t bytes)
{
    return checked(realloc(p, bytes ? bytes : 1), bytes);
}

char *xstrndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = xmalloc(len + 1);

    memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

void xfree(void *p)
{
    free(p);
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

enum status big_alloc(size_t bytes, void **out)
{
    size_t need = round_up(bytes ? bytes : 1, page_size()), head, tail;
    unsigned char *p = MAP_FAILED;

    *out = NULL;
    errno = ENOMEM;
    if (bytes <= SIZE_MAX / 2) /* one huge page more than needed; the unaligned ends go back */
        p = mmap(NULL, need + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0);
    if (p == MAP_FAILED)
        return fail(ERR_NO_MEMORY, "cannot have %zu MiB of memory (%s): about %zu MiB are free",
                    bytes >> 20, strerror(errno),
                    (size_t)sysconf(_SC_AVPHYS_PAGES) * page_size() >> 20);
    head = round_up((uintptr_t)p, HUGE_PAGE) - (uintptr_t)p;
    tail = HUGE_PAGE - head;
    if (head)
        munmap(p, head);
    if (tail)
        munmap(p + head + need, tail);
    madvise(p + head, need, MADV_HUGEPAGE); /* advice: a kernel without huge pages serves as well */
    *out = p + head;
    tell(bytes);
    return OK;
}

void big_free(void *p, size_t bytes)
{
    if (p)
        munmap(p, round_up(bytes ? bytes : 1, page_size()));
}

/* Opens a regular file for reading; a directory or a pipe is not one. */
static enum status open_file(const char *path, int *fd, size_t *size)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer blocks */
    if (*fd < 0)
        return fail(errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %s: %s", path,
                    strerror(errno));
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *size = (size_t)st.st_size;
        return OK;
    }
    close(*fd);
    return fail(ERR_IO, "cannot read %s: it is not a regular file", path);
}

enum status file_map_open(const char *path, struct file_map *m)
{
    void *p;

    *m = (struct file_map){.fd = -1};
    TRY(open_file(path, &m->fd, &m->size));
    p = m->size ? mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, m->fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED) {
        enum status s = m->size ? fail(ERR_IO, "cannot map %s: %s", path, strerror(errno))
                                : fail(ERR_FORMAT, "%s is empty", path);

        close(m->fd);
        *m = (struct file_map){.fd = -1};
        return s;
    }
    m->data = p;
    return OK;
}

void file_map_drop(const struct file_map *m, size_t offset, size_t bytes)
{
    size_t page = page_size(), first, last;

    if (!m->data || m->fd < 0 || offset >= m->size) /* other memory would be lost, not read again */
        return;
    if (bytes > m->size - offset)
        bytes = m->size - offset;
    first = round_up(offset, page);
    last = (offset + bytes) / page * page;
    if (first < last)
        madvise((void *)(uintptr_t)(m->data + first), last - first, MADV_DONTNEED);
}

void memory_fetch(const void *p, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)p;
    const uintptr_t first = at / page * page;
    madvise((void *)first, bytes + (at - first), MADV_POPULATE_READ); /* Linux 5.14 */
}

void file_map_close(struct file_map *m)
{
    if (m->data) {
        munmap((void *)(uintptr_t)m->data, m->size);
        close(m->fd);
    }
    *m = (struct file_map){.fd = -1};
}

enum status file_read(const char *path, size_t limit, char **out, size_t *n)
{
    size_t size, have = 0;
    ssize_t got = 1;
    char *p;
    int fd;

    *out = NULL;
    *n = 0;
    TRY(open_file(path, &fd, &size));
    if (size > limit) {
        close(fd);
        return fail(ERR_TOO_LARGE, "%s has %zu bytes; at most %zu are read", path, size, limit);
    }
    p = xmalloc(size + 1);
    while (have < size && got > 0) { /* a file that shrinks meanwhile ends the loop early */
        got = read(fd, p + have, size - have);
        if (got > 0)
            have += (size_t)got;
        else if (got < 0 && errno == EINTR)
            got = 1;
    }
    close(fd);
    if (got < 0) {
        xfree(p);
        return fail(ERR_IO, "cannot read %s: %s", path, strerror(errno));
    }
    p[have] = '\0';
    *out = p;
    *n = have;
    return OK;
}
