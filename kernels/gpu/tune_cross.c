/* tune_cross.c - see tune_cross.h. A crossover is a threshold: our own kernels up to so many rows,
 * cuBLASLt above. The best one has the least sum, over all buckets of rows up to it, of log(own /
 * cuBLASLt), a mean over the weights of the class: so one bucket that is odd, as padding makes
 * them, does not decide. */
#include "kernels/gpu/tune_cross.h"

#include <math.h>

#include "kernels/gpu/registry.h"

enum way { BY_SKINNY, BY_OWN, BY_LT, N_WAY }; /* own: the skinny kernel or mma8 */
enum { NEVER_US = 10000 };                    /* that a launch takes which is not to be taken */

/* The model, with nothing measured and everything that is asked for by one way. */
struct models {
    struct gpu_config way[N_WAY];
};

static void make_models(const struct gpu_config *c, struct models *m)
{
    int last = gpu_buckets[gpu_n_buckets() - 1];
    for (int w = 0; w < N_WAY; w++) {
        struct gpu_config *to = &m->way[w];
        *to = *c;
        to->n_gemm = 0;
        for (int k = GPU_SKINNY_16; k <= GPU_SKINNY_ANY; k++) {
            enum gpu_kernel mma8 = gpu_mma8_kernel((enum gpu_kernel)k);
            to->skinny_max_m[k] = w == BY_LT ? 0 : last;
            to->mma8_max_m[k] = 0;
            if (w == BY_SKINNY && mma8 != N_GPU_KERNEL)
                to->eff[mma8].t0_us = NEVER_US;
        }
    }
}

static bool is_way(enum gpu_path path, enum way w)
{
    if (w == BY_LT)
        return path == GPU_PATH_LT || path == GPU_PATH_DEQUANT_LT;
    return path == GPU_PATH_SKINNY || (w == BY_OWN && path == GPU_PATH_MMA8);
}

static bool same_weight(const struct gpu_shape *a, const struct gpu_shape *b)
{
    return a->w == b->w && a->n == b->n && a->k == b->k;
}

/* The least that was measured; infinite: nothing. */
static double measured(const struct tune_point *p, int n, const struct gpu_shape *s, enum way w)
{
    double least = INFINITY;
    for (int i = 0; i < n; i++)
        if (p[i].shape.m == s->m && same_weight(&p[i].shape, s) && is_way(p[i].params.path, w))
            least = fmin(least, p[i].us);
    return least;
}

/* log(this way / cuBLASLt); by what was measured where both were. */
static double ahead(const struct models *m, const struct tune_point *p, int n,
                    const struct gpu_shape *s, enum way w)
{
    double own = measured(p, n, s, w), lt = measured(p, n, s, BY_LT);
    if (isfinite(own) && isfinite(lt))
        return log(own / lt);
    struct gpu_params a = gpu_choose(&m->way[w], s, false), b = gpu_choose(&m->way[BY_LT], s, true);
    return log(gpu_cost(&m->way[w], s, &a) / gpu_cost(&m->way[BY_LT], s, &b));
}

/* Is this the first point of its weight, of the class, and were both ways measured for it? */
static bool counts(const struct tune_point *p, int n, int i, enum gpu_kernel class)
{
    const struct gpu_shape *s = &p[i].shape;
    if (gpu_skinny_of(s->w) != class || gpu_is_floats(s->w))
        return false;
    for (int j = 0; j < i; j++)
        if (same_weight(&p[j].shape, s))
            return false;
    for (int j = i; j < n; j++)
        if (same_weight(&p[j].shape, s) && is_way(p[j].params.path, BY_LT) &&
            isfinite(measured(p, n, &p[j].shape, BY_OWN)))
            return true;
    return false;
}

/* The threshold of a class; 0: nothing was measured that could say it. */
static int threshold(const struct models *m, const struct tune_point *p, int n,
                     enum gpu_kernel class, enum way w)
{
    double sum = 0, least = 0;
    int best = gpu_buckets[0], weights = 0;
    for (int b = 0; b < gpu_n_buckets(); b++) {
        double mean = 0;
        weights = 0;
        for (int i = 0; i < n; i++)
            if (counts(p, n, i, class)) {
                struct gpu_shape s = p[i].shape;
                s.m = gpu_buckets[b];
                mean += ahead(m, p, n, &s, w);
                weights++;
            }
        if (weights == 0)
            return 0;
        sum += mean / weights;
        if (sum < least) {
            least = sum;
            best = gpu_buckets[b];
        }
    }
    return best;
}

int tune_cross(struct gpu_config *c, const struct tune_point *p, int n)
{
    struct models m;
    int changed = 0;
    make_models(c, &m);
    for (int k = GPU_SKINNY_16; k <= GPU_SKINNY_ANY; k++) {
        enum gpu_kernel class = (enum gpu_kernel)k;
        int skinny = threshold(&m, p, n, class, BY_SKINNY);
        if (skinny == 0)
            continue;
        changed += skinny != c->skinny_max_m[k];
        c->skinny_max_m[k] = skinny;
        if (gpu_mma8_kernel(class) == N_GPU_KERNEL)
            continue;
        int own = threshold(&m, p, n, class, BY_OWN);
        own = own > GPU_MMA8_MIN_M ? own : 0;
        changed += own != c->mma8_max_m[k];
        c->mma8_max_m[k] = own;
    }
    return changed;
}
