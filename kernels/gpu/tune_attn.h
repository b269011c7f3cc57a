/* tune_attn.h - measures how attention's positions are best cut into parts, for a model's heads.
 *
 * A cut is one for all batches and contexts, since a row's bits depend on it: it replaces the
 * present one when none of the measured cases is slower and all together are 3 % faster. */
#ifndef KERNELS_GPU_TUNE_ATTN_H
#define KERNELS_GPU_TUNE_ATTN_H

#include "kernels/gpu/tune.h"

struct tune_heads {
    int head_dim, heads, kv_heads;
};

struct tune_step { /* so many sequences with `rows` each, the last at position context - 1 */
    int seqs, rows, context;
};

struct tune_attn_device {
    void *ctx;
    /* Makes the operands ready; ERR_NO_MEMORY: they do not fit, and the case is left out. */
    enum status (*begin)(void *ctx, const struct tune_heads *h, const struct tune_step *s);
    enum status (*check)(void *ctx, const struct gpu_cut *cut, bool *right);
    enum status (*time)(void *ctx, const struct gpu_cut *cut, double *us);
};

struct tune_attn_options {
    const struct tune_heads *heads;
    int n_heads;
    const struct tune_step *steps;
    int n_steps; /* at most TUNE_STEPS_MAX */
    bool quick;
};

struct tune_attn_result {
    int heads, changed, rejected, dropped; /* cuts that were wrong; rounds thrown away */
    double gain;                           /* geometric mean of speed after / before */
};

enum { TUNE_STEPS_MAX = 12 };

/* Puts the cuts that are faster into c->attn, which comes to lie in `a`. `timings` as tune_run's,
 * whose file may be the same. */
enum status tune_attn_run(const struct tune_attn_device *d, const struct tune_attn_options *o,
                          struct arena *a, struct gpu_config *c, struct buf *timings,
                          struct tune_attn_result *out);
/* Each of c->attn against the cut that it replaces: as tune_verify. */
enum status tune_attn_verify(const struct tune_attn_device *d, const struct tune_attn_options *o,
                             const struct gpu_config *c, struct tune_attn_result *out);

#endif
