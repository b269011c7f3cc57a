/* Number formats bit for bit against the gguf package (tests/tools/gen_quant.py). */
#include "kernels/dtype.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/quant/quant.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

/* Least and greatest integer of the view over the fixture; the first five formats have encoders. */
/* clang-format off */
static const struct { const char *name; int least, most; } formats[] = {
    {"q8_0", -128, 127},  {"q4_0", -8, 7},      {"q4_1", 0, 15},     {"q5_0", -16, 15},
    {"q5_1", 0, 31},      {"q4_k", 0, 15},      {"q5_k", 0, 31},     {"q6_k", -32, 31},
    {"q1_0", -1, 1},      {"q2_0", -1, 2},      {"q8_1", -128, 127}, {"q2_k", 0, 3},
    {"q3_k", -4, 3},      {"q8_k", -128, 127},  {"iq1_s", -9, 9},    {"iq1_m", -9, 9},
    {"iq2_xxs", -43, 43}, {"iq2_xs", -43, 43},  {"iq2_s", -43, 43},  {"iq3_xxs", -62, 62},
    {"iq3_s", -15, 15},   {"iq4_nl", -127, 113}, {"iq4_xs", -127, 113}, {"tq1_0", -1, 1},
    {"tq2_0", -1, 2},     {"mxfp4", -12, 12},   {"nvfp4", -12, 12},
};
/* clang-format on */
enum { N_FORMATS = sizeof formats / sizeof *formats, N_ENCODERS = 5 };

static const struct dtype_info *load(struct fixture *f, int i)
{
    char path[64];
    snprintf(path, sizeof path, "tests/data/quant/%s.bin", formats[i].name);
    fixture_load(f, path);
    int t = dtype_find(formats[i].name);
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
    for (int i = 0; i < N_FORMATS; i++) {
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
    for (int i = 0; i < N_FORMATS; i++) {
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
                    same(o.has_min ? w + o.m * (float)o.mn[k / 16] : w,
                         want[b * t->block + g * 32 + k]);
                }
                if (o.sum == QUANT_WHOLE)
                    assert_true(o.sc[0] == o.sc[1] && o.mn[0] == 1 && o.mn[1] == 1);
            }
        }
        assert_int_equal(lo, formats[i].least);
        assert_int_equal(hi, formats[i].most);
        fixture_clear(&f);
    }
}

static void test_encode(void **state)
{
    (void)state;
    for (int i = 0; i < N_ENCODERS; i++) {
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

static void decoded(enum dtype t, const void *block, float want)
{
    float got = 0;
    dtype_info(t)->decode(block, &got);
    assert_memory_equal(&got, &want, sizeof got);
}

static void test_numbers(void **state)
{
    (void)state;
    decoded(DT_F64, &(const double){1 + 0x1p-24}, 1); /* a tie: to the even one */
    decoded(DT_F64, &(const double){1 + 0x1p-24 + 0x1p-50}, 1 + 0x1p-23f);
    decoded(DT_F64, &(const double){-0.0}, -0.0f);
    decoded(DT_F64, &(const double){1e300}, INFINITY);
    decoded(DT_I8, &(const int8_t){-128}, -128);
    decoded(DT_I16, &(const int16_t){-32768}, -32768);
    decoded(DT_I32, &(const int32_t){16777217}, 16777216);
    decoded(DT_I64, &(const int64_t){-9223372036854775807 - 1}, -0x1p63f);
}

static void test_table(void **state)
{
    (void)state;
    /* Sizes and numbers as gguf.GGML_QUANT_SIZES and gguf.GGMLQuantizationType have them; the
     * package's size of Q8_1, 40, is that of an older layout, and it has no Q2_0. */
    static const struct {
        const char *name;
        int gguf, block, bytes;
    } want[] = {{"f32", 0, 1, 4},         {"f16", 1, 1, 2},         {"bf16", 30, 1, 2},
                {"i32", 26, 1, 4},        {"q4_0", 2, 32, 18},      {"q4_1", 3, 32, 20},
                {"q5_0", 6, 32, 22},      {"q5_1", 7, 32, 24},      {"q8_0", 8, 32, 34},
                {"q4_k", 12, 256, 144},   {"q5_k", 13, 256, 176},   {"q6_k", 14, 256, 210},
                {"f64", 28, 1, 8},        {"i8", 24, 1, 1},         {"i16", 25, 1, 2},
                {"i64", 27, 1, 8},        {"q8_1", 9, 32, 36},      {"q2_k", 10, 256, 84},
                {"q3_k", 11, 256, 110},   {"q8_k", 15, 256, 292},   {"iq2_xxs", 16, 256, 66},
                {"iq2_xs", 17, 256, 74},  {"iq3_xxs", 18, 256, 98}, {"iq1_s", 19, 256, 50},
                {"iq4_nl", 20, 32, 18},   {"iq3_s", 21, 256, 110},  {"iq2_s", 22, 256, 82},
                {"iq4_xs", 23, 256, 136}, {"iq1_m", 29, 256, 56},   {"tq1_0", 34, 256, 54},
                {"tq2_0", 35, 256, 66},   {"mxfp4", 39, 32, 17},    {"nvfp4", 40, 64, 36},
                {"q1_0", 41, 128, 18},    {"q2_0", 42, 64, 18}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        int t = dtype_find(want[i].name);
        assert_true(t >= 0);
        assert_int_equal(dtype_from_gguf((uint32_t)want[i].gguf), t);
        assert_int_equal(dtype_info((enum dtype)t)->block, want[i].block);
        assert_int_equal(dtype_info((enum dtype)t)->bytes, want[i].bytes);
        assert_int_equal(dtype_row_bytes((enum dtype)t, 512), 512 / want[i].block * want[i].bytes);
    }
    assert_int_equal(dtype_find("q9_9"), -1);
    assert_int_equal(dtype_from_gguf(36), -1); /* withdrawn */
    assert_int_equal(dtype_from_gguf(4000000000u), -1);
    assert_string_equal(dtype_gguf_name(10), "Q2_K");
    assert_string_equal(dtype_gguf_name(39), "MXFP4");
    assert_string_equal(dtype_gguf_name(31), "Q4_0_4_4");
    assert_null(dtype_gguf_name(43));
    assert_null(dtype_gguf_name(1000));
    for (int t = 0; t < N_DTYPE; t++) { /* the list names exactly the types with a decoder */
        char list[400], *save = NULL;
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
        cmocka_unit_test(test_decode),  cmocka_unit_test(test_ints),
        cmocka_unit_test(test_encode),  cmocka_unit_test(test_plain),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
