/* test_gpu_tune_attn.c - tuning attention on a model of a GPU with a known best cut, one that is
 * fast and wrong, noise and a clock that jumps. */
#include "kernels/gpu/tune_attn.h"

#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "kernels/gpu/registry.h"
#include "kernels/gpu/select.h"
#include "tests/support/test.h"

static struct arena arena;
static struct buf timings;

static struct sim {
    struct tune_step step;
    struct gpu_cut best;
    bool lone; /* one sequence wants quite another cut */
    double noise, clock;
    uint64_t draws;
    int begun;
} sim;

static const struct gpu_cut liar = {64, 8};

static double true_us(const struct gpu_cut *cut, const struct tune_step *s)
{
    double a = log2((double)cut->chunk / sim.best.chunk);
    double b = log2((double)cut->parts / sim.best.parts);
    if (sim.lone && s->seqs == 1)
        a = log2(cut->chunk / 64.0);
    return 10.0 * s->seqs * (1 + 0.05 * a * a + 0.02 * b * b);
}

static enum status sim_begin(void *ctx, const struct tune_heads *h, const struct tune_step *s)
{
    (void)ctx;
    sim.step = *s;
    sim.begun++;
    return s->context > 100000 || h->heads > 1000 ? fail(ERR_NO_MEMORY, "too large") : OK;
}

static bool is_liar(const struct gpu_cut *cut)
{
    return cut->chunk == liar.chunk && cut->parts == liar.parts;
}

static enum status sim_check(void *ctx, const struct gpu_cut *cut, bool *right)
{
    (void)ctx;
    *right = !is_liar(cut);
    return OK;
}

static enum status sim_time(void *ctx, const struct gpu_cut *cut, double *us)
{
    (void)ctx;
    double u = rng_uniform(rng_philox(5, sim.draws++, 0).v[0]);
    double v = rng_uniform(rng_philox(5, sim.draws++, 0).v[0]);
    *us = is_liar(cut) ? 1 : true_us(cut, &sim.step);
    sim.clock += *us * 1e-5;
    *us *= 1 + sim.noise * sqrt(-2 * log(u)) * cos(6.2831853 * v);
    *us *= fmod(sim.clock, 0.37) > 0.25 && sim.noise > 0 ? 1.4 : 1;
    return OK;
}

static const struct tune_attn_device device = {NULL, sim_begin, sim_check, sim_time};
static const struct tune_heads heads[] = {{128, 32, 8}, {64, 14, 2}};
static const struct tune_step steps[] = {
    {1, 1, 2176}, {64, 1, 2176}, {1, 512, 1024}, {1, 1, 1 << 20}};
static const struct tune_attn_options all = {heads, 2, steps, 4, false};

static struct gpu_config open_sim(int chunk, int parts)
{
    struct gpu_config *builtin, c = {0};
    int n;
    assert_int_equal(gpu_builtins(&arena, &builtin, &n), OK);
    for (int i = 0; i < n; i++)
        if (strcmp(builtin[i].id, "h200") == 0)
            c = builtin[i];
    c.attn_chunk = chunk;
    c.attn_parts = parts;
    sim = (struct sim){.best = {256, 16}, .noise = 0.01};
    buf_reset(&timings);
    return c;
}

static void test_finds_the_best(void **state)
{
    struct tune_attn_result r;
    struct buf text = {0};
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct gpu_config c = open_sim(1024, 64), again;
        sim.draws = seed << 32;
        assert_int_equal(tune_attn_run(&device, &all, &arena, &c, &timings, &r), OK);
        assert_int_equal(r.heads, 2);
        assert_int_equal(r.changed, 2);
        assert_true(r.rejected >= 2 && r.gain > 1.15);
        struct gpu_cut cut = gpu_cut_of(&c, 128, 4), other = gpu_cut_of(&c, 128, 1);
        assert_true(true_us(&cut, &steps[0]) < 10.4);
        assert_int_equal(other.chunk, 1024); /* of heads that were not measured */
        c.from = (struct gpu_provenance){.kind = GPU_MEASURED,
                                         .date = "2026-11-21",
                                         .how = "",
                                         .parent = "",
                                         .tool = "tune",
                                         .driver = "1",
                                         .raw_sha256 = "0123456789abcdef0123456789abcdef"
                                                       "0123456789abcdef0123456789abcdef",
                                         .kernel_abi = gpu_kernel_abi(),
                                         .ceilings = "",
                                         .cuda = 13000};
        buf_reset(&text);
        gpu_config_write(&text, &c);
        if (gpu_config_read(&arena, text.data, text.len, &again) != OK || gpu_check(&again) != OK)
            fail_msg("%s", fail_text());
        assert_int_equal(gpu_choices_of(&again).attn, 2);
        assert_int_equal(gpu_cut_of(&again, 64, 7).chunk, gpu_cut_of(&c, 64, 7).chunk);
        again.attn[1] = again.attn[0];
        assert_int_equal(gpu_check(&again), ERR_FORMAT);
        assert_non_null(strstr(fail_text(), "the same heads"));
        again.n_attn = 1;
        again.attn[0].cut.chunk = 100;
        assert_int_equal(gpu_check(&again), ERR_FORMAT);
        assert_non_null(strstr(fail_text(), "multiple of 64"));
    }
    buf_clear(&text);
}

/* Nothing is changed where the present cut is the best, nor where one of the cases would lose. */
static void test_leaves_alone(void **state)
{
    struct tune_attn_result r;
    struct gpu_config c = open_sim(256, 16);
    (void)state;
    assert_int_equal(tune_attn_run(&device, &all, &arena, &c, &timings, &r), OK);
    assert_int_equal(r.changed, 0);
    assert_int_equal(c.n_attn, 0);
    c = open_sim(64, 16);
    sim.lone = true;
    assert_int_equal(tune_attn_run(&device, &all, &arena, &c, &timings, &r), OK);
    assert_int_equal(r.changed, 0);
}

/* What the timings hold is not measured again; a line that was cut off does not count. */
static void test_resume(void **state)
{
    struct tune_attn_result r;
    struct tune_attn_options one = all;
    struct gpu_config c = open_sim(1024, 64), d = c;
    (void)state;
    one.n_heads = 1;
    assert_int_equal(tune_attn_run(&device, &one, &arena, &c, &timings, &r), OK);
    buf_puts(&timings, "{\"heads\":[64,7],\"attn\":[{\"d\":64,");
    buf_puts(&timings, "\n");
    int begun = sim.begun;
    assert_int_equal(tune_attn_run(&device, &all, &arena, &d, &timings, &r), OK);
    assert_int_equal(sim.begun - begun, begun);
    assert_int_equal(r.changed, 2);
    assert_int_equal(gpu_cut_of(&d, 128, 4).chunk, gpu_cut_of(&c, 128, 4).chunk);
    begun = sim.begun;
    assert_int_equal(tune_attn_run(&device, &all, &arena, &d, &timings, &r), OK);
    assert_int_equal(sim.begun, begun);
}

static void test_verify(void **state)
{
    struct tune_attn_result r;
    struct gpu_config c = open_sim(1024, 64);
    struct gpu_attn wrong = {128, 4, {64, 64}, 1, 2, 0};
    (void)state;
    assert_int_equal(tune_attn_run(&device, &all, &arena, &c, &timings, &r), OK);
    assert_int_equal(tune_attn_verify(&device, &all, &c, &r), OK);
    assert_true(r.heads == 2 && r.gain > 1.1);
    c.attn_chunk = 256;
    c.attn_parts = 16;
    c.attn = &wrong;
    c.n_attn = 1;
    assert_int_equal(tune_attn_verify(&device, &all, &c, &r), ERR_INVALID);
    assert_non_null(strstr(fail_text(), "of the speed without"));
    wrong.cut = liar;
    assert_int_equal(tune_attn_verify(&device, &all, &c, &r), ERR_INVALID);
    assert_non_null(strstr(fail_text(), "another result"));
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_clear(&arena);
    buf_clear(&timings);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_best),
        cmocka_unit_test(test_leaves_alone),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_verify),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
