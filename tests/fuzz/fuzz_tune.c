/* fuzz_tune.c - any bytes as the log of a tuning run: what is taken over of it can be written, and
 * is found again in what was written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/gpu/tune_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct tune_weight weight = {DT_Q4_0, 4096, 4096};
    struct buf log = {0}, again = {0};
    struct tune_done d, e;

    buf_append(&log, data, n);
    tune_log_matches(&log, "10de:2684 128 SM", "580.1", 1);
    if (n && tune_log_find(&log, &weight, &d)) {
        require(d.n > 0 && d.n <= TUNE_ROWS_MAX && d.n_x <= TUNE_ROWS_MAX);
        require(d.n_points <= TUNE_POINTS_MAX);
        tune_log_done(&again, &d);
        if (tune_log_find(&again, &weight, &e)) /* a ratio of 1e-9 is written as 0 */
            require(e.n == d.n && e.n_x == d.n_x && e.n_points == d.n_points);
    }
    buf_clear(&again);
    buf_clear(&log);
    return 0;
}
