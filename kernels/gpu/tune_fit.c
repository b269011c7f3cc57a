/* tune_fit.c - see tune_fit.h. Four numbers a kernel, few enough for a search along each in turn
 * with steps that shrink: no derivative of a model that has corners. */
#include "kernels/gpu/tune_fit.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/base/median.h"
#include "kernels/base/mem.h"
#include "kernels/gpu/registry.h"

enum { POINTS_MIN = 8, ROUNDS_MAX = 60 };
static const double FAR = 0.7; /* of log t: a factor of two */
static const double SHARE_MIN = 0.01, SHARE_MAX = 1.5, US_MIN = 0.01, US_MAX = 100;

struct view { /* the points of one kernel */
    const struct tune_point **p;
    int n;
};

static double loss(const struct gpu_config *c, const struct view *v)
{
    double sum = 0;
    for (int i = 0; i < v->n; i++) {
        double t = gpu_cost(c, &v->p[i]->shape, &v->p[i]->params);
        double off = fmin(fabs(log(t / v->p[i]->us)), FAR);
        sum += off * off;
    }
    return sum;
}

/* One number, up and down by a factor, as long as that helps. */
static bool better(struct gpu_config *c, const struct view *v, double *x, double by, double *least)
{
    for (int way = 0; way < 2; way++) {
        double was = *x, factor = way ? 1 / by : by;
        *x = was * factor;
        double now = loss(c, v);
        if (now < *least - 1e-12) {
            *least = now;
            return true;
        }
        *x = was;
    }
    return false;
}

static double clamp(double v, double lo, double hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static void limit(struct gpu_eff *e)
{
    e->bw = clamp(e->bw, SHARE_MIN, SHARE_MAX);
    e->fl = clamp(e->fl, SHARE_MIN, SHARE_MAX);
    e->t0_us = clamp(e->t0_us, US_MIN, US_MAX);
    e->splitk_us = clamp(e->splitk_us, US_MIN, US_MAX);
}

static void fit_kernel(struct gpu_config *c, enum gpu_kernel k, const struct view *v)
{
    static const double steps[] = {1.6, 1.25, 1.1, 1.04, 1.01, 1.003};
    struct gpu_eff *e = &c->eff[k], before = *e;
    limit(e);
    double *const x[] = {&e->bw, &e->fl, &e->t0_us, &e->splitk_us};
    double least = loss(c, v);
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++)
        for (int round = 0, moved = 1; moved && round < ROUNDS_MAX; round++) {
            moved = 0;
            for (int i = 0; i < 4; i++)
                moved |= better(c, v, x[i], steps[s], &least);
        }
    limit(e);
    if (before.splitk_us == 0) /* it has no such part */
        e->splitk_us = 0;
}

static int select_points(const struct tune_point *p, int n, enum gpu_kernel k, int64_t but,
                         struct view *out)
{
    out->n = 0;
    for (int i = 0; i < n; i++)
        if (gpu_kernel_of(p[i].shape.w, p[i].params.path) == k && p[i].shape.m != but &&
            p[i].us > 0)
            out->p[out->n++] = &p[i];
    return out->n;
}

static int fit_without(struct gpu_config *c, const struct tune_point *p, int n, int64_t but)
{
    struct view v = {xcalloc((size_t)n + 1, sizeof *v.p), 0};
    int fitted = 0;
    for (int k = 0; k < N_GPU_KERNEL; k++) /* cuBLASLt before what decodes for it */
        if (select_points(p, n, (enum gpu_kernel)k, but, &v) >= POINTS_MIN) {
            fit_kernel(c, (enum gpu_kernel)k, &v);
            fitted++;
        }
    xfree(v.p);
    return fitted;
}

int tune_fit(struct gpu_config *c, const struct tune_point *p, int n)
{
    return fit_without(c, p, n, 0);
}

double tune_fit_error(const struct gpu_config *c, const struct tune_point *p, int n, int64_t m)
{
    double *off = xcalloc((size_t)n + 1, sizeof *off), median = -1;
    int kept = 0;
    for (int i = 0; i < n; i++)
        if ((m == 0 || p[i].shape.m == m) && p[i].us > 0)
            off[kept++] = fabs(gpu_cost(c, &p[i].shape, &p[i].params) / p[i].us - 1);
    if (kept > 0)
        median = median_of(off, kept);
    xfree(off);
    return median;
}

double tune_fit_foresight(const struct gpu_config *c, const struct tune_point *p, int n, int64_t m)
{
    struct gpu_config blind = *c;
    return fit_without(&blind, p, n, m) ? tune_fit_error(&blind, p, n, m) : -1;
}
