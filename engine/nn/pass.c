/* pass.c - the workspace as a stack.
 *
 * `peak` is what a plan reports and a run must then have: both walk the same code, so the invariant
 * is that a run's peak never exceeds its plan's. */
#include "engine/nn/pass.h"

enum { ALIGN = 256 }; /* what a device wants of the first byte of a tensor */

void pass_begin(struct pass *p, struct queue *q, void *work, size_t size)
{
    *p = (struct pass){.q = q, .status = OK, .work = work, .size = size};
}

struct tensor pass_tensor(struct pass *p, enum dtype t, int64_t rows, int64_t cols)
{
    size_t bytes = (dtype_row_bytes(t, cols) * (size_t)rows + ALIGN - 1) / ALIGN * ALIGN;
    struct tensor view = tensor_2d(NULL, t, rows, cols);

    if (p->status != OK)
        return view;
    if (bytes > p->size - p->used) {
        pass_fail(p, fail(ERR_INTERNAL, "workspace of %zu bytes is too small: %zu used, %zu wanted",
                          p->size, p->used, bytes));
        return view;
    }
    view.data = p->work + p->used;
    p->used += bytes;
    if (p->used > p->peak)
        p->peak = p->used;
    return view;
}

size_t pass_mark(const struct pass *p)
{
    return p->used;
}

void pass_release(struct pass *p, size_t mark)
{
    p->used = mark;
}

struct pass_from pass_cross(struct pass *p)
{
    const struct pass_from from = {p->work, p->idle};
    const struct pass_next to = p->next;
    const char *vectors = p->vectors;

    p->live = p->b && p->live == p->b->want_live ? to.b->want_live : to.b->r.live;
    p->lower_peak = p->peak;
    p->q = to.q;
    p->work = to.work;
    p->size = to.size;
    p->peak = p->used;
    p->b = to.b;
    p->idle = to.idle;
    p->next = (struct pass_next){0};
    p->vectors = p->other_vectors;
    p->other_vectors = vectors;
    return from;
}

void pass_carry(struct pass *p, struct pass_from from, struct tensor *t)
{
    const void *src = t->data;
    size_t at = (size_t)((const char *)src - from.work), bytes = tensor_bytes(t);

    t->data = p->work + at;
    if (p->status == OK && at + bytes > p->size)
        pass_fail(p, fail(ERR_INTERNAL, "workspace of %zu bytes is too small for what is carried",
                          p->size));
    if (p->status == OK && !from.idle && bytes > 0)
        pass_fail(p, p->q->dev->backend->copy(p->q, t->data, src, bytes, COPY_TO_DEVICE));
}

struct tensor pass_vector(const struct pass *p, struct tensor v)
{
    size_t at = (size_t)((uintptr_t)v.data - (uintptr_t)p->other_vectors);

    if (v.data && p->other_vectors && at < p->vector_bytes)
        v.data = (void *)((uintptr_t)p->vectors + at);
    return v;
}

void pass_fail(struct pass *p, enum status s)
{
    if (p->status == OK)
        p->status = s;
}
