/* clock.c - CLOCK_MONOTONIC for durations, CLOCK_REALTIME for dates; never mixed. */
#include "kernels/base/clock.h"

#include <time.h>

double clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t clock_unix(void)
{
    return (int64_t)time(NULL);
}
