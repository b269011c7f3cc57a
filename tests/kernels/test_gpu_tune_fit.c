/* test_gpu_tune_fit.c - what tuning concludes from its timings: the efficiencies of a GPU whose
 * kernels are unlike the configured ones, where one path overtakes another, and which products that
 * round are the fastest. On a model of a GPU (support/sim_gpu.h). */
#include "kernels/gpu/tune_fit.h"

#include <math.h>
#include <string.h>

#include "kernels/gpu/registry.h"
#include "tests/support/sim_gpu.h"
#include "tests/support/test.h"

/* Another GPU than the sheet says, with other kernels: after the fit the model says what is
 * measured within a tenth, also for rows that were not tuned; and the run says so itself. */
static void test_fit(void **state)
{
    static const int seen[] = {1, 8, 16, 64, 256, 1024}, unseen[] = {4, 32, 128, 512};
    struct tune_result r;
    struct gpu_config before = sim_open(false), after = before;
    struct tune_options o = sim_all;
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
    assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &after, &sim_timings, &r), OK);
    assert_true(after.ceil.read_gbs == sim.truth.ceil.read_gbs);
    assert_true(r.fitted >= 3 && r.off >= 0 && r.off < 0.05);
    assert_int_equal(r.unseen, 64);
    assert_true(r.foresight >= 0 && r.foresight < 0.1);
    for (int i = 0; i < 5; i++) /* of bf16 and q4_0 there are enough to fit */
        for (int j = 0; j < 4; j++) {
            struct gpu_shape s = {sim_weights[i].w, unseen[j], sim_weights[i].n, sim_weights[i].k};
            struct gpu_params p = gpu_choose(&after, &s, true);
            double is = sim_cost(&s, &p), said = gpu_cost(&after, &s, &p);
            if (fabs(said / is - 1) > 0.1)
                fail_msg("weight %d, %d rows: %.2f us, predicted %.2f", i, unseen[j], is, said);
            worse_before += fabs(gpu_cost(&before, &s, &p) / is - 1) > 0.1;
        }
    assert_true(worse_before > 10);
    sim_check_written(after);
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
    return sim_cost(&s, &p);
}

/* log of what `c` takes for a weight / the faster way, a mean over all buckets of rows. */
static double lost(const struct gpu_config *c, const struct tune_weight *w)
{
    double sum = 0;
    for (int b = 0; b < gpu_n_buckets(); b++) {
        int m = gpu_buckets[b];
        sum += log(sim_cost_of(c, w, m) / fmin(best_way(w, m, false), best_way(w, m, true)));
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
        struct gpu_config before = sim_open(false), after = before, kept;
        struct tune_options o = sim_all;
        sim.truth.eff[GPU_LT_BF16].fl *= faster ? 1.0 : 0.3;
        sim.truth.eff[GPU_LT_BF16].bw *= faster ? 1.5 : 0.4;
        sim.truth.eff[GPU_DEQUANT].bw *= faster ? 2 : 0.5;
        sim.truth.eff[GPU_SKINNY_16].fl *= faster ? 0.4 : 1;
        sim.truth.eff[GPU_SKINNY_4].fl *= faster ? 0.3 : 1;
        sim.truth.eff[GPU_MMA8_4].fl *= faster ? 0.5 : 1;
        o.rows = seen;
        o.n_rows = 6;
        assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &after, &sim_timings, &r), OK);
        assert_true(r.crossed >= 2);
        sim_check_written(after);
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

/* Products that may round: the fastest of all is found, and is an exception of these alone. */
static void test_fp8(void **state)
{
    static const struct tune_weight fp8[] = {{DT_F8_E4M3, 4096, 4096}, {DT_BF16, 4096, 4096}};
    static const int many[] = {16, 256, 2048};
    const int may = GPU_MAY_LT | GPU_MAY_ROUND | GPU_MAY_ROW_SCALE;
    struct tune_options o = sim_all;
    struct tune_result r;
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct gpu_config c = sim_open(false);
        sim.truth.eff[GPU_W8A8].fl = own ? 1.4 : 0.01; /* as nothing says yet */
        sim.truth.eff[GPU_LT_FP8].fl *= own ? 0.01 : 1;
        sim.truth.eff[GPU_LT_BF16].fl *= 0.1;
        c.eff[GPU_W8A8].fl = own ? 0.01 : 1.4;
        o.weights = fp8;
        o.n_weights = 2;
        o.rows = many;
        o.n_rows = 3;
        o.x = X_FP8;
        assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &c, &sim_timings, &r), OK);
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
    struct tune_options o = sim_all;
    struct tune_result r;
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct gpu_config c = sim_open_gpu("family-blackwell-rtx", false);
        sim.truth.eff[GPU_W4A4].fl = own ? 1.4 : 0.01; /* as nothing says yet */
        sim.truth.eff[GPU_LT_FP4].fl = own ? 0.01 : 1;
        c.eff[GPU_W4A4].fl = own ? 0.01 : 1.4;
        o.weights = fp4;
        o.n_weights = 2;
        o.rows = many;
        o.n_rows = 3;
        o.x = X_FP4;
        assert_int_equal(tune_run(&sim_device, &o, &sim_arena, &c, &sim_timings, &r), OK);
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
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_crossovers),
        cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_fp4),
    };
    return cmocka_run_group_tests(tests, sim_set_up, sim_tear_down);
}
