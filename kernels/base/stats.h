/* stats.h - counters, gauges and histograms that any thread may add to; /v1/metrics prints them. */
#ifndef KERNELS_BASE_STATS_H
#define KERNELS_BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

struct counter {
    _Atomic uint64_t n;
};
void counter_add(struct counter *c, uint64_t n);
uint64_t counter_get(const struct counter *c);

struct gauge {
    _Atomic int64_t n;
};
void gauge_set(struct gauge *g, int64_t n);
void gauge_add(struct gauge *g, int64_t n);
int64_t gauge_get(const struct gauge *g);

enum { HISTOGRAM_MAX = 24 };
struct histogram {
    const double *bound; /* ascending upper bounds, n_bound of them */
    int n_bound;
    _Atomic uint64_t bucket[HISTOGRAM_MAX + 1]; /* not cumulative; the last is above all bounds */
    _Atomic uint64_t sum_nano;                  /* sum of the values in units of 1e-9 */
};
void histogram_init(struct histogram *h, const double *bound,
                    int n_bound); /* bound: static storage */
void histogram_add(struct histogram *h, double v);

#endif
