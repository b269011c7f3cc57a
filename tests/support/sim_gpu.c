/* sim_gpu.c - a model of a GPU for the tests of tuning. */
#include "tests/support/sim_gpu.h"

#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "kernels/gpu/registry.h"
#include "kernels/gpu/select.h"
#include "tests/support/logged.h"
#include "tests/support/test.h"

struct arena sim_arena;
struct buf sim_timings;

struct sim sim;

static double uniform(uint64_t a, uint64_t b)
{
    return rng_uniform(rng_philox(77, a, b).v[0]);
}

enum { LIAR = 3 }; /* of cuBLASLt's algorithms */

bool sim_is_wrong(const struct gpu_params *p)
{
    if (p->path != GPU_PATH_SKINNY)
        return sim.wrong && p->lt && p->lt->id == LIAR;
    return sim.wrong && p->nt == 2;
}

struct gpu_lt sim_algorithm(int id)
{
    return (struct gpu_lt){
        .ver = 130100, .id = id, .splitk = id > 5 ? 2 : 1, .reduction = id > 5 ? 2 : 0};
}

double sim_cost(const struct gpu_shape *s, const struct gpu_params *p)
{
    double t = gpu_cost(&sim.truth, s, p);
    if (sim.quirks)
        t *= 0.85 + 0.4 * uniform((uint64_t)(s->n * 31 + s->k * 7 + (int)s->w),
                                  (uint64_t)(p->nt * 100 + p->splits * 10 + (int)p->path +
                                             (p->lt ? p->lt->id * 1000 : 0)));
    return sim_is_wrong(p) ? t / 3 : t;
}

static enum status sim_begin(void *ctx, const struct gpu_shape *s)
{
    (void)ctx;
    sim.shape = *s;
    sim.begun++;
    sim.clock += 1e-3;
    return OK;
}

static enum status sim_check(void *ctx, const struct gpu_params *p, bool *right)
{
    (void)ctx;
    *right = !sim_is_wrong(p);
    sim.clock += 1e-4;
    return OK;
}

static enum status sim_time(void *ctx, const struct gpu_params *p, double *us)
{
    (void)ctx;
    double t = sim_cost(&sim.shape, p), u = uniform(1, sim.draws++), v = uniform(2, sim.draws++);
    sim.cheated += sim_is_wrong(p);
    if (sim.wild) /* slower by up to a fifth as it warms, and by two fifths every now and then */
        t *= 1 + 0.1 * (1 - cos(sim.clock * 3)) + (fmod(sim.clock, 0.37) > 0.25 ? 0.4 : 0);
    t *= 1 + sim.noise * sqrt(-2 * log(u)) * cos(6.2831853 * v);
    if (uniform(3, sim.draws++) < 0.02 && sim.noise > 0) /* another program */
        t *= 3;
    sim.clock += t * 20e-6;
    *us = t;
    return OK;
}

static int sim_algorithms(void *ctx, struct gpu_lt *out, int most)
{
    (void)ctx;
    int n = 0;
    for (; n < SIM_ALGORITHMS && n < most; n++)
        out[n] = sim_algorithm(n + 1);
    return n;
}

static double sim_now(void *ctx)
{
    (void)ctx;
    return sim.clock;
}

const struct tune_device sim_device = {NULL,     sim_begin,      sim_check,
                                       sim_time, sim_algorithms, sim_now};
const int sim_rows[SIM_ROWS] = {1, 8, 16, 64, 256};
const struct tune_weight sim_weights[SIM_WEIGHTS] = {
    {DT_BF16, 6144, 4096},  {DT_BF16, 4096, 14336},  {DT_Q4_0, 4096, 4096}, {DT_Q4_0, 4096, 14336},
    {DT_Q4_0, 28672, 4096}, {DT_Q6_K, 128256, 4096}, {DT_Q8_0, 1152, 896},  {DT_Q4_K, 896, 4864},
};
const struct tune_options sim_all = {.weights = sim_weights,
                                     .n_weights = SIM_WEIGHTS,
                                     .rows = sim_rows,
                                     .n_rows = SIM_ROWS,
                                     .lt = true};

struct gpu_config sim_open_gpu(const char *id, bool other)
{
    struct gpu_config *builtin, c = {0};
    int n;
    buf_reset(&sim_timings);
    assert_int_equal(gpu_builtins(&sim_arena, &builtin, &n), OK);
    for (int i = 0; i < n; i++)
        if (strcmp(builtin[i].id, id) == 0)
            c = builtin[i];
    assert_non_null(c.id);
    sim = (struct sim){.truth = c, .noise = 0.01};
    if (other) {
        sim.truth.ceil.latency_us *= 2;
        sim.truth.ceil.l2_gbs *= 0.7;
        for (int i = 0; i <= GPU_SKINNY_ANY; i++) {
            sim.truth.eff[i].bw *= 0.8;
            sim.truth.eff[i].fl *= 1.3;
            sim.truth.eff[i].splitk_us *= 0.5;
        }
    }
    tune_log_begin(&sim_timings, "sim", "1", 130100);
    return c;
}

struct gpu_config sim_open(bool other)
{
    return sim_open_gpu("h200", other);
}

double sim_cost_of(const struct gpu_config *c, const struct tune_weight *w, int m)
{
    struct gpu_shape s = {w->w, m, w->n, w->k};
    struct gpu_params p = gpu_choose(c, &s, true);
    return sim_is_wrong(&p) ? INFINITY : sim_cost(&s, &p);
}

void sim_check_written(struct gpu_config c)
{
    struct gpu_config again;
    struct buf text = {0};
    c.from =
        (struct gpu_provenance){GPU_MEASURED,
                                "2026-11-21",
                                "",
                                "",
                                "tune",
                                "1",
                                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                                gpu_kernel_abi(),
                                "read_gbs",
                                1,
                                13000,
                                130100,
                                1,
                                1,
                                1,
                                0,
                                0};
    gpu_config_write(&text, &c);
    if (gpu_config_read(&sim_arena, text.data, text.len, &again) != OK || gpu_check(&again) != OK)
        fail_msg("%s", fail_text());
    buf_clear(&text);
}

int sim_set_up(void **state)
{
    (void)state;
    arena_init(&sim_arena, 0);
    log_hear(LOG_WARN); /* of wrong launches there are many */
    return 0;
}

int sim_tear_down(void **state)
{
    (void)state;
    arena_clear(&sim_arena);
    buf_clear(&sim_timings);
    return 0;
}
