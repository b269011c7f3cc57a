/* stats.c - relaxed atomics: each number is exact, numbers read together need not agree. */
#include "kernels/base/stats.h"

void counter_add(struct counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(&c->n, n, memory_order_relaxed);
}

uint64_t counter_get(const struct counter *c)
{
    return atomic_load_explicit(&c->n, memory_order_relaxed);
}

void gauge_set(struct gauge *g, int64_t n)
{
    atomic_store_explicit(&g->n, n, memory_order_relaxed);
}

void gauge_add(struct gauge *g, int64_t n)
{
    atomic_fetch_add_explicit(&g->n, n, memory_order_relaxed);
}

int64_t gauge_get(const struct gauge *g)
{
    return atomic_load_explicit(&g->n, memory_order_relaxed);
}

void histogram_init(struct histogram *h, const double *bound, int n_bound)
{
    h->bound = bound;
    h->n_bound = n_bound < HISTOGRAM_MAX ? n_bound : HISTOGRAM_MAX;
    for (int i = 0; i <= HISTOGRAM_MAX; i++)
        atomic_init(&h->bucket[i], 0);
    atomic_init(&h->sum_nano, 0);
}

void histogram_add(struct histogram *h, double v)
{
    int i = 0;

    if (!(v > 0)) /* durations and counts only; NaN counts as zero */
        v = 0;
    while (i < h->n_bound && v > h->bound[i]) /* a bound belongs to its bucket: "le" */
        i++;
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_nano, (uint64_t)(v * 1e9 + 0.5), memory_order_relaxed);
}
