/* test_gpu_tune.c - tuning on a model of a GPU: costs unlike the configured ones, launches
 * with quirks, one that is fast and wrong, noise with outliers, a clock that drifts and jumps. The
 * optimum is known, so what tuning finds can be judged without noise. */
#include "kernels/gpu/tune.h"

#include <math.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/rng.h"
#include "kernels/gpu/registry.h"
#include "kernels/gpu/select.h"
#include "tests/support/test.h"

static struct arena arena;
static struct buf timings;

struct sim {
    struct gpu_config truth;
    struct gpu_shape shape;
    bool quirks, wrong, wild; /* launches deviate; one is wrong; the clock changes */
    double noise, clock;      /* share; seconds */
    uint64_t draws;
    int begun, cheated; /* shapes; timings of the wrong launch */
};

static struct sim sim;

static double uniform(uint64_t a, uint64_t b)
{
    return rng_uniform(rng_philox(77, a, b).v[0]);
}

enum { LIAR = 3, N_ALGORITHMS = 9 }; /* of cuBLASLt, by id from 1 on */

static bool is_wrong(const struct gpu_params *p)
{
    if (p->path != GPU_PATH_SKINNY)
        return sim.wrong && p->lt && p->lt->id == LIAR;
    return sim.wrong && p->nt == 2;
}

static struct gpu_lt algorithm(int id)
{
    return (struct gpu_lt){
        .ver = 130100, .id = id, .splitk = id > 5 ? 2 : 1, .reduction = id > 5 ? 2 : 0};
}

/* Microseconds, without noise. */
static double true_cost(const struct gpu_shape *s, const struct gpu_params *p)
{
    double t = gpu_cost(&sim.truth, s, p);
    if (sim.quirks)
        t *= 0.85 + 0.4 * uniform((uint64_t)(s->n * 31 + s->k * 7 + (int)s->w),
                                  (uint64_t)(p->nt * 100 + p->splits * 10 + (int)p->path +
                                             (p->lt ? p->lt->id * 1000 : 0)));
    return is_wrong(p) ? t / 3 : t;
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
    *right = !is_wrong(p);
    sim.clock += 1e-4;
    return OK;
}

static enum status sim_time(void *ctx, const struct gpu_params *p, double *us)
{
    (void)ctx;
    double t = true_cost(&sim.shape, p), u = uniform(1, sim.draws++), v = uniform(2, sim.draws++);
    sim.cheated += is_wrong(p);
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
    for (; n < N_ALGORITHMS && n < most; n++)
        out[n] = algorithm(n + 1);
    return n;
}

static double sim_now(void *ctx)
{
    (void)ctx;
    return sim.clock;
}

static const struct tune_device device = {NULL,     sim_begin,      sim_check,
                                          sim_time, sim_algorithms, sim_now};
static const int rows[] = {1, 8, 16, 64, 256};
static const struct tune_weight weights[] = {
    {DT_BF16, 6144, 4096},  {DT_BF16, 4096, 14336},  {DT_Q4_0, 4096, 4096}, {DT_Q4_0, 4096, 14336},
    {DT_Q4_0, 28672, 4096}, {DT_Q6_K, 128256, 4096}, {DT_Q8_0, 1152, 896},  {DT_Q4_K, 896, 4864},
};
enum { N_ROWS = 5, N_WEIGHTS = 8 };
static const struct tune_options all = {
    .weights = weights, .n_weights = N_WEIGHTS, .rows = rows, .n_rows = N_ROWS, .lt = true};

/* A GPU as it is configured, and one whose kernels are otherwise. */
static struct gpu_config open_gpu(const char *id, bool other)
{
    struct gpu_config *builtin, c = {0};
    int n;
    buf_reset(&timings);
    assert_int_equal(gpu_builtins(&arena, &builtin, &n), OK);
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
    tune_log_begin(&timings, "sim", "1", 130100);
    return c;
}

static struct gpu_config open_sim(bool other)
{
    return open_gpu("h200", other);
}

/* log of the best that one number of splits for the weight allows, summed over rows. */
static double optimum(const struct tune_weight *w)
{
    double best = INFINITY;
    for (int splits = 1; splits <= GPU_SPLITS_MAX; splits++) {
        double sum = 0;
        if (splits > 1 && splits * GPU_SPLIT_CHUNKS > (w->k + 63) / 64)
            break;
        for (int i = 0; i < N_ROWS; i++) {
            struct gpu_shape s = {w->w, rows[i], w->n, w->k};
            struct gpu_params lt = {
                w->w == DT_BF16 ? GPU_PATH_LT : GPU_PATH_DEQUANT_LT, 0, 0, 0, 1, NULL};
            double least = true_cost(&s, &lt);
            for (int id = 1; id <= N_ALGORITHMS; id++) {
                struct gpu_lt a = algorithm(id);
                lt.lt = &a;
                if (!is_wrong(&lt))
                    least = fmin(least, true_cost(&s, &lt));
            }
            for (int j = 0; j < gpu_n_tiles(); j++) {
                struct gpu_params p = {
                    GPU_PATH_SKINNY, gpu_tiles[j].nt, gpu_tiles[j].r, 4, splits, NULL};
                bool built = rows[i] <= GPU_LARGE_M || splits == 1 || p.nt == 8;
                if (built && !is_wrong(&p))
                    least = fmin(least, true_cost(&s, &p));
            }
            sum += log(least);
        }
        best = fmin(best, sum);
    }
    return best;
}

static double cost_of(const struct gpu_config *c, const struct tune_weight *w, int m)
{
    struct gpu_shape s = {w->w, m, w->n, w->k};
    struct gpu_params p = gpu_choose(c, &s, true);
    return is_wrong(&p) ? INFINITY : true_cost(&s, &p);
}

/* No shape is slower than before by more than noise can hide; mean distance to the optimum. */
static double judge(const struct gpu_config *before, const struct gpu_config *after)
{
    double from_best = 0;
    for (int i = 0; i < N_WEIGHTS; i++) {
        double sum = 0;
        for (int j = 0; j < N_ROWS; j++) {
            double was = cost_of(before, &weights[i], rows[j]);
            double is = cost_of(after, &weights[i], rows[j]);
            if (is > was * 1.02)
                fail_msg("weight %d, %d rows: %.2f us, was %.2f", i, rows[j], is, was);
            sum += log(is);
        }
        from_best += sum - optimum(&weights[i]);
    }
    return exp(from_best / (N_WEIGHTS * N_ROWS));
}

/* As it will be written: whole and legal. */
static void check_written(struct gpu_config c)
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
    if (gpu_config_read(&arena, text.data, text.len, &again) != OK || gpu_check(&again) != OK)
        fail_msg("%s", fail_text());
    buf_clear(&text);
}

static void test_finds_the_optimum(void **state)
{
    (void)state;
    for (int wild = 0; wild < 2; wild++) {
        struct tune_result r;
        struct gpu_config before = open_sim(true), after = before;
        sim.quirks = sim.wrong = true;
        sim.wild = wild;
        assert_int_equal(tune_run(&device, &all, &arena, &after, &timings, &r), OK);
        assert_true(r.complete && r.weights == N_WEIGHTS && r.changed > 0 && r.rejected > 0);
        assert_int_equal(r.shapes, N_WEIGHTS * N_ROWS);
        double distance = judge(&before, &after);
        if (distance > 1.03)
            fail_msg("%.3f times the optimum's time", distance);
        assert_true(r.gain > 1.03 && r.worst > 0.98);
        assert_true(!wild || r.dropped > 0);
        check_written(after);
        for (int i = 0; i < after.n_gemm; i++)
            assert_false(is_wrong(&after.gemm[i].p));
    }
}

/* Whatever the noise and the clock do, no shape is slower after than before. */
static void test_never_slower(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct tune_result r;
        struct gpu_config before = open_sim(seed % 2), after = before;
        struct tune_options o = all;
        sim.draws = seed << 32;
        sim.quirks = sim.wild = true;
        sim.noise = 0.01 * (double)seed;
        o.quick = seed > 3;
        assert_int_equal(tune_run(&device, &o, &arena, &after, &timings, &r), OK);
        judge(&before, &after);
        assert_true(r.gain > 0.99 && r.dropped > 0);
    }
}

/* The wrong launch is a third of the time of the others, and is never timed as a candidate: only
 * where the present choice is it, since there is no other to compare with. */
static void test_wrong_is_not_timed(void **state)
{
    struct tune_result r;
    struct gpu_config c = open_sim(false);
    struct tune_options few = all;
    (void)state;
    sim.wrong = true;
    few.rows = (const int[]){1};
    few.n_rows = 1;
    assert_int_equal(tune_run(&device, &few, &arena, &c, &timings, &r), OK);
    struct gpu_shape s = {DT_Q8_0, 1, 1152, 896};
    bool present = false;
    for (int i = 0; i < N_WEIGHTS; i++) {
        s = (struct gpu_shape){weights[i].w, 1, weights[i].n, weights[i].k};
        struct gpu_params p = gpu_choose(&sim.truth, &s, true);
        present |= is_wrong(&p);
    }
    assert_true(present || sim.cheated == 0);
    assert_true(r.rejected >= N_WEIGHTS);
}

/* Where the configuration is right already, noise changes next to nothing. */
static void test_leaves_good_alone(void **state)
{
    struct tune_result r;
    struct gpu_config before = open_sim(false), after = before;
    (void)state;
    sim.wild = true;
    assert_int_equal(tune_run(&device, &all, &arena, &after, &timings, &r), OK);
    judge(&before, &after);
    assert_in_range(r.changed, 0, 4);
    assert_true(r.gain > 0.99 && r.gain < 1.05);
}

struct shown {
    int n;
    struct tune_progress at[N_WEIGHTS + 2];
};

static void keep_shown(void *ctx, const struct tune_progress *p)
{
    struct shown *s = ctx;
    assert_in_range(s->n, 0, N_WEIGHTS + 1);
    s->at[s->n++] = *p;
}

/* Each weight is announced, and from the second on how long the rest will take: within half of the
 * whole run while its largest weight is ahead, then within a tenth. */
static void test_progress(void **state)
{
    enum { LARGEST = 6 }; /* weights, with the largest */
    struct gpu_config c = open_sim(false);
    struct shown shown = {0};
    struct tune_options o = all;
    struct tune_result r;
    (void)state;
    o.progress = keep_shown;
    o.ctx = &shown;
    assert_int_equal(tune_run(&device, &o, &arena, &c, &timings, &r), OK);
    assert_in_range(shown.n, N_WEIGHTS, N_WEIGHTS + 1);
    for (int i = 0; i < N_WEIGHTS; i++) {
        const struct tune_progress *p = &shown.at[i];
        assert_int_equal(p->done, i);
        assert_int_equal(p->total, N_WEIGHTS);
        assert_ptr_equal(p->weight, &weights[i]);
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
    struct gpu_config before = open_sim(true), whole = before, parts = before, rest = before;
    struct tune_options o = all;
    struct buf copy = {0};
    (void)state;
    sim.quirks = true;
    assert_int_equal(tune_run(&device, &o, &arena, &whole, &timings, &r), OK);
    double seconds = sim.clock;
    int begun = sim.begun;
    open_sim(true);
    sim.quirks = true;
    o.budget = seconds / 2;
    assert_int_equal(tune_run(&device, &o, &arena, &parts, &timings, &r), OK);
    assert_false(r.complete);
    assert_in_range(r.weights, 1, N_WEIGHTS - 1);
    assert_true(sim.clock < seconds * 0.9);
    int first = sim.begun, done = r.weights;
    buf_append(&copy, timings.data, timings.len);
    buf_puts(&copy, "{\"done\":{\"w\":\"q4_0\",\"n\":4"); /* cut off */
    assert_true(tune_log_matches(&copy, "sim", "1", 130100));
    assert_false(tune_log_matches(&copy, "sim", "2", 130100));
    assert_false(tune_log_matches(&copy, "sim", "1", 130200));
    o.budget = 0;
    assert_int_equal(tune_run(&device, &o, &arena, &rest, &copy, &r), OK);
    assert_true(r.complete && r.weights == N_WEIGHTS);
    assert_true(sim.begun - first < begun && sim.begun - first > 0 && done > 0);
    assert_true(judge(&before, &rest) < 1.03);
    first = sim.begun;
    assert_int_equal(tune_run(&device, &o, &arena, &rest, &copy, &r), OK);
    assert_int_equal(sim.begun, first);
    buf_clear(&copy);
}

/* Killed anywhere: the timings end at any byte. What is whole in them is taken over. */
static void test_resume_from_any_byte(void **state)
{
    struct tune_result r;
    struct gpu_config before = open_sim(true), after = before;
    struct tune_options o = all;
    struct buf whole = {0};
    int least = 1 << 30;
    (void)state;
    o.quick = sim.quirks = true;
    assert_int_equal(tune_run(&device, &o, &arena, &after, &timings, &r), OK);
    buf_append(&whole, timings.data, timings.len);
    int all_begun = sim.begun;
    for (size_t cut = 0; cut <= whole.len; cut += whole.len / 11) {
        open_sim(true);
        sim.quirks = true;
        after = before;
        buf_reset(&timings);
        buf_append(&timings, whole.data, cut);
        if (cut && whole.data[cut - 1] != '\n')
            buf_putc(&timings, '\n'); /* as the command does */
        assert_int_equal(tune_run(&device, &o, &arena, &after, &timings, &r), OK);
        assert_true(r.complete && r.weights == N_WEIGHTS);
        judge(&before, &after);
        check_written(after);
        assert_true(sim.begun <= all_begun * 5 / 4); /* duels are as noise has it */
        least = sim.begun < least ? sim.begun : least;
    }
    assert_true(least < all_begun / 4);
    buf_clear(&whole);
}

/* Another GPU than the sheet says, with other kernels: after the fit the model says what is
 * measured within a tenth, also for rows that were not tuned; and the run says so itself. */
static void test_fit(void **state)
{
    static const int seen[] = {1, 8, 16, 64, 256, 1024}, unseen[] = {4, 32, 128, 512};
    struct tune_result r;
    struct gpu_config before = open_sim(false), after = before;
    struct tune_options o = all;
    int worse_before = 0;
    (void)state;
    sim.truth.ceil.read_gbs *= 0.93;
    sim.truth.ceil.mma_bf16_tflops *= 1.2;
    sim.truth.ceil.mma_int8_tops *= 0.9;
    sim.truth.ceil.bf16_tflops *= 0.9;
    for (int i = 0; i < N_GPU_KERNEL; i++) {
        sim.truth.eff[i].bw *= 0.7;
        sim.truth.eff[i].fl *= i == GPU_SKINNY_4 ? 1.5 : 0.8;
        sim.truth.eff[i].t0_us *= 1.8;
        sim.truth.eff[i].splitk_us *= 0.5;
    }
    o.ceil = &sim.truth.ceil; /* as measured */
    o.rows = seen;
    o.n_rows = 6;
    assert_int_equal(tune_run(&device, &o, &arena, &after, &timings, &r), OK);
    assert_true(after.ceil.read_gbs == sim.truth.ceil.read_gbs);
    assert_true(r.fitted >= 3 && r.off >= 0 && r.off < 0.05);
    assert_int_equal(r.unseen, 64);
    assert_true(r.foresight >= 0 && r.foresight < 0.1);
    for (int i = 0; i < 5; i++) /* of bf16 and q4_0 there are enough to fit */
        for (int j = 0; j < 4; j++) {
            struct gpu_shape s = {weights[i].w, unseen[j], weights[i].n, weights[i].k};
            struct gpu_params p = gpu_choose(&after, &s, true);
            double is = true_cost(&s, &p), said = gpu_cost(&after, &s, &p);
            if (fabs(said / is - 1) > 0.1)
                fail_msg("weight %d, %d rows: %.2f us, predicted %.2f", i, unseen[j], is, said);
            worse_before += fabs(gpu_cost(&before, &s, &p) / is - 1) > 0.1;
        }
    assert_true(worse_before > 10);
    check_written(after);
}

/* Microseconds of the best launch this way, by the truth: cuBLASLt's suggestion, or a tile. */
static double best_way(const struct tune_weight *w, int m, bool lt)
{
    struct gpu_config c = sim.truth;
    struct gpu_shape s = {w->w, m, w->n, w->k};
    c.n_gemm = 0;
    for (int k = GPU_SKINNY_16; k <= GPU_SKINNY_ANY; k++) {
        c.skinny_max_m[k] = lt ? 0 : 8192;
        c.mma8_max_m[k] = 0;
    }
    struct gpu_params p = gpu_choose(&c, &s, lt);
    return true_cost(&s, &p);
}

/* log of what `c` takes for a weight / the faster way, a mean over all buckets of rows. */
static double lost(const struct gpu_config *c, const struct tune_weight *w)
{
    double sum = 0;
    for (int b = 0; b < gpu_n_buckets(); b++) {
        int m = gpu_buckets[b];
        sum += log(cost_of(c, w, m) / fmin(best_way(w, m, false), best_way(w, m, true)));
    }
    return sum / gpu_n_buckets();
}

/* cuBLASLt is slower, or faster, than the configuration thinks: for weights that nobody tuned, of
 * the classes that were, the paths then lose next to nothing against the faster one for each number
 * of rows; with the crossovers as they were, they lose much. */
static void test_crossovers(void **state)
{
    static const int seen[] = {8, 32, 96, 256, 512, 2048};
    static const struct tune_weight unseen[] = {{DT_BF16, 5120, 5120}, {DT_Q4_0, 5120, 5120}};
    (void)state;
    for (int faster = 0; faster < 2; faster++) {
        struct tune_result r;
        struct gpu_config before = open_sim(false), after = before, kept;
        struct tune_options o = all;
        sim.truth.eff[GPU_LT_BF16].fl *= faster ? 1.0 : 0.3;
        sim.truth.eff[GPU_LT_BF16].bw *= faster ? 1.5 : 0.4;
        sim.truth.eff[GPU_DEQUANT].bw *= faster ? 2 : 0.5;
        sim.truth.eff[GPU_SKINNY_16].fl *= faster ? 0.4 : 1;
        sim.truth.eff[GPU_SKINNY_4].fl *= faster ? 0.3 : 1;
        sim.truth.eff[GPU_MMA8_4].fl *= faster ? 0.5 : 1;
        o.rows = seen;
        o.n_rows = 6;
        assert_int_equal(tune_run(&device, &o, &arena, &after, &timings, &r), OK);
        assert_true(r.crossed >= 2);
        check_written(after);
        kept = after;
        memcpy(kept.skinny_max_m, before.skinny_max_m, sizeof kept.skinny_max_m);
        memcpy(kept.mma8_max_m, before.mma8_max_m, sizeof kept.mma8_max_m);
        for (int i = 0; i < 2; i++) {
            double now = lost(&after, &unseen[i]), then = lost(&kept, &unseen[i]);
            if (now > 0.03 || then < 0.08)
                fail_msg("%d: weight %d loses %.3f, and lost %.3f", faster, i, now, then);
        }
        /* of these nothing was measured by cuBLASLt, or at all */
        assert_int_equal(after.skinny_max_m[GPU_SKINNY_5], before.skinny_max_m[GPU_SKINNY_5]);
    }
}

static void test_verify(void **state)
{
    struct tune_result r;
    struct gpu_config c = open_sim(true);
    (void)state;
    sim.quirks = true;
    assert_int_equal(tune_run(&device, &all, &arena, &c, &timings, &r), OK);
    assert_int_equal(tune_verify(&device, &all, &c, &r), OK);
    assert_int_equal(r.shapes, c.n_gemm);
    assert_true(r.gain > 1.02);
    for (int i = 0; i < c.n_gemm; i++) /* somebody else's */
        c.gemm[i].p = (struct gpu_params){
            GPU_PATH_SKINNY, c.gemm[i].m > 8 ? 1 : 8, c.gemm[i].m > 8 ? 1 : 2, 4, 1, NULL};
    assert_int_equal(tune_verify(&device, &all, &c, &r), ERR_INVALID);
    assert_non_null(strstr(fail_text(), "slower"));
}

static void no_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    log_set_sink(no_line, NULL, LOG_DEBUG); /* of wrong launches there are many */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_clear(&arena);
    buf_clear(&timings);
    return 0;
}

/* Products that may round: the fastest of all is found, and is an exception of these alone. */
static void test_fp8(void **state)
{
    static const struct tune_weight fp8[] = {{DT_F8_E4M3, 4096, 4096}, {DT_BF16, 4096, 4096}};
    static const int many[] = {16, 256, 2048};
    const int may = GPU_MAY_LT | GPU_MAY_ROUND | GPU_MAY_ROW_SCALE;
    struct tune_options o = all;
    struct tune_result r;
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct gpu_config c = open_sim(false);
        sim.truth.eff[GPU_W8A8].fl = own ? 1.4 : 0.01; /* as nothing says yet */
        sim.truth.eff[GPU_LT_FP8].fl *= own ? 0.01 : 1;
        sim.truth.eff[GPU_LT_BF16].fl *= 0.1;
        c.eff[GPU_W8A8].fl = own ? 0.01 : 1.4;
        o.weights = fp8;
        o.n_weights = 2;
        o.rows = many;
        o.n_rows = 3;
        o.x = X_FP8;
        assert_int_equal(tune_run(&device, &o, &arena, &c, &timings, &r), OK);
        assert_true(r.complete);
        struct gpu_shape s = {DT_F8_E4M3, 2048, 4096, 4096};
        assert_int_equal(gpu_choose(&c, &s, may).path, own ? GPU_PATH_W8A8 : GPU_PATH_LT_FP8);
        assert_int_not_equal(gpu_path_x(gpu_choose(&c, &s, GPU_MAY_LT).path), X_FP8);
        for (int i = 0; i < c.n_gemm; i++)
            assert_int_equal(c.gemm[i].x, c.gemm[i].w == DT_F8_E4M3 ? X_FP8 : X_EXACT);
    }
}

/* The same in fp4, of both formats, on a GPU whose own kernels have it too. */
static void test_fp4(void **state)
{
    static const struct tune_weight fp4[] = {{DT_NVFP4, 4096, 4096}, {DT_MXFP4, 4096, 4096}};
    static const int many[] = {16, 256, 2048};
    struct tune_options o = all;
    struct tune_result r;
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct gpu_config c = open_gpu("family-blackwell-rtx", false);
        sim.truth.eff[GPU_W4A4].fl = own ? 1.4 : 0.01; /* as nothing says yet */
        sim.truth.eff[GPU_LT_FP4].fl = own ? 0.01 : 1;
        c.eff[GPU_W4A4].fl = own ? 0.01 : 1.4;
        o.weights = fp4;
        o.n_weights = 2;
        o.rows = many;
        o.n_rows = 3;
        o.x = X_FP4;
        assert_int_equal(tune_run(&device, &o, &arena, &c, &timings, &r), OK);
        assert_true(r.complete);
        for (int i = 0; i < 2; i++) {
            struct gpu_shape s = {fp4[i].w, 2048, 4096, 4096};
            const int may = GPU_MAY_LT | GPU_MAY_ROUND;
            assert_int_equal(gpu_choose(&c, &s, may).path, own ? GPU_PATH_W4A4 : GPU_PATH_LT_FP4);
            assert_int_not_equal(gpu_path_x(gpu_choose(&c, &s, GPU_MAY_LT).path), X_FP4);
            s.m = 16; /* too few */
            assert_int_equal(gpu_path_x(gpu_choose(&c, &s, may).path), X_EXACT);
        }
        for (int i = 0; i < c.n_gemm; i++)
            assert_int_equal(c.gemm[i].x, X_FP4);
        assert_true(c.n_gemm > 0);
    }
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
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_crossovers),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_fp4),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
