/* mem.h - host memory. The only file that calls malloc, so that a limit or a count has one place.
 *
 * The x-functions never return NULL: they end the process with a message, because a server that
 * cannot have a few kilobytes cannot answer either. What a client can make large is bounded by its
 * reader before it gets here; model-sized memory comes from big_alloc, which can fail. */
#ifndef KERNELS_BASE_MEM_H
#define KERNELS_BASE_MEM_H

#include <stddef.h>

#include "kernels/base/status.h"

void *xmalloc(size_t bytes);
void *xcalloc(size_t n, size_t bytes); /* zeroed; n * bytes checked */
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n); /* always NUL-terminated */
void xfree(void *p);                     /* NULL is fine */

/* From now on every allocation of at least MEM_LARGE bytes is told to `taken`, on its thread; NULL:
 * no more. For tests of who takes memory when. */
enum { MEM_LARGE = 16 << 10 };
void mem_watch(void (*taken)(size_t bytes));

/* Zeroed pages aligned to 2 MiB with huge pages advised; for weights, KV, workspace. */
enum status big_alloc(size_t bytes, void **out);
void big_free(void *p, size_t bytes); /* the same bytes */

/* A read-only map of a whole file. Fails with the path and the reason. */
struct file_map {
    const unsigned char *data;
    size_t size;
    int fd;
};
enum status file_map_open(const char *path, struct file_map *m);
/* Tells the kernel that [offset, offset + bytes) is not needed any more (whole pages inside). */
void file_map_drop(const struct file_map *m, size_t offset, size_t bytes);
void file_map_close(struct file_map *m);
/* What of [p, p + bytes) is not in memory is read now, in one go; advice, so it cannot fail. */
void memory_fetch(const void *p, size_t bytes);

/* Reads a whole small file (NUL added behind it, not counted). Fails above `limit` bytes. */
enum status file_read(const char *path, size_t limit, char **out, size_t *n);

#endif
