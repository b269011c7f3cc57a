/* sim_gpu.h - a model of a GPU for the tests of tuning: costs unlike the configured ones, launches
 * with quirks, one that is fast and wrong, noise with outliers, a clock that drifts and jumps. The
 * optimum is known, so what tuning finds can be judged without noise. */
#ifndef TESTS_SUPPORT_SIM_GPU_H
#define TESTS_SUPPORT_SIM_GPU_H

#include "kernels/base/arena.h"
#include "kernels/base/buf.h"
#include "kernels/gpu/config.h"
#include "kernels/gpu/tune.h"

enum { SIM_ROWS = 5, SIM_WEIGHTS = 8, SIM_ALGORITHMS = 9 }; /* of cuBLASLt, by id from 1 on */

struct sim {
    struct gpu_config truth;
    struct gpu_shape shape;
    bool quirks, wrong, wild; /* launches deviate; one is wrong; the clock changes */
    double noise, clock;      /* share; seconds */
    uint64_t draws;
    int begun, cheated; /* shapes; timings of the wrong launch */
};
extern struct sim sim;
extern struct arena sim_arena; /* of the running program */
extern struct buf sim_timings; /* the log of tuning */

extern const struct tune_device sim_device;
extern const int sim_rows[SIM_ROWS];
extern const struct tune_weight sim_weights[SIM_WEIGHTS];
extern const struct tune_options sim_all; /* these weights and rows */

int sim_set_up(void **state); /* of a program's tests */
int sim_tear_down(void **state);

/* Begins anew: this GPU as it is configured, which is returned, or, `other`, with other kernels. */
struct gpu_config sim_open_gpu(const char *id, bool other);
struct gpu_config sim_open(bool other); /* an H200 */

bool sim_is_wrong(const struct gpu_params *p);
struct gpu_lt sim_algorithm(int id);
/* Microseconds, without noise: of a launch, and of the one that `c` chooses. */
double sim_cost(const struct gpu_shape *s, const struct gpu_params *p);
double sim_cost_of(const struct gpu_config *c, const struct tune_weight *w, int m);

/* As it will be written: whole and legal. */
void sim_check_written(struct gpu_config c);

#endif
