/* pool.h - the threads that share an op's work: stages of chunks taken from a counter.
 *
 * A stage is one function over n chunks; whoever is free takes the next chunk, so a thread that
 * lost its core delays one chunk and not the stage. Between pool_begin and pool_end the workers
 * stay awake for the next stage (they spin 50 us, then sleep on a futex); outside they sleep at
 * once. Results must not depend on which thread ran a chunk. One thread (the caller) drives a pool.
 *
 * Floating point: every chunk runs with subnormals flushed to zero, on every thread. */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include <stdint.h>

#include "kernels/base/status.h"

struct pool;

/* fn(arg, chunk, worker): chunk in [0, n), worker in [0, threads), one chunk at a time each. */
typedef void pool_fn(void *arg, int64_t chunk, int worker);

enum status pool_open(int threads, struct pool **out); /* 0: thread_cpus(); never more than that
                                                          unless asked for by number */
void pool_close(struct pool *p);
int pool_threads(const struct pool *p);
void pool_begin(struct pool *p); /* a step begins: workers stay awake; flushes subnormals */
void pool_end(struct pool *p);   /* it ends: workers sleep; restores the caller's mode */
void pool_run(struct pool *p, int64_t n, pool_fn *fn, void *arg); /* returns when all are done */

#endif
