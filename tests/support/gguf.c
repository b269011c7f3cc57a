/* gguf.c - see gguf.h. */
#include "tests/support/gguf.h"

#include <string.h>

void gguf_u32(struct buf *b, uint32_t v)
{
    buf_append(b, &v, sizeof v);
}

void gguf_u64(struct buf *b, uint64_t v)
{
    buf_append(b, &v, sizeof v);
}

void gguf_text(struct buf *b, const char *s)
{
    gguf_u64(b, strlen(s));
    buf_puts(b, s);
}

struct buf gguf_head(uint64_t tensors, uint64_t keys)
{
    struct buf b = {0};

    buf_puts(&b, "GGUF");
    gguf_u32(&b, 3);
    gguf_u64(&b, tensors);
    gguf_u64(&b, keys);
    return b;
}

void gguf_number(struct buf *b, const char *name, uint32_t v)
{
    gguf_text(b, name);
    gguf_u32(b, 4);
    gguf_u32(b, v);
}

void gguf_tensor(struct buf *b, const char *name, struct gguf_shape s, uint32_t type,
                 uint64_t offset)
{
    gguf_text(b, name);
    gguf_u32(b, s.ndim);
    for (uint32_t i = 0; i < s.ndim && i < 5; i++)
        gguf_u64(b, s.dim[i]);
    gguf_u32(b, type);
    gguf_u64(b, offset);
}

void gguf_pad(struct buf *b, size_t align, size_t more)
{
    while (b->len % align)
        buf_putc(b, 0);
    for (size_t i = 0; i < more; i++)
        buf_putc(b, (char)i);
}

enum status gguf_borrow(const char *name, const struct buf *b, struct checkpoint **out)
{
    static struct ckpt_lent lent; /* outlives the checkpoint, as the name and the bytes do */

    lent = (struct ckpt_lent){name, {b->data, b->len}};
    return checkpoint_borrow(&lent, 1, out);
}
