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

void pass_fail(struct pass *p, enum status s)
{
    if (p->status == OK)
        p->status = s;
}
