/* late.h - a backend whose work happens late: ops and copies are recorded with copies of their
 * arguments and run on the CPU only when a fence is polled or waited for, in order, a random number
 * at a time. What must not be relied on (that an op ran when its call returned) then fails. */
#ifndef TESTS_SUPPORT_LATE_H
#define TESTS_SUPPORT_LATE_H

#include "kernels/backend.h"

extern const struct backend backend_late;

void late_seed(uint64_t seed);            /* of devices opened from now on */
int late_pending(const struct device *d); /* recorded and not yet run */
int late_unready(const struct device *d); /* polls that found their fence not done */

#endif
