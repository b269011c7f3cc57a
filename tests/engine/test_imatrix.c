/* Importance matrices in both formats (tests/tools/gen_imatrix.py), and what they do to a file. */
#include "engine/load/imatrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/load/quantize.h"
#include "kernels/base/mem.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

#define DATA "tests/data/quantize/imatrix"

static void same(const struct imatrix *m, const struct fixture *f, const char *name,
                 const char *array, int64_t matrices)
{
    const struct fixture_array *a = fixture_get(f, array, "f4");
    const float *want = a->data, *got;
    assert_int_equal(imatrix_get(m, name, matrices, a->shape[1], &got), OK);
    assert_non_null(got);
    assert_int_equal(a->shape[0], matrices);
    for (int64_t i = 0; i < fixture_count(a); i++)
        assert_true(fabsf(got[i] - want[i]) <= 1e-5f * want[i]);
}

static void test_formats(void **state)
{
    (void)state;
    static const char *const path[] = {DATA ".gguf", DATA ".dat"};
    struct fixture f;
    fixture_load(&f, DATA ".bin");
    for (int i = 0; i < 2; i++) {
        struct imatrix *m;
        const float *got;
        assert_int_equal(imatrix_open(path[i], &m), OK);
        assert_int_equal(imatrix_entries(m), 3);
        assert_int_equal(imatrix_chunks(m), 7);
        same(m, &f, "blk.0.attn_q.weight", i ? "attn_q_dat" : "attn_q", 1);
        same(m, &f, "blk.0.ffn_down.weight", i ? "ffn_down_dat" : "ffn_down", 1);
        same(m, &f, "blk.0.ffn_up_exps.weight", i ? "ffn_up_exps_dat" : "ffn_up_exps", 3);
        assert_int_equal(imatrix_get(m, "blk.1.attn_q.weight", 1, 32, &got), OK);
        assert_null(got);
        assert_int_equal(imatrix_get(m, "blk.0.attn_q.weight", 1, 48, &got), ERR_FORMAT);
        assert_non_null(strstr(fail_text(), "32"));
        imatrix_close(m);
    }
    fixture_clear(&f);
}

/* Every shorter file is refused by name, or (a .dat without its last lines) means the same. */
static void test_cut(void **state)
{
    (void)state;
    char *file;
    size_t n;
    assert_int_equal(file_read(DATA ".dat", 1 << 20, &file, &n), OK);
    for (size_t i = 0; i < n; i++) {
        struct imatrix *m;
        char *part = xmalloc(i + 1); /* so that a sanitizer sees a read behind it */
        memcpy(part, file, i);
        part = xrealloc(part, i ? i : 1);
        if (imatrix_read("some.dat", (struct bytes){part, i}, &m) == OK) {
            assert_int_equal(imatrix_entries(m), 3);
            imatrix_close(m);
        } else {
            assert_null(m);
            assert_int_equal(strncmp(fail_text(), "some.dat: ", 10), 0);
        }
        xfree(part);
    }
    xfree(file);
}

static void test_lies(void **state)
{
    (void)state;
    /* one entry "a" of one call: its count, then its numbers */
    static const struct {
        int32_t n;
        float value;
    } bad[] = {{2, 1}, {-1, 1}, {0, 1}, {1, -1}, {1, INFINITY}, {1, NAN}, {INT32_MAX, 1}};
    struct imatrix *m;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t head[2] = {1, 1}, tail[2] = {1, bad[i].n};
        char file[21];
        memcpy(file, head, 8);
        file[8] = 'a';
        memcpy(file + 9, tail, 8);
        memcpy(file + 17, &bad[i].value, 4);
        assert_int_equal(imatrix_read("x", (struct bytes){file, sizeof file}, &m), ERR_FORMAT);
    }
    assert_int_equal(imatrix_open("tests/data/models/qwen2.gguf", &m), ERR_FORMAT);
    assert_non_null(strstr(fail_text(), "no importance matrix"));
    assert_int_equal(imatrix_open("no/such.dat", &m), ERR_NOT_FOUND);
}

/* Columns that weigh more have smaller errors than without, on average over the tensor. */
static void test_use(void **state)
{
    (void)state;
    static const char name[] = "blk.0.ffn_down.weight";
    const char *from = "tests/data/models/qwen2.gguf";
    char path[] = "/tmp/inferd-imatrix-XXXXXX";
    double error[2] = {0};
    struct checkpoint *a, *b;
    struct imatrix *m;
    const float *weight;
    assert_true(close(mkstemp(path)) == 0);
    assert_int_equal(imatrix_open(DATA ".gguf", &m), OK);
    assert_int_equal(imatrix_get(m, name, 1, 64, &weight), OK);
    assert_int_equal(checkpoint_open(from, &a), OK);
    for (int i = 0; i < 2; i++) {
        struct quantize_options o = {
            .type = "q4_1", .imatrix = i ? m : NULL, .pure = true, .threads = 1};
        struct quantize_result r;
        assert_int_equal(quantize_file(a, path, &o, &r), OK);
        assert_int_equal(checkpoint_open(path, &b), OK);
        const struct ckpt_tensor *t = checkpoint_tensor(b, name);
        const float *x = checkpoint_view(a, checkpoint_tensor(a, name)).data;
        float y[32 * 64];
        assert_int_equal(t->shape[0] * t->shape[1], 32 * 64);
        dtype_decode(DT_Q4_1, checkpoint_view(b, t).data, y, 32 * 64);
        for (int k = 0; k < 32 * 64; k++)
            error[i] += weight[k % 64] * (x[k] - y[k]) * (x[k] - y[k]);
        if (i)
            assert_int_equal(checkpoint_key(b, "quantize.imatrix.entries_count")->integer, 3);
        checkpoint_close(b);
    }
    assert_true(error[1] < 0.8 * error[0]);
    checkpoint_close(a);
    imatrix_close(m);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
