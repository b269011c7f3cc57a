/* test_gguf.c - every number of a GGUF header can lie: each lie is refused by a message that names
 * the file and the key or tensor. */
#include "tests/support/test.h"

#include <string.h>

#include "engine/load/checkpoint.h"

/* ---- writing files by hand ------------------------------------------------------------------- */

static void u32(struct buf *b, uint32_t v)
{
    buf_append(b, &v, sizeof v);
}

static void u64(struct buf *b, uint64_t v)
{
    buf_append(b, &v, sizeof v);
}

static void text(struct buf *b, const char *s)
{
    u64(b, strlen(s));
    buf_puts(b, s);
}

static struct buf head(uint64_t tensors, uint64_t keys)
{
    struct buf b = {0};

    buf_puts(&b, "GGUF");
    u32(&b, 3);
    u64(&b, tensors);
    u64(&b, keys);
    return b;
}

static void number(struct buf *b, const char *name, uint32_t v)
{
    text(b, name);
    u32(b, 4);
    u32(b, v);
}

struct shape {
    uint32_t ndim;
    uint64_t dim[5];
};

static void tensor(struct buf *b, const char *name, struct shape s, uint32_t type, uint64_t offset)
{
    text(b, name);
    u32(b, s.ndim);
    for (uint32_t i = 0; i < s.ndim && i < 5; i++)
        u64(b, s.dim[i]);
    u32(b, type);
    u64(b, offset);
}

static void pad(struct buf *b, size_t align, size_t more)
{
    while (b->len % align)
        buf_putc(b, 0);
    for (size_t i = 0; i < more; i++)
        buf_putc(b, (char)i);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void refused(struct buf *b, enum status status, const char *word)
{
    struct checkpoint *c;

    assert_int_equal(checkpoint_borrow("x.gguf", (struct bytes){b->data, b->len}, &c), status);
    assert_null(c);
    if (strncmp(fail_text(), "x.gguf: ", 8) != 0 || !strstr(fail_text(), word))
        fail_msg("\"%s\" should have \"%s\"", fail_text(), word);
    buf_clear(b);
}

static void test_good(void **state)
{
    struct buf b = head(2, 3);
    struct checkpoint *c;
    const struct ckpt_tensor *t;
    struct bytes strings[2];
    struct tensor v;

    (void)state;
    number(&b, "general.alignment", 64);
    text(&b, "list");
    u32(&b, 9);
    u32(&b, 8);
    u64(&b, 2);
    text(&b, "one");
    text(&b, "");
    text(&b, "half");
    u32(&b, 6);
    u32(&b, 0x3f000000);
    tensor(&b, "w", (struct shape){2, {32, 3}}, 2, 64); /* q4_0: 3 rows of 18 bytes */
    tensor(&b, "v", (struct shape){1, {4}}, 0, 0);
    pad(&b, 64, 64 + 54);
    assert_int_equal(checkpoint_borrow("x", (struct bytes){b.data, b.len}, &c), OK);
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
        assert_int_not_equal(checkpoint_borrow("x", (struct bytes){copy, n}, &c), OK);
        xfree(copy);
    }
    buf_clear(&b);
}

static void test_headers(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_puts(&b, "GGML and more bytes than four");
    refused(&b, ERR_UNSUPPORTED, "supported: gguf");
    b = head(0, 0);
    b.data[4] = 1;
    refused(&b, ERR_UNSUPPORTED, "version 1; versions 2 to 3");
    b = head(0, 0);
    memcpy(b.data + 4, "\0\0\0\3", 4);
    refused(&b, ERR_UNSUPPORTED, "big-endian");
    b = head(0, (uint64_t)1 << 60);
    refused(&b, ERR_FORMAT, "claims 1152921504606846976 keys");
    b = head((uint64_t)1 << 60, 0);
    refused(&b, ERR_FORMAT, "claims 1152921504606846976 tensors");
}

static void test_keys(void **state)
{
    struct buf b;

    (void)state;
    b = head(0, 1);
    u64(&b, (uint64_t)1 << 62);
    pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "key 1 of 1: the file ends inside its name");
    b = head(0, 1);
    text(&b, "a\nb");
    pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "control character");
    b = head(0, 1);
    text(&b, "a\xff");
    pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "not UTF-8");
    b = head(0, 1);
    text(&b, "odd");
    u32(&b, 99);
    pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "key odd: unknown type 99");
    b = head(0, 1);
    text(&b, "list");
    u32(&b, 9);
    u32(&b, 4);
    u64(&b, ((uint64_t)1 << 62) + 1); /* times 4: 4 */
    pad(&b, 8, 16);
    refused(&b, ERR_FORMAT, "key list: claims");
    b = head(0, 1);
    text(&b, "list");
    u32(&b, 9);
    u32(&b, 9);
    u64(&b, 1);
    pad(&b, 8, 16);
    refused(&b, ERR_UNSUPPORTED, "key list: arrays of arrays");
    b = head(0, 2);
    number(&b, "same", 1);
    number(&b, "same", 2);
    refused(&b, ERR_FORMAT, "key same stands twice");
    b = head(0, 1);
    number(&b, "split.count", 3);
    refused(&b, ERR_UNSUPPORTED, "one of 3 files of a split checkpoint");
    b = head(1, 1);
    number(&b, "general.alignment", 48);
    tensor(&b, "w", (struct shape){1, {4}}, 0, 0);
    refused(&b, ERR_FORMAT, "general.alignment: expected a power of two");
}

static void test_tensors(void **state)
{
    /* clang-format off */
    static const struct {
        struct shape shape; uint32_t type; uint64_t offset; const char *word;
    } bad[] = {
        {{0, {0}},             0,   0,       "has 0 dimensions"},
        {{5, {1, 1, 1, 1, 1}}, 0,   0,       "has 5 dimensions"},
        {{2, {4, 0}},          0,   0,       "dimension 1 is 0"},
        {{1, {1ull << 32}},    0,   0,       "dimension 0 is 4294967296"},
        {{4, {1 << 30, 1 << 30, 1 << 30, 1 << 30}}, 0, 0, "multiply to more than"},
        {{1, {4}},             999, 0,       "unknown type 999"},
        {{1, {4}},             0,   8,       "offset 8 is not a multiple of the alignment 32"},
        {{1, {4}},             0,   1 << 30, "offset 1073741824 lies outside the file"},
        {{1, {4}},             0,   96,      "begins at byte"},
        {{1, {33}},            2,   0,       "33 is not a multiple of 32, the block of q4_0"},
        {{2, {32, 400}},       2,   0,       "needs 7200 bytes"},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf b = head(1, 0);

        tensor(&b, "some.weight", bad[i].shape, bad[i].type, bad[i].offset);
        pad(&b, 32, 64);
        if (bad[i].offset > 64 && bad[i].offset < 1000)
            b.len = 96 + 32; /* the header needs 96; the data has 32 */
        refused(&b, ERR_FORMAT, bad[i].word);
    }
    struct buf twice = head(2, 0);

    tensor(&twice, "w", (struct shape){1, {4}}, 0, 0);
    tensor(&twice, "w", (struct shape){1, {4}}, 0, 0);
    pad(&twice, 32, 64);
    refused(&twice, ERR_FORMAT, "tensor w stands twice");
}

/* A type that is known but withdrawn is listed, so that inspect can show it. */
static void test_unsupported_type(void **state)
{
    struct buf b = head(1, 0);
    struct checkpoint *c;

    (void)state;
    tensor(&b, "w", (struct shape){1, {256}}, 31, 0);
    pad(&b, 32, 136);
    assert_int_equal(checkpoint_borrow("x", (struct bytes){b.data, b.len}, &c), OK);
    assert_int_equal(c->tensor[0].dtype, -1);
    assert_string_equal(checkpoint_type_name(&c->tensor[0]), "Q4_0_4_4");
    checkpoint_close(c);
    buf_clear(&b);
    assert_int_equal(checkpoint_open("tests/data", &c), ERR_IO);
    assert_int_equal(checkpoint_open("tests/data/absent.gguf", &c), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_unsupported_type),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
