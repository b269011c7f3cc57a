/* tune.h - measures the launches of matrix products and keeps those that are faster than what the
 * configuration has.
 *
 * What is measured stands behind struct tune_device: a GPU (tune_backend.c), or in tests a model of
 * one with noise, drifting clocks and a known optimum. For each weight shape every launch that
 * exists, those of cuBLASLt's algorithms too, is checked first (fast and wrong is common), then
 * timed in shuffled rounds between two timings of the present choice: only ratios within a round
 * count, and a round during which the clock changed is thrown away. The best then meets the present
 * choice in turns, A B B A, and replaces it when the confidence intervals are apart and 3 % are
 * gained. So tuning never ends slower than it began, whatever the machine does in between.
 *
 * A weight keeps one number of K splits: it changes for all tuned numbers of rows, or for none. */
#ifndef KERNELS_GPU_TUNE_H
#define KERNELS_GPU_TUNE_H

#include "kernels/gpu/cost.h"

struct tune_device {
    void *ctx;
    /* Makes operands of this shape ready. */
    enum status (*begin)(void *ctx, const struct gpu_shape *s);
    /* *right: the launch computes what it must. */
    enum status (*check)(void *ctx, const struct gpu_params *p, bool *right);
    /* Microseconds of one product, the mean of a few; memory is as cold as in a forward. */
    enum status (*time)(void *ctx, const struct gpu_params *p, double *us);
    /* cuBLASLt's algorithms for the launch that was checked last. Their number. May be NULL. */
    int (*algorithms)(void *ctx, struct gpu_lt *out, int most);
    double (*now)(void *ctx); /* seconds */
};

struct tune_weight {
    enum dtype w;
    int64_t n, k;
};

struct tune_progress {
    int done, total; /* weights */
    const struct tune_weight *weight;
    double elapsed, left; /* seconds; left is an estimate, negative: unknown */
    double gain;          /* geometric mean of speed after / before, so far */
};

struct tune_options {
    const struct tune_weight *weights;
    int n_weights;
    const int *rows; /* buckets */
    int n_rows;
    bool lt;                     /* cuBLASLt is there */
    enum x_type x;               /* what products may round to, where their weights go with it */
    bool quick;                  /* fewer rounds */
    double budget;               /* seconds; 0: as long as it takes */
    const struct gpu_ceil *ceil; /* as measured now, which the configuration gets; NULL: its own */
    void (*progress)(void *ctx, const struct tune_progress *);
    void *ctx;
};

struct tune_result {
    int weights;  /* that are done, those of an earlier run included */
    int shapes;   /* weights times rows */
    int changed;  /* shapes that got another launch */
    int rejected; /* launches that were wrong */
    int dropped;  /* rounds thrown away */
    double gain, worst;
    int crossed;      /* crossovers between paths that are new */
    int fitted;       /* kernels whose efficiencies are new */
    double off;       /* median of |modelled / measured - 1| after the fit */
    double foresight; /* the same for `unseen` rows, by a fit to all others; < 0: none */
    int unseen;
    bool complete;
};

enum { TUNE_ROWS_MAX = 24, TUNE_EXCEPTIONS_MAX = 2048 };

/* What a product with such a weight may use, rows of one scale taken for granted: a set of enum
 * gpu_may; and whose exceptions it gets. */
int tune_may(const struct tune_options *o, enum dtype w);
enum x_type tune_x(const struct tune_options *o, enum dtype w);

/* Puts what is faster into c->gemm, takes the ceilings and fits the efficiencies of kernels that
 * were measured, and crossovers between paths; a launch that was measured stays what it was
 * whatever the model then says. `log`
 * gets a line of JSON for each timing; what it holds of an earlier run with the same header is not
 * measured again. New exceptions lie in `a`. */
enum status tune_run(const struct tune_device *d, const struct tune_options *o, struct arena *a,
                     struct gpu_config *c, struct buf *log, struct tune_result *out);
/* Times each exception against what the model would take. ERR_INVALID: more than 2 % of them are
 * more than 5 % slower, or all together are no faster. */
enum status tune_verify(const struct tune_device *d, const struct tune_options *o,
                        const struct gpu_config *c, struct tune_result *out);

/* The first line of a log: what its timings are of. */
void tune_log_begin(struct buf *log, const char *gpu, const char *driver, int cublaslt);
/* Does `log` begin with that line? */
bool tune_log_matches(const struct buf *log, const char *gpu, const char *driver, int cublaslt);

#endif
