/* test_gpu_tune.c - tuning on a model of a GPU (support/sim_gpu.h): it finds the optimum, makes
 * nothing slower, times nothing that is wrong, and goes on where it was ended.
 * test_gpu_tune_fit.c has what a run says of shapes that it did not time. */
#include "kernels/gpu/tune.h"

#include <math.h>
#include <string.h>

#include "kernels/gpu/registry.h"
#include "tests/support/sim_gpu.h"
#include "tests/support/test.h"

/* Microseconds of the best right launch of a shape: by cuBLASLt, or by a tile with these splits. */
static double least_of(const struct gpu_shape *s, int splits)
{
    struct gpu_params lt = {s->w == DT_BF16 ? GPU_PATH_LT : GPU_PATH_DEQUANT_LT, 0, 0, 0, 1, NULL};
    double least = sim_cost(s, &lt);
    for (int id = 1; id <= SIM_ALGORITHMS; id++) {
        struct gpu_lt a = sim_algorithm(id);
        lt.lt = &a;
        if (!sim_is_wrong(&lt))
            least = fmin(least, sim_cost(s, &lt));
    }
    for (int j = 0; j < gpu_n_tiles(); j++) {
        struct gpu_params p = {GPU_PATH_SKINNY, gpu_tiles[j].nt, gpu_tiles[j].r, 4, splits, NULL};
        bool built = s->m <= GPU_LARGE_M || splits == 1 || p.nt == 8;
        if (built && !sim_is_wrong(&p))
            least = fmin(least, sim_cost(s, &p));
    }
    return least;
}

/* log of the best that one number of splits for the weight allows, summed over rows. */
static double optimum(const struct tune_weight *w)
{
    double best = INFINITY;
    for (int splits = 1; splits <= GPU_SPLITS_MAX; splits++) {
        double sum = 0;
        if (splits > 1 && splits * GPU_SPLIT_CHUNKS > (w->k + 63) / 64)
            break;
        for (int i = 0; i < SIM_ROWS; i++)
            sum += log(least_of(&(struct gpu_shape){w->w, sim_rows[i], w->n, w->k}, splits));
        best = fmin(best, sum);
    }
    return best;
}

/* No shape is slower than before by more than noise can hide; mean distance to the optimum. */
static double judge(const struct gpu_config *before, const struct gpu_config *after)
{
    double from_best = 0;
    for (int i = 0; i < SIM_WEIGHTS; i++) {
        double sum = 0;
        for (int j = 0; j < SIM_ROWS; j++) {
            double was = sim_cost_of(before, &sim_weights[i], sim_rows[j]);
            double is = sim_cost_of(after, &sim_weights[i], sim_rows[j]);
            if (is > was * 1.02)
                fail_msg("weight %d, %d rows: %.2f us, was %.2f", i, sim_rows[j], is, was);
            sum += log(is);
        }
        from_best += sum - optimum(&sim_weights[i]);
    }
    return exp(from_best / (SIM_WEIGHTS * SIM_ROWS));
}

static void test_finds_the_optimum(void **state)
{
    (void)state;
    for (int wild = 0; wild < 2; wild++) {
        struct tune_result r;
        struct gpu_config before = sim_open(true), after = before;
        sim.quirks = sim.wrong = true;
        sim.wild = wild;
        assert_int_equal(tune_run(&sim_device, &sim_all, &sim_arena, &after, &sim_timings, &r), OK);
        assert_true(r.complete && r.weights == SIM_WEIGHTS && r.changed > 0 && r.rejected > 0);
        assert_int_equal(r.shapes, SIM_WEIGHTS * SIM_ROWS);
        double distance = judge(&before, &after);
        if (distance > 1.03)
            fail_msg("%.3f times the optimum's time", distance);
        assert_true(r.gain > 1.03 && r.worst > 0.98);
        assert_true(!wild || r.dropped > 0);
        sim_check_written(after);
        for (int i = 0; i < after.n_gemm; i++)
            assert_false(sim_is_wrong(&after.gemm[i].p));
    }
}

/* Whatever the noise and the clock do, no shape is slower after than before. */
static void test_never_slower(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct tune_result r;
        struct gpu_config before = sim_open(seed % 2), after = before;
        struct tune_options o = sim_all;
        sim.draws = seed << 32;
        sim.quirks = sim.wild = true;
        sim.noise = 0.01 * (double)seed;
        o.quick = seed > 3;
        assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &after, &sim_timings, &r), OK);
        judge(&before, &after);
        assert_true(r.gain > 0.99 && r.dropped > 0);
    }
}

/* The wrong launch is a third of the time of the others, and is never timed as a candidate: only
 * where the present choice is it, since there is no other to compare with. */
static void test_wrong_is_not_timed(void **state)
{
    struct tune_result r;
    struct gpu_config c = sim_open(false);
    struct tune_options few = sim_all;
    (void)state;
    sim.wrong = true;
    few.rows = (const int[]){1};
    few.n_rows = 1;
    assert_int_equal(tune_run(&sim_device, &few, &sim_arena, &c, &sim_timings, &r), OK);
    struct gpu_shape s = {DT_Q8_0, 1, 1152, 896};
    bool present = false;
    for (int i = 0; i < SIM_WEIGHTS; i++) {
        s = (struct gpu_shape){sim_weights[i].w, 1, sim_weights[i].n, sim_weights[i].k};
        struct gpu_params p = gpu_choose(&sim.truth, &s, true);
        present |= sim_is_wrong(&p);
    }
    assert_true(present || sim.cheated == 0);
    assert_true(r.rejected >= SIM_WEIGHTS);
}

/* Where the configuration is right already, noise changes next to nothing. */
static void test_leaves_good_alone(void **state)
{
    struct tune_result r;
    struct gpu_config before = sim_open(false), after = before;
    (void)state;
    sim.wild = true;
    assert_int_equal(tune_run(&sim_device, &sim_all, &sim_arena, &after, &sim_timings, &r), OK);
    judge(&before, &after);
    assert_in_range(r.changed, 0, 4);
    assert_true(r.gain > 0.99 && r.gain < 1.05);
}

struct shown {
    int n;
    struct tune_progress at[SIM_WEIGHTS + 2];
};

static void keep_shown(void *ctx, const struct tune_progress *p)
{
    struct shown *s = ctx;
    assert_in_range(s->n, 0, SIM_WEIGHTS + 1);
    s->at[s->n++] = *p;
}

/* Each weight is announced, and from the second on how long the rest will take: within half of the
 * whole run while its largest weight is ahead, then within a tenth. */
static void test_progress(void **state)
{
    enum { LARGEST = 6 }; /* weights, with the largest */
    struct gpu_config c = sim_open(false);
    struct shown shown = {0};
    struct tune_options o = sim_all;
    struct tune_result r;
    (void)state;
    o.progress = keep_shown;
    o.ctx = &shown;
    assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &c, &sim_timings, &r), OK);
    assert_in_range(shown.n, SIM_WEIGHTS, SIM_WEIGHTS + 1);
    for (int i = 0; i < SIM_WEIGHTS; i++) {
        const struct tune_progress *p = &shown.at[i];
        assert_int_equal(p->done, i);
        assert_int_equal(p->total, SIM_WEIGHTS);
        assert_ptr_equal(p->weight, &sim_weights[i]);
        if (i == 0)
            assert_true(p->left < 0);
        else if (fabs(p->elapsed + p->left - sim.clock) > sim.clock * (i < LARGEST ? 0.5 : 0.1))
            fail_msg("weight %d: %g + %g s, it were %g", i, p->elapsed, p->left, sim.clock);
    }
}

/* A budget ends a run between two weights; the next one goes on, and measures nothing twice. */
static void test_resume(void **state)
{
    struct tune_result r;
    struct gpu_config before = sim_open(true), whole = before, parts = before, rest = before;
    struct tune_options o = sim_all;
    struct buf copy = {0};
    (void)state;
    sim.quirks = true;
    assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &whole, &sim_timings, &r), OK);
    double seconds = sim.clock;
    int begun = sim.begun;
    sim_open(true);
    sim.quirks = true;
    o.budget = seconds / 2;
    assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &parts, &sim_timings, &r), OK);
    assert_false(r.complete);
    assert_in_range(r.weights, 1, SIM_WEIGHTS - 1);
    assert_true(sim.clock < seconds * 0.9);
    int first = sim.begun, done = r.weights;
    buf_append(&copy, sim_timings.data, sim_timings.len);
    buf_puts(&copy, "{\"done\":{\"w\":\"q4_0\",\"n\":4"); /* cut off */
    assert_true(tune_log_matches(&copy, "sim", "1", 130100));
    assert_false(tune_log_matches(&copy, "sim", "2", 130100));
    assert_false(tune_log_matches(&copy, "sim", "1", 130200));
    o.budget = 0;
    assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &rest, &copy, &r), OK);
    assert_true(r.complete && r.weights == SIM_WEIGHTS);
    assert_true(sim.begun - first < begun && sim.begun - first > 0 && done > 0);
    assert_true(judge(&before, &rest) < 1.03);
    first = sim.begun;
    assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &rest, &copy, &r), OK);
    assert_int_equal(sim.begun, first);
    buf_clear(&copy);
}

/* Killed anywhere: the timings end at any byte. What is whole in them is taken over. */
static void test_resume_from_any_byte(void **state)
{
    struct tune_result r;
    struct gpu_config before = sim_open(true), after = before;
    struct tune_options o = sim_all;
    struct buf whole = {0};
    int least = 1 << 30;
    (void)state;
    o.quick = sim.quirks = true;
    assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &after, &sim_timings, &r), OK);
    buf_append(&whole, sim_timings.data, sim_timings.len);
    int all_begun = sim.begun;
    for (size_t cut = 0; cut <= whole.len; cut += whole.len / 11) {
        sim_open(true);
        sim.quirks = true;
        after = before;
        buf_reset(&sim_timings);
        buf_append(&sim_timings, whole.data, cut);
        if (cut && whole.data[cut - 1] != '\n')
            buf_putc(&sim_timings, '\n'); /* as the command does */
        assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &after, &sim_timings, &r), OK);
        assert_true(r.complete && r.weights == SIM_WEIGHTS);
        judge(&before, &after);
        sim_check_written(after);
        assert_true(sim.begun <= all_begun * 5 / 4); /* duels are as noise has it */
        least = sim.begun < least ? sim.begun : least;
    }
    assert_true(least < all_begun / 4);
    buf_clear(&whole);
}

static void test_verify(void **state)
{
    struct tune_result r;
    struct gpu_config c = sim_open(true);
    (void)state;
    sim.quirks = true;
    assert_int_equal(tune_run(&sim_device, &sim_all, &sim_arena, &c, &sim_timings, &r), OK);
    assert_int_equal(tune_verify(&sim_device, &sim_all, &c, &r), OK);
    assert_int_equal(r.shapes, c.n_gemm);
    assert_true(r.gain > 1.02);
    for (int i = 0; i < c.n_gemm; i++) /* somebody else's */
        c.gemm[i].p = (struct gpu_params){
            GPU_PATH_SKINNY, c.gemm[i].m > 8 ? 1 : 8, c.gemm[i].m > 8 ? 1 : 2, 4, 1, NULL};
    assert_int_equal(tune_verify(&sim_device, &sim_all, &c, &r), ERR_INVALID);
    assert_non_null(strstr(fail_text(), "slower"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_optimum),
        cmocka_unit_test(test_never_slower),
        cmocka_unit_test(test_wrong_is_not_timed),
        cmocka_unit_test(test_leaves_good_alone),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_from_any_byte),
        cmocka_unit_test(test_verify),
    };
    return cmocka_run_group_tests(tests, sim_set_up, sim_tear_down);
}
