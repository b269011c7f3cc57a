/* pass.h - one walk through a forward: the queue, the workspace, a sticky status.
 *
 * Three modes over the same code: plan (null backend: the exact peak of the workspace), run,
 * capture. After the first error every nn_ call does nothing; read `status` once at the end. A
 * forward allocates only here, in stack order: mark, allocate, release; it never synchronises and
 * never branches on device values.
 *
 * Two devices may share a network: the first layers run on one (the lower side), the others and
 * the output head on the other (the upper). A tensor then has the same offset in both workspaces,
 * so that marks stay true where the walk goes over from one to the other. A walk may leave either
 * side idle: the other then computes its part alone, with the same addresses. */
#ifndef ENGINE_NN_PASS_H
#define ENGINE_NN_PASS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/nn/batch.h"
#include "kernels/backend.h"

/* Of the devices that share a network: the main one, and the one that has the first layers. */
enum side { SIDE_UPPER, SIDE_LOWER, N_SIDE };

struct pass_next {   /* where a walk that begins on the lower side goes on */
    struct queue *q; /* NULL: it is on the upper side already */
    int layer;       /* the first that is there; as many as there are: the output head alone */
    char *work;
    size_t size;
    const struct batch *b;
    bool idle; /* of the walk from there on */
};

struct pass {
    struct queue *q;
    enum status status;
    bool idle;  /* on this side nothing is submitted: it takes its workspace, and goes on */
    char *work; /* device memory, 256-byte aligned */
    size_t size, used, peak;
    const struct batch *b;
    const int32_t *live; /* device: rows really used of the activations at hand; NULL: all */
    /* Sees the input of each matrix before it is used, for measuring on a synchronous device;
     * `live` as above. NULL: nobody looks. */
    void (*tap)(void *ctx, const struct tensor *x, const struct tensor *w, const int32_t *live);
    void *tap_ctx;
    struct pass_next next;
    size_t lower_peak; /* of the workspace on the lower side, once the walk has left it */
    /* Each side has all vectors of the network, in one order: here, on the other side, bytes. */
    const char *vectors, *other_vectors;
    size_t vector_bytes;
};

void pass_begin(struct pass *p, struct queue *q, void *work, size_t size);
/* Enough for any forward of a plan, where nothing is behind the addresses. */
#define PASS_UNBOUNDED (SIZE_MAX / 2)
/* Uninitialised device memory; after an error a view without data. Too little room is ERR_INTERNAL
 * (the plan was wrong). */
struct tensor pass_tensor(struct pass *p, enum dtype t, int64_t rows, int64_t cols);
size_t pass_mark(const struct pass *p);
void pass_release(struct pass *p, size_t mark);
/* The walk goes over to the next side: what is at hand there, and where that was before. Then, one
 * by one, the tensors that are still needed: copied, unless nobody has made them. */
struct pass_from {
    const char *work;
    bool idle;
};
struct pass_from pass_cross(struct pass *p);
void pass_carry(struct pass *p, struct pass_from from, struct tensor *t);
/* A vector of the network where this side has it. */
struct tensor pass_vector(const struct pass *p, struct tensor v);
/* Keeps the first error. */
void pass_fail(struct pass *p, enum status s);

#endif
