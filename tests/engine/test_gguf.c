/* test_gguf.c - every number of a GGUF header can lie: each lie is refused by a message that names
 * the file and the key or tensor. */
#include "tests/support/test.h"

#include <string.h>

#include "engine/load/checkpoint.h"
#include "tests/support/gguf.h"

/* ---- checks ---------------------------------------------------------------------------------- */

static void refused(struct buf *b, enum status status, const char *word)
{
    struct checkpoint *c;

    assert_int_equal(gguf_borrow("x.gguf", b, &c), status);
    assert_null(c);
    if (strncmp(fail_text(), "x.gguf: ", 8) != 0 || !strstr(fail_text(), word))
        fail_msg("\"%s\" should have \"%s\"", fail_text(), word);
    buf_clear(b);
}

static void test_good(void **state)
{
    struct buf b = gguf_head(2, 3);
    struct checkpoint *c;
    const struct ckpt_tensor *t;
    struct bytes strings[2];
    struct tensor v;

    (void)state;
    gguf_number(&b, "general.alignment", 64);
    gguf_text(&b, "list");
    gguf_u32(&b, 9);
    gguf_u32(&b, 8);
    gguf_u64(&b, 2);
    gguf_text(&b, "one");
    gguf_text(&b, "");
    gguf_text(&b, "half");
    gguf_u32(&b, 6);
    gguf_u32(&b, 0x3f000000);
    gguf_tensor(&b, "w", (struct gguf_shape){2, {32, 3}}, 2, 64); /* q4_0: 3 rows of 18 bytes */
    gguf_tensor(&b, "v", (struct gguf_shape){1, {4}}, 0, 0);
    gguf_pad(&b, 64, 64 + 54);
    assert_int_equal(gguf_borrow("x", &b, &c), OK);
    assert_true(checkpoint_key(c, "half")->number == 0.5);
    assert_int_equal(checkpoint_key(c, "general.alignment")->integer, 64);
    assert_null(checkpoint_key(c, "other"));
    assert_true(checkpoint_strings(c, checkpoint_key(c, "list"), strings));
    assert_true(bytes_equal(strings[0], "one") && strings[1].n == 0);
    t = checkpoint_tensor(c, "w");
    assert_int_equal(t->dtype, DT_Q4_0);
    assert_int_equal(t->bytes, 54);
    v = checkpoint_view(c, t);
    assert_int_equal(v.shape[0], 3);
    assert_int_equal(v.shape[1], 32);
    assert_int_equal((const char *)v.data - b.data, b.len - 54);
    checkpoint_close(c);
    for (size_t n = 0; n < b.len; n++) { /* cut anywhere: refused, never read behind the end */
        char *copy = xmalloc(n + 1);

        memcpy(copy, b.data, n);
        assert_int_not_equal(checkpoint_borrow(&(struct ckpt_lent){"x", {copy, n}}, 1, &c), OK);
        xfree(copy);
    }
    buf_clear(&b);
}

static void test_headers(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_puts(&b, "GGML and more bytes than four");
    refused(&b, ERR_UNSUPPORTED, "supported: GGUF");
    b = gguf_head(0, 0);
    b.data[4] = 1;
    refused(&b, ERR_UNSUPPORTED, "version 1; versions 2 to 3");
    b = gguf_head(0, 0);
    memcpy(b.data + 4, "\0\0\0\3", 4);
    refused(&b, ERR_UNSUPPORTED, "big-endian");
    b = gguf_head(0, (uint64_t)1 << 60);
    refused(&b, ERR_FORMAT, "claims 1152921504606846976 keys");
    b = gguf_head((uint64_t)1 << 60, 0);
    refused(&b, ERR_FORMAT, "claims 1152921504606846976 tensors");
}

static void test_keys(void **state)
{
    struct buf b;

    (void)state;
    b = gguf_head(0, 1);
    gguf_u64(&b, (uint64_t)1 << 62);
    gguf_pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "key 1 of 1: the file ends inside its name");
    b = gguf_head(0, 1);
    gguf_text(&b, "a\nb");
    gguf_pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "control character");
    b = gguf_head(0, 1);
    gguf_text(&b, "a\xff");
    gguf_pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "not UTF-8");
    b = gguf_head(0, 1);
    gguf_text(&b, "odd");
    gguf_u32(&b, 99);
    gguf_pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "key odd: unknown type 99");
    b = gguf_head(0, 1);
    gguf_text(&b, "list");
    gguf_u32(&b, 9);
    gguf_u32(&b, 4);
    gguf_u64(&b, ((uint64_t)1 << 62) + 1); /* times 4: 4 */
    gguf_pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "key list: claims");
    b = gguf_head(0, 1);
    gguf_text(&b, "list");
    gguf_u32(&b, 9);
    gguf_u32(&b, 9);
    gguf_u64(&b, 1);
    gguf_pad(&b, 8, 16);
    refused(&b, ERR_UNSUPPORTED, "key list: arrays of arrays");
    b = gguf_head(0, 2);
    gguf_number(&b, "same", 1);
    gguf_number(&b, "same", 2);
    refused(&b, ERR_FORMAT, "key same stands twice");
    b = gguf_head(0, 1);
    gguf_number(&b, "split.count", 3);
    refused(&b, ERR_FORMAT, "key split.no is missing");
    b = gguf_head(1, 1);
    gguf_number(&b, "general.alignment", 48);
    gguf_tensor(&b, "w", (struct gguf_shape){1, {4}}, 0, 0);
    refused(&b, ERR_FORMAT, "general.alignment: expected a power of two");
}

static void test_tensors(void **state)
{
    /* clang-format off */
    static const struct {
        struct gguf_shape shape; uint32_t type; uint64_t offset; const char *word;
    } bad[] = {
        {{0, {0}},             0,   0,       "has 0 dimensions"},
        {{5, {1, 1, 1, 1, 1}}, 0,   0,       "has 5 dimensions"},
        {{2, {4, 0}},          0,   0,       "dimension 1 is 0"},
        {{1, {1ull << 32}},    0,   0,       "dimension 0 is 4294967296"},
        {{4, {1 << 30, 1 << 30, 1 << 30, 1 << 30}}, 0, 0, "multiply to more than"},
        {{1, {4}},             999, 0,       "unknown type 999"},
        {{1, {4}},             0,   8,       "offset 8 is not a multiple of the alignment 32"},
        {{1, {4}},             0,   1 << 30, "offset 1073741824 lies outside the file"},
        {{1, {4}},             0,   96,      "offset 96 lies outside the file of 128 bytes, whose data begins at byte 96"},
        {{1, {33}},            2,   0,       "33 is not a multiple of 32, the block of q4_0"},
        {{2, {32, 400}},       2,   0,       "needs 7200 bytes"},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf b = gguf_head(1, 0);

        gguf_tensor(&b, "some.weight", bad[i].shape, bad[i].type, bad[i].offset);
        gguf_pad(&b, 32, 64);
        if (bad[i].offset > 64 && bad[i].offset < 1000)
            b.len = 96 + 32; /* the header needs 96; the data has 32 */
        refused(&b, ERR_FORMAT, bad[i].word);
    }
    struct buf twice = gguf_head(2, 0);

    gguf_tensor(&twice, "w", (struct gguf_shape){1, {4}}, 0, 0);
    gguf_tensor(&twice, "w", (struct gguf_shape){1, {4}}, 0, 0);
    gguf_pad(&twice, 32, 64);
    refused(&twice, ERR_FORMAT, "tensor w stands twice");
}

/* Each lies inside the file, and all together are larger than it. */
static void test_overlap(void **state)
{
    struct buf b = gguf_head(3, 0);
    struct checkpoint *c;

    (void)state;
    gguf_tensor(&b, "a", (struct gguf_shape){1, {16}}, 0, 64); /* in any order */
    gguf_tensor(&b, "b", (struct gguf_shape){1, {8}}, 0, 32);
    gguf_tensor(&b, "c", (struct gguf_shape){1, {8}}, 0, 0);
    gguf_pad(&b, 32, 128);
    assert_int_equal(gguf_borrow("x", &b, &c), OK);
    checkpoint_close(c);
    buf_clear(&b);
    b = gguf_head(3, 0);
    gguf_tensor(&b, "a", (struct gguf_shape){1, {16}}, 0, 0);
    gguf_tensor(&b, "b", (struct gguf_shape){1, {16}}, 0, 0);
    gguf_tensor(&b, "c", (struct gguf_shape){1, {8}}, 0, 0);
    gguf_pad(&b, 32, 128);
    refused(&b, ERR_FORMAT, "tensor c: the tensors up to it need more bytes");
}

/* A type that is known but withdrawn is listed, so that inspect can show it. */
/* d * (q - 1), neighbours from the lowest bits on. */
static void check_wide(const struct checkpoint *c, const char *name, const unsigned char *p)
{
    const struct ckpt_tensor *t = checkpoint_tensor(c, name);
    unsigned char made[4 * 18];
    float got[256];

    assert_non_null(t);
    assert_int_equal(t->dtype, DT_Q2_0);
    assert_int_equal(t->bytes, sizeof made);
    assert_string_equal(c->format->packing(t), "Q2_0 in blocks of 128");
    assert_int_equal(c->format->fill(c, t, made), OK);
    dtype_decode(DT_Q2_0, made, got, 256);
    for (int i = 0; i < 256; i++) {
        const unsigned char *b = p + i / 128 * 34;
        float d;

        dtype_decode(DT_F16, b, &d, 1);
        assert_true(got[i] == d * (float)((b[2 + i % 128 / 4] >> i % 4 * 2 & 3) - 1));
    }
}

/* Q2_0 of the type number's first form: found by the room that it has. */
static void test_wide_q2(void **state)
{
    struct buf b = gguf_head(3, 1);
    struct checkpoint *c;
    const unsigned char *data;

    (void)state;
    gguf_number(&b, "general.alignment", 8);
    gguf_tensor(&b, "first", (struct gguf_shape){1, {256}}, 42, 0);
    gguf_tensor(&b, "second", (struct gguf_shape){2, {128, 2}}, 142, 72);
    gguf_tensor(&b, "last", (struct gguf_shape){2, {128, 2}}, 42, 144);
    gguf_pad(&b, 8, 144 + 68);
    assert_int_equal(gguf_borrow("x", &b, &c), OK);
    data = (const unsigned char *)b.data + b.len - 144 - 68;
    assert_false(checkpoint_tensor(c, "first")->made); /* 72 bytes: there is room for them */
    check_wide(c, "second", data + 72);
    check_wide(c, "last", data + 144);
    checkpoint_close(c);
    buf_clear(&b);
    b = gguf_head(2, 1);
    gguf_number(&b, "general.alignment", 8);
    gguf_tensor(&b, "near", (struct gguf_shape){2, {128, 2}}, 42, 0);
    gguf_tensor(&b, "next", (struct gguf_shape){1, {2}}, 0, 64);
    gguf_pad(&b, 8, 128);
    refused(&b, ERR_FORMAT, "tensor near: needs 72 bytes, tensor next begins 64 behind it");
    b = gguf_head(1, 0);
    gguf_tensor(&b, "odd", (struct gguf_shape){2, {128, 2}}, 143, 0);
    gguf_pad(&b, 32, 128);
    assert_int_equal(gguf_borrow("x", &b, &c), OK);
    assert_string_equal(checkpoint_type_name(c, checkpoint_tensor(c, "odd")), "PTQ1_0");
    checkpoint_close(c);
    buf_clear(&b);
}

static void test_unsupported_type(void **state)
{
    struct buf b = gguf_head(1, 0);
    struct checkpoint *c;

    (void)state;
    gguf_tensor(&b, "w", (struct gguf_shape){1, {256}}, 31, 0);
    gguf_pad(&b, 32, 136);
    assert_int_equal(gguf_borrow("x", &b, &c), OK);
    assert_int_equal(c->tensor[0].dtype, -1);
    assert_string_equal(checkpoint_type_name(c, &c->tensor[0]), "Q4_0_4_4");
    checkpoint_close(c);
    buf_clear(&b);
    assert_int_equal(checkpoint_open("tests/data", &c), ERR_NOT_FOUND);
    assert_int_equal(checkpoint_open("tests/data/absent.gguf", &c), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_wide_q2),
        cmocka_unit_test(test_unsupported_type),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
