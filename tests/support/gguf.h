/* gguf.h - GGUF files written by hand, value by value, so that each can lie. */
#ifndef TESTS_SUPPORT_GGUF_H
#define TESTS_SUPPORT_GGUF_H

#include "engine/load/checkpoint.h"

void gguf_u32(struct buf *b, uint32_t v);
void gguf_u64(struct buf *b, uint64_t v);
void gguf_text(struct buf *b, const char *s);
struct buf gguf_head(uint64_t tensors, uint64_t keys);
void gguf_number(struct buf *b, const char *name, uint32_t v); /* a key */

struct gguf_shape {
    uint32_t ndim;
    uint64_t dim[5];
};
void gguf_tensor(struct buf *b, const char *name, struct gguf_shape s, uint32_t type,
                 uint64_t offset);
/* Zeros up to a multiple of `align`, then `more` bytes 0, 1, 2 ... */
void gguf_pad(struct buf *b, size_t align, size_t more);

/* Opens one file of that name; b outlives the checkpoint. */
enum status gguf_borrow(const char *name, const struct buf *b, struct checkpoint **out);

#endif
