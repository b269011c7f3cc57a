/* cost.h - how long a matrix product takes on a GPU, and so which launch it gets.
 *
 *     t = max((W + x + y) / (read eff.bw fill), (W passes + parts + x lines) / l2,
 *             2 M' N' K / (mma eff.fl waves)) + eff.t0 (+ eff.splitk, when K is split)
 *
 * fill: what the blocks have in flight against what the memory's latency asks for. waves: the last
 * round of blocks over the multiprocessors may leave some idle. M' N': with the padding of tiles.
 * passes, lines: how often W and x are read, all but once from L2; parts: sums of splits. That is
 * enough to rank launches; its constants are the config's. An exception of the config, which was
 * measured, wins over it.
 *
 * A weight has one number of K splits for every number of rows, so that a row's bits do not depend
 * on its company; tiles change no bits, nor does mma8, which folds what the skinny one splits. */
#ifndef KERNELS_GPU_COST_H
#define KERNELS_GPU_COST_H

#include "kernels/gpu/config.h"

struct gpu_shape {
    enum dtype w;
    int64_t m, n, k;
};

/* What a product may use: a set. */
enum gpu_may {
    GPU_MAY_LT = 1,        /* cuBLASLt is there */
    GPU_MAY_ROUND_OWN = 2, /* our own kernels may round x to what goes with W (kernels/x_type.h) */
    GPU_MAY_ROW_SCALE = 4, /* no liberty of the caller's, but of W: its rows have one scale each */
    GPU_MAY_ROUND_LT = 8,  /* products by cuBLASLt may round x likewise */
    GPU_MAY_ROUND = GPU_MAY_ROUND_OWN | GPU_MAY_ROUND_LT,
    N_GPU_MAY = 16
};

/* Microseconds. */
double gpu_cost(const struct gpu_config *c, const struct gpu_shape *s, const struct gpu_params *p);
/* No launch can be faster: its bytes at the memory's rate, its products at the best unit's. */
double gpu_bound(const struct gpu_config *c, const struct gpu_shape *s);

/* The launch of a shape; `may`: a set of enum gpu_may. */
struct gpu_params gpu_choose(const struct gpu_config *c, const struct gpu_shape *s, int may);
/* The measured exception for exactly this weight and the bucket of m, or NULL. */
const struct gpu_exception *gpu_exception_of(const struct gpu_config *c, const struct gpu_shape *s,
                                             enum x_type x);
/* Splits of K for all rows: what was measured, or what is best over decode batches. */
int gpu_splits(const struct gpu_config *c, enum dtype w, int64_t n, int64_t k);

/* How attention of such heads is cut: by them alone, so a row's bits depend on nothing else. */
struct gpu_cut gpu_cut_of(const struct gpu_config *c, int head_dim, int group);

/* Choices already made, by shape; for one thread. After a change of `config`: gpu_plan_reset. */
struct gpu_plan_row {
    struct gpu_shape shape;
    struct gpu_params params[N_GPU_MAY]; /* by what it may use */
    unsigned known;                      /* those that were asked for, a bit each */
};
struct gpu_plan {
    const struct gpu_config *config;
    const struct gpu_params *forced; /* while it is tuned: what every shape gets; else NULL */
    const struct gpu_cut *cut;       /* and every attention */
    struct gpu_plan_row *row;
};
void gpu_plan_init(struct gpu_plan *p, const struct gpu_config *c);
void gpu_plan_reset(struct gpu_plan *p);
void gpu_plan_clear(struct gpu_plan *p);
struct gpu_params gpu_plan_get(struct gpu_plan *p, const struct gpu_shape *s, int may);

#endif
