/* thread.h - threads, locks, and how many processors this process may really use. */
#ifndef KERNELS_BASE_THREAD_H
#define KERNELS_BASE_THREAD_H

#include <pthread.h>

#include "kernels/base/status.h"

enum status thread_start(pthread_t *t, const char *name, void *(*fn)(void *), void *arg);
/* min(affinity mask, whole processors of every cgroup v1/v2 CPU quota up the tree, one thread a
 * physical core); >= 1. */
int thread_cpus(void);
/* The same with another root than "" before /proc and /sys, for tests. */
int thread_cpus_under(const char *root);
/* Waits on `c` for at most `seconds`; false when the time ran out. The condition must come from
 * cond_init. */
void cond_init(pthread_cond_t *c); /* monotonic clock */
int cond_wait_for(pthread_cond_t *c, pthread_mutex_t *m, double seconds);

#endif
