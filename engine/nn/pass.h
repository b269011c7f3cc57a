/* pass.h - one walk through a forward: the queue, the workspace, a sticky status.
 *
 * Three modes over the same code: plan (null backend: the exact peak of the workspace), run,
 * capture. After the first error every nn_ call does nothing; read `status` once at the end. A
 * forward allocates only here, in stack order: mark, allocate, release; it never synchronises and
 * never branches on device values. */
#ifndef ENGINE_NN_PASS_H
#define ENGINE_NN_PASS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/nn/batch.h"
#include "kernels/backend.h"

struct pass {
    struct queue *q;
    enum status status;
    char *work; /* device memory, 256-byte aligned */
    size_t size, used, peak;
    const struct batch *b;
    const int32_t *live; /* device: rows really used of the activations at hand; NULL: all */
    /* Sees the input of each matrix before it is used, for measuring on a synchronous device;
     * `live` as above. NULL: nobody looks. */
    void (*tap)(void *ctx, const struct tensor *x, const struct tensor *w, const int32_t *live);
    void *tap_ctx;
};

void pass_begin(struct pass *p, struct queue *q, void *work, size_t size);
/* Enough for any forward of a plan, where nothing is behind the addresses. */
#define PASS_UNBOUNDED (SIZE_MAX / 2)
/* Uninitialised device memory; after an error a view without data. Too little room is ERR_INTERNAL
 * (the plan was wrong). */
struct tensor pass_tensor(struct pass *p, enum dtype t, int64_t rows, int64_t cols);
size_t pass_mark(const struct pass *p);
void pass_release(struct pass *p, size_t mark);
/* Keeps the first error. */
void pass_fail(struct pass *p, enum status s);

#endif
