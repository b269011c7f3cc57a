/* test_fp8.c - activations in e4m3: what a row becomes, which checkpoints declare them, and logits
 * of the CPU, asked to round, against PyTorch's with the same roundings. */
#include <math.h>
#include <string.h>

#include "engine/load/checkpoint.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/support/fp8_model.h"
#include "tests/support/test.h"

/* Roundings that differ move single numbers by a code; all of them together move logits by 3 %. */
static const double SAME = 6e-3, OTHER = 2e-2;

/* Each number is one that e4m3 has, times the scale, and none is nearer. */
static void check_row(float scale, const float *x, int n, float *out)
{
    float top = 0;

    x_type_round(X_FP8, DT_F8_E4M3, scale, x, n, out);
    for (int i = 0; i < n; i++)
        top = fmaxf(top, fabsf(x[i]));
    double by = scale > 0 ? (double)scale : (double)top / 448;
    for (int i = 0; i < n; i++) {
        double best = INFINITY, want = fmin(fmax((double)x[i] / by, -448), 448);

        for (int code = 0; code < 256; code++)
            if ((code & 0x7f) != 0x7f)
                best = fmin(best, fabs((double)f8_e4m3_value(code) - want));
        assert_true(fabs((double)out[i] / by - want) <= best + 1e-4 * fabs(want));
    }
}

static void test_rows(void **state)
{
    float x[97], out[97];

    (void)state;
    for (int i = 0; i < 97; i++)
        x[i] = sinf((float)(i * i)) * exp2f((float)(i % 23) - 18);
    check_row(0, x, 97, out);
    check_row(0x1p-7f, x, 97, out); /* the largest are beyond 448 scales */
    x_type_round(X_EXACT, DT_F8_E4M3, 0, x, 97, out);
    assert_memory_equal(out, x, sizeof x);
    memset(x, 0, sizeof x);
    x_type_round(X_FP8, DT_F8_E4M3, 0, x, 97, out);
    assert_memory_equal(out, x, sizeof x);
    x[3] = NAN;
    x_type_round(X_FP8, DT_F8_E4M3, 0, x, 97, out);
    assert_true(isnan(out[3]) && out[2] == 0);
}

static void test_names(void **state)
{
    enum x_type t;

    (void)state;
    assert_int_equal(x_type_read("fp8", &t), OK);
    assert_int_equal(t, X_FP8);
    assert_int_equal(x_type_read("auto", &t), OK);
    assert_int_equal(t, X_DECLARED);
    assert_string_equal(x_type_name(X_EXACT), "exact");
    assert_int_equal(x_type_read("int3", &t), ERR_INVALID);
}

/* clang-format off */
static const struct {
    const char *folder, *tensor;
    enum x_type x;
    bool fixed, row_scale;
} declared[] = {
    {"mo-fp8",         "layers.0.mlp.up_proj",      X_FP8,   true,  true},
    {"mo-fp8-channel", "layers.0.self_attn.k_proj", X_FP8,   false, true},
    {"fp8-ue8m0",      "layers.0.mlp.down_proj",    X_FP8,   false, false},
    {"ct-model",       "layers.0.self_attn.q_proj", X_FP8,   false, true},
    {"ct-model",       "layers.0.self_attn.v_proj", X_EXACT, false, false}, /* its group has none */
    {"ct-float",       "layers.0.self_attn.q_proj", X_EXACT, false, true},
    {"mo-nvfp4",       "layers.0.mlp.up_proj",      X_FP4,   false, false},
    {"mo-nvfp4-fp8",   "layers.0.mlp.up_proj",      X_EXACT, false, false}, /* activations in fp8 */
    {"mo-mxfp4",       "layers.0.mlp.up_proj",      X_EXACT, false, false}, /* says nothing of them */
};
/* clang-format on */

static void test_declared(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof declared / sizeof *declared; i++) {
        struct checkpoint *c;
        char path[128], name[128];

        snprintf(path, sizeof path, "tests/data/hf/%s", declared[i].folder);
        snprintf(name, sizeof name, "model.%s.weight", declared[i].tensor);
        assert_int_equal(checkpoint_open(path, &c), OK);
        const struct ckpt_tensor *t = checkpoint_tensor(c, name);
        assert_non_null(t);
        if (t->x != declared[i].x || (t->x_scale > 0) != declared[i].fixed ||
            (t->dtype == DT_F8_E4M3 && t->row_scale != declared[i].row_scale))
            fail_msg("%s %s: x %s, scale %g, rows %d", declared[i].folder, name, x_type_name(t->x),
                     (double)t->x_scale, t->row_scale);
        checkpoint_close(c);
    }
}

/* The CPU rounds when it is told to, and not because a checkpoint declares it. */
static void test_logits(void **state)
{
    double exact, rounded;

    (void)state;
    for (int i = 0; i < FP8_MODELS; i++) {
        fp8_model_run(i, &backend_cpu, X_FP8, NULL, &exact, &rounded);
        if (!(rounded < SAME && exact > OTHER))
            fail_msg("%s in fp8: off by %g, by %g of exact", fp8_models[i], rounded, exact);
        fp8_model_run(i, &backend_cpu, X_DECLARED, NULL, &exact, &rounded);
        if (!(exact < SAME && rounded > OTHER))
            fail_msg("%s as it is: off by %g, by %g of fp8", fp8_models[i], exact, rounded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_declared),
        cmocka_unit_test(test_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
