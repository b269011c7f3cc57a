/* conv1d against a convolution written down in double, and cut into steps in every way. */
#include <math.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/base/rng.h"
#include "tests/support/test.h"

enum { C = 5, K = 4, LEN = 23, SLOTS = 3 };

static float x[2][LEN][C], w[C][K];

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * LEN * C; i++)
        (&x[0][0][0])[i] = rng_uniform(rng_philox(3, (uint64_t)i, 0).v[0]) - 0.5f;
    for (int i = 0; i < C * K; i++)
        (&w[0][0])[i] = rng_uniform(rng_philox(4, (uint64_t)i, 0).v[0]) - 0.5f;
    return 0;
}

static double expected(int seq, int pos, int c)
{
    double sum = 0;
    for (int j = 0; j < K; j++)
        if (pos - (K - 1) + j >= 0)
            sum += (double)w[c][j] * x[seq][pos - (K - 1) + j][c];
    return sum;
}

/* Rows [pos, pos + n[i]) of both sequences in one step; sequence i lies in slot 2 - i. */
static void step(struct queue *q, float *state, const int *pos, const int *n, float out[2][LEN][C])
{
    float in[2 * LEN][C], y[2 * LEN][C];
    int32_t p[2 * LEN], seq[2 * LEN], start[3] = {0, n[0], n[0] + n[1]}, slot[2] = {2, 1};
    int rows = 0;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < n[i]; k++, rows++) {
            memcpy(in[rows], x[i][pos[i] + k], sizeof in[rows]);
            p[rows] = pos[i] + k;
            seq[rows] = i;
        }
    struct op_conv1d a = {.x = tensor_2d(in, DT_F32, rows, C),
                          .y = tensor_2d(y, DT_F32, rows, C),
                          .w = tensor_2d(w, DT_F32, C, K),
                          .state = state,
                          .r = {.rows = rows,
                                .seqs = 2,
                                .pos = p,
                                .row_seq = seq,
                                .seq_start = start,
                                .seq_slot = slot}};
    assert_int_equal(op_conv1d(q, &a), OK);
    for (int i = 0; i < 2; i++)
        memcpy(out[i][pos[i]], y[start[i]], sizeof(float) * C * (size_t)n[i]);
}

static void any_cut_gives_the_same(void **state)
{
    (void)state;
    struct device_options o = {.threads = 1};
    struct device *dev;
    assert_int_equal(backend_cpu.open(&o, &dev), OK);
    struct queue *q = backend_cpu.queue(dev);
    float whole[2][LEN][C], cut[2][LEN][C], mem[SLOTS * (K - 1) * C];
    for (int i = 0; i < SLOTS * (K - 1) * C; i++)
        mem[i] = NAN; /* of whoever had the slot before */
    step(q, mem, (int[]){0, 0}, (int[]){LEN, LEN}, whole);
    for (int i = 0; i < 2; i++)
        for (int p = 0; p < LEN; p++)
            for (int c = 0; c < C; c++)
                assert_true(fabs(whole[i][p][c] - expected(i, p, c)) < 1e-6);
    for (int a = 1; a < 6; a++)
        for (int b = 0; b < 4; b++) {
            int pos[2] = {0, 0};
            while (pos[0] < LEN || pos[1] < LEN) {
                int n[2] = {LEN - pos[0] < a ? LEN - pos[0] : a,
                            LEN - pos[1] < b ? LEN - pos[1] : b};
                if (pos[0] == LEN && b == 0)
                    n[1] = LEN - pos[1];
                step(q, mem, pos, n, cut);
                pos[0] += n[0];
                pos[1] += n[1];
            }
            assert_memory_equal(cut, whole, sizeof whole);
        }
    backend_cpu.close(dev);
}

static void names_what_is_wrong(void **state)
{
    (void)state;
    struct device_options o = {.threads = 1};
    struct device *dev;
    assert_int_equal(backend_cpu.open(&o, &dev), OK);
    float one[CONV1D_MAX + 1] = {0};
    int32_t zero[2] = {0, 1};
    struct op_conv1d a = {.x = tensor_2d(one, DT_F32, 1, 1),
                          .y = tensor_2d(one, DT_F32, 1, 1),
                          .w = tensor_2d(one, DT_F32, 1, CONV1D_MAX + 1),
                          .state = one,
                          .r = {.rows = 1,
                                .seqs = 1,
                                .pos = zero,
                                .row_seq = zero,
                                .seq_start = zero,
                                .seq_slot = zero}};
    assert_int_equal(op_conv1d(backend_cpu.queue(dev), &a), ERR_INTERNAL);
    assert_non_null(strstr(fail_text(), "width"));
    backend_cpu.close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_the_same),
        cmocka_unit_test(names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
