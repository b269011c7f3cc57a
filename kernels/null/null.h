/* null.h - a device without arithmetic or memory: it checks, counts and runs nothing.
 *
 * The memory plan runs a whole forward on it: addresses are real reservations of address space
 * without pages behind them, so touching one faults. The numbers are those of the device it stands
 * in for, when it is opened by null_like. */
#ifndef KERNELS_NULL_NULL_H
#define KERNELS_NULL_NULL_H

#include "kernels/backend.h"

struct null_count {
    int64_t calls;
    double flops; /* multiplications and additions */
    double bytes; /* read and written once each: weights, activations, KV of the sequences' own
                     rows (lengths lie in device memory, which nobody can read here) */
};

struct null_stats {
    struct null_count op[N_OP];
    size_t region[N_REGION]; /* bytes taken */
    int64_t copies;
    double copy_bytes;
};

/* A null device that answers info and can as `like` does (its backend, ISA, layouts), and tells it
 * of every op (backend.reserve); `like` is borrowed and must outlive it. `like` NULL stands in
 * for nothing: plain layouts. The same as to open it with device_options.like. */
enum status null_like(struct device *like, struct device **out);
const struct null_stats *null_stats(const struct device *dev);
void null_reset(struct device *dev); /* counts to zero, regions kept */

#endif
