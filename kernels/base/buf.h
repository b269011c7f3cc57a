/* buf.h - a growing byte string, and a borrowed one. */
#ifndef KERNELS_BASE_BUF_H
#define KERNELS_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct bytes { /* borrowed; not NUL-terminated */
    const char *p;
    size_t n;
};

struct buf { /* zero-initialised is empty; data is NUL-terminated once anything was appended */
    char *data;
    size_t len, cap;
};

void buf_append(struct buf *b, const void *data, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_reserve(struct buf *b, size_t more); /* room for `more` bytes without another move */
void buf_drop(struct buf *b, size_t n);       /* removes the first n bytes */
void buf_reset(struct buf *b);                /* empty, memory kept */
void buf_clear(struct buf *b);                /* empty, memory freed */

struct bytes bytes_of(const char *s); /* of a C string; NULL gives {NULL, 0} */
bool bytes_equal(struct bytes a, const char *s);

#endif
