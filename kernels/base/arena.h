/* arena.h - memory that dies together: one arena a request, a template run, a file header.
 *
 * Blocks double in size up to 1 MiB. A limit, when set, turns an allocation into NULL instead of
 * growing further: parsers of foreign bytes set one and report ERR_TOO_LARGE. One thread at a time.
 */
#ifndef KERNELS_BASE_ARENA_H
#define KERNELS_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used;  /* bytes handed out in all */
    size_t limit; /* 0: none */
};

void arena_init(struct arena *a, size_t limit);
void *arena_alloc(struct arena *a, size_t bytes);  /* 16-byte aligned; NULL only at the limit */
void *arena_calloc(struct arena *a, size_t bytes); /* zeroed */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_clear(struct arena *a); /* frees all; usable again */

#endif
