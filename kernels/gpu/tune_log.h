/* tune_log.h - the raw timings of a tuning run, one JSON object a line, and what of them a later
 * run takes over. */
#ifndef KERNELS_GPU_TUNE_LOG_H
#define KERNELS_GPU_TUNE_LOG_H

#include "kernels/gpu/tune.h"
#include "kernels/gpu/tune_fit.h"

enum { TUNE_POINTS_MAX = 8 * TUNE_ROWS_MAX };

/* A weight that is done. */
struct tune_done {
    struct tune_weight weight;
    struct gpu_exception x[TUNE_ROWS_MAX]; /* its exceptions now */
    int n_x;
    double m[TUNE_ROWS_MAX];     /* the rows that were measured */
    double ratio[TUNE_ROWS_MAX]; /* time after / before, for each number of rows */
    double us[TUNE_ROWS_MAX];    /* of the choice now */
    int n;
    struct tune_point point[TUNE_POINTS_MAX]; /* what the cost model is fitted to */
    int n_points;
    int changed, rejected, dropped;
};

void tune_log_ratio(struct buf *log, const struct gpu_shape *s, const struct gpu_params *p,
                    const double *ratio, int n);
void tune_log_done(struct buf *log, const struct tune_done *d);
/* The line of this weight, from the end; false: there is none, or it cannot be read. */
bool tune_log_find(const struct buf *log, const struct tune_weight *w, struct tune_done *out);

/* Heads whose attention is done; x NULL: nothing was faster. */
void tune_log_attn(struct buf *log, int head_dim, int group, const struct gpu_attn *x);
/* The line of these heads; *found, and the rest of *x: with a better cut. */
bool tune_log_find_attn(const struct buf *log, struct gpu_attn *x, bool *found);

#endif
