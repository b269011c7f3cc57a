/* check.h - before a model is served, every kernel that it will run computes tiny shapes, which are
 * compared with the naive CPU ops: a GPU, driver or compiler that computes wrongly is found before
 * anyone reads its answers. */
#ifndef KERNELS_CUDA_CHECK_H
#define KERNELS_CUDA_CHECK_H

#include "kernels/cuda/cuda.h"

enum { CUDA_HEADS_MAX = 8 };

struct cuda_used {           /* bit t: enum dtype t */
    uint64_t linear, tables; /* formats of weights, and of tables that rows are looked up in */
    uint64_t rounded;        /* of weights whose products may round x */
    uint64_t row_scaled;     /* and whose rows have one scale each */
    struct cuda_heads {
        enum dtype kv;
        int dim;
    } heads[CUDA_HEADS_MAX]; /* of attention: types of its pages, sizes of its heads */
    int n_heads;
};

/* Sets q->refused where a wrong kernel has a replacement, and says so; ERR_DEVICE names one that
 * has none, or with q->strict any. `where`: a folder that remembers what was found for this GPU,
 * driver and build; or NULL. */
enum status cuda_self_check(struct cuda_queue *q, const struct cuda_used *used, const char *gpu,
                            const char *where);

#endif
