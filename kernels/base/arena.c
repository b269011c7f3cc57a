/* arena.c - a chain of blocks; the newest is filled, all die together.
 *
 * A block's data follows its header. What does not fit into the newest block opens the next one,
 * twice as large up to 1 MiB, or exactly as large as one big request needs. */
#include "kernels/base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { ALIGN = 16, BLOCK_MIN = 4 << 10, BLOCK_MAX = 1 << 20 };

struct arena_block {
    _Alignas(ALIGN) struct arena_block *older;
    size_t used, size; /* bytes of data */
    _Alignas(ALIGN) unsigned char data[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}

static void add_block(struct arena *a, size_t need)
{
    size_t size = a->head ? a->head->size * 2 : BLOCK_MIN;
    struct arena_block *b;

    if (size > BLOCK_MAX)
        size = BLOCK_MAX;
    if (size < need)
        size = need;
    b = xmalloc(sizeof *b + size);
    b->older = a->head;
    b->used = 0;
    b->size = size;
    a->head = b;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t need = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    void *p;

    if (need < bytes)
        need = SIZE_MAX / 2; /* refused by the limit, or by xmalloc */
    if (a->limit && (need > a->limit || a->used > a->limit - need))
        return NULL;
    if (!a->head || a->head->size - a->head->used < need)
        add_block(a, need);
    p = a->head->data + a->head->used;
    a->head->used += need;
    a->used += need;
    return p;
}

void *arena_calloc(struct arena *a, size_t bytes)
{
    void *p = arena_alloc(a, bytes);

    return p ? memset(p, 0, bytes) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);

    if (!p)
        return NULL;
    if (n)
        memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    char *p;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void arena_clear(struct arena *a)
{
    struct arena_block *b = a->head;

    while (b) {
        struct arena_block *older = b->older;

        xfree(b);
        b = older;
    }
    a->head = NULL;
    a->used = 0;
}
