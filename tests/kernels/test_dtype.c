/* Number formats bit for bit against the gguf package (tests/tools/gen_quant.py). */
#include "kernels/dtype.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/quant/quant.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

static const char *const block_formats[] = {"q8_0", "q4_0", "q4_1", "q5_0",
                                            "q5_1", "q4_k", "q5_k", "q6_k"};

static const struct dtype_info *load(struct fixture *f, int i)
{
    char path[64];
    snprintf(path, sizeof path, "tests/data/quant/%s.bin", block_formats[i]);
    fixture_load(f, path);
    int t = dtype_find(block_formats[i]);
    assert_true(t >= 0);
    return dtype_info((enum dtype)t);
}

/* The same bits; of a NaN only that it is one (its payload is the processor's). */
static void same(float a, float b)
{
    if (isnan(b))
        assert_true(isnan(a));
    else
        assert_memory_equal(&a, &b, 4);
}

static void test_decode(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct fixture f;
        const struct dtype_info *t = load(&f, i);
        const struct fixture_array *values = fixture_get(&f, "values", "f4");
        const uint8_t *blocks = fixture_u8(&f, "blocks");
        const float *want = values->data;
        float got[256], all[512];
        assert_int_equal(values->shape[1], t->block);
        assert_int_equal(fixture_get(&f, "blocks", "u1")->shape[1], t->bytes);
        for (int64_t b = 0; b < values->shape[0]; b++) {
            t->decode(blocks + b * t->bytes, got);
            for (int k = 0; k < t->block; k++)
                same(got[k], want[b * t->block + k]);
        }
        dtype_decode((enum dtype)dtype_find(t->name), blocks, all, 2 * t->block);
        for (int k = 0; k < 2 * t->block; k++)
            same(all[k], want[k]);
        fixture_clear(&f);
    }
}

/* The integer view gives the same weights, and only integers that the int8 kernels count on. */
static void test_ints(void **state)
{
    (void)state;
    static const int least[] = {-128, -8, 0, -16, 0, 0, 0, -32};
    static const int most[] = {127, 7, 15, 15, 31, 15, 31, 31};
    for (int i = 0; i < 8; i++) {
        struct fixture f;
        struct quant_ints o;
        const struct dtype_info *t = load(&f, i);
        const uint8_t *blocks = fixture_u8(&f, "blocks");
        const float *want = fixture_f32(&f, "values");
        int lo = 0, hi = 0;
        for (int64_t b = 0; b < fixture_get(&f, "values", "f4")->shape[0]; b++) {
            for (int g = 0; g < t->block / 32; g++) {
                t->ints(blocks + b * t->bytes, g, &o);
                for (int k = 0; k < 32; k++) {
                    float w = o.d * (float)o.sc[k / 16] * (float)o.q[k];
                    lo = o.q[k] < lo ? o.q[k] : lo;
                    hi = o.q[k] > hi ? o.q[k] : hi;
                    same(o.has_min ? w + o.m : w, want[b * t->block + g * 32 + k]);
                }
            }
        }
        assert_int_equal(lo, least[i]);
        assert_int_equal(hi, most[i]);
        fixture_clear(&f);
    }
}

static void test_encode(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct fixture f;
        const struct dtype_info *t = load(&f, i);
        const float *in = fixture_f32(&f, "input");
        const struct fixture_array *encoded = fixture_get(&f, "encoded", "u1");
        const uint8_t *want = encoded->data;
        uint8_t block[34];
        assert_int_equal(encoded->shape[1], t->bytes);
        for (int64_t b = 0; b < encoded->shape[0]; b++) {
            t->encode(in + 32 * b, block);
            assert_memory_equal(block, want + b * t->bytes, (size_t)t->bytes);
        }
        fixture_clear(&f);
    }
}

static void test_plain(void **state)
{
    (void)state;
    const float in = 1.00390625f;
    float out;
    uint16_t h;
    dtype_info(DT_F32)->encode(&in, &out);
    assert_true(out == in);
    dtype_info(DT_F16)->encode(&in, &h);
    dtype_info(DT_F16)->decode(&h, &out);
    assert_true(out == in);
    dtype_info(DT_BF16)->encode(&in, &h);
    dtype_info(DT_BF16)->decode(&h, &out);
    assert_true(out == 1.0f); /* half way between 1 and 1.0078125: to the even one */
}

static void test_table(void **state)
{
    (void)state;
    /* Sizes and numbers as gguf.GGML_QUANT_SIZES and gguf.GGMLQuantizationType have them. */
    static const struct {
        const char *name;
        int gguf, block, bytes;
    } want[] = {{"f32", 0, 1, 4},       {"f16", 1, 1, 2},       {"bf16", 30, 1, 2},
                {"i32", 26, 1, 4},      {"q4_0", 2, 32, 18},    {"q4_1", 3, 32, 20},
                {"q5_0", 6, 32, 22},    {"q5_1", 7, 32, 24},    {"q8_0", 8, 32, 34},
                {"q4_k", 12, 256, 144}, {"q5_k", 13, 256, 176}, {"q6_k", 14, 256, 210}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        int t = dtype_find(want[i].name);
        assert_true(t >= 0);
        assert_int_equal(dtype_from_gguf((uint32_t)want[i].gguf), t);
        assert_int_equal(dtype_info((enum dtype)t)->block, want[i].block);
        assert_int_equal(dtype_info((enum dtype)t)->bytes, want[i].bytes);
        assert_int_equal(dtype_row_bytes((enum dtype)t, 512), 512 / want[i].block * want[i].bytes);
    }
    assert_int_equal(dtype_find("q9_9"), -1);
    assert_int_equal(dtype_from_gguf(10), -1);
    assert_int_equal(dtype_from_gguf(4000000000u), -1);
    assert_string_equal(dtype_gguf_name(10), "Q2_K");
    assert_string_equal(dtype_gguf_name(39), "MXFP4");
    assert_null(dtype_gguf_name(4));
    assert_null(dtype_gguf_name(1000));
    for (int t = 0; t < N_DTYPE; t++) { /* the list names exactly the types with a decoder */
        char list[160], *save = NULL;
        bool listed = false;
        snprintf(list, sizeof list, "%s", dtype_list());
        for (char *w = strtok_r(list, " ", &save); w; w = strtok_r(NULL, " ", &save))
            listed |= strcmp(w, dtype_info((enum dtype)t)->name) == 0;
        assert_int_equal(listed, dtype_info((enum dtype)t)->decode != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode), cmocka_unit_test(test_ints),  cmocka_unit_test(test_encode),
        cmocka_unit_test(test_plain),  cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
