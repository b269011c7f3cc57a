/* Quantising files: what is carried over, what the blocks decode to, and runs that fail. That other
 * programs read the files is tests/e2e/test_quantize.py's. */
#include "engine/load/quantize.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/load/gguf.h"
#include "engine/load/gguf_write.h"
#include "kernels/quant/encode.h"
#include "tests/support/gguf.h"
#include "tests/support/test.h"

#define MODELS "tests/data/models/"

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[4][160];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/inferd-quantize-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(folder); /* fails when a test left anything */
}

static struct checkpoint *open_file(const char *path)
{
    struct checkpoint *c;
    if (checkpoint_open(path, &c) != OK)
        fail_msg("%s", fail_text());
    return c;
}

static struct checkpoint *quantize(const char *from, const char *to,
                                   const struct quantize_options *o)
{
    struct checkpoint *c = open_file(from);
    struct quantize_result r;
    if (quantize_file(c, to, o, &r) != OK)
        fail_msg("%s", fail_text());
    assert_int_equal(r.bytes_in, checkpoint_bytes(c));
    checkpoint_close(c);
    c = open_file(to);
    assert_int_equal(r.bytes_out, checkpoint_bytes(c));
    return c;
}

static float *decoded(const struct checkpoint *c, const struct ckpt_tensor *t, int64_t *n)
{
    struct tensor v = checkpoint_view(c, t);
    float *out;
    *n = tensor_count(&v);
    out = xmalloc((size_t)*n * sizeof *out);
    dtype_decode((enum dtype)t->dtype, v.data, out, *n);
    return out;
}

static bool same_value(const struct value *a, const struct value *b)
{
    return a->kind == b->kind && a->elem_type == b->elem_type && a->integer == b->integer &&
           memcmp(&a->number, &b->number, sizeof a->number) == 0 && a->n == b->n &&
           a->text.n == b->text.n && (!a->text.n || memcmp(a->text.p, b->text.p, a->text.n) == 0);
}

/* Every key of the source, and every tensor as exactly the numbers that the source decodes to. */
static void test_as_it_was(void **state)
{
    (void)state;
    static const char *const file[] = {MODELS "smollm2.gguf", MODELS "qwen2-q4_1.gguf",
                                       MODELS "llama-k.gguf",
                                       MODELS "llama-split-00001-of-00003.gguf"};
    for (size_t f = 0; f < sizeof file / sizeof *file; f++) {
        const char *out = path_of("a.gguf");
        struct checkpoint *a = open_file(file[f]), *b;
        b = quantize(file[f], out, &(struct quantize_options){.type = "f32", .threads = 2});
        assert_int_equal(b->n_tensors, a->n_tensors);
        assert_int_equal(b->n_files, 1);
        for (int i = 0; i < a->n_tensors; i++) {
            const struct ckpt_tensor *s = &a->tensor[i], *t = checkpoint_tensor(b, s->name);
            int64_t n, m;
            assert_non_null(t);
            assert_int_equal(t->dtype, DT_F32);
            assert_int_equal(t->ndim, s->ndim);
            assert_memory_equal(t->shape, s->shape, sizeof t->shape);
            float *x = decoded(a, s, &n), *y = decoded(b, t, &m);
            assert_int_equal(n, m);
            assert_memory_equal(x, y, (size_t)n * sizeof *x);
            xfree(x);
            xfree(y);
        }
        for (int i = 0; i < a->n_keys; i++) {
            const struct value *v = checkpoint_key(b, a->key[i].name);
            if (strncmp(a->key[i].name, "split.", 6) == 0)
                assert_null(v);
            else if (strcmp(a->key[i].name, "general.file_type") != 0 &&
                     strcmp(a->key[i].name, "general.quantization_version") != 0)
                assert_true(v && same_value(v, &a->key[i].value));
        }
        assert_int_equal(checkpoint_key(b, "general.file_type")->integer, 0);
        assert_int_equal(checkpoint_key(b, "general.quantization_version")->integer, 2);
        checkpoint_close(a);
        checkpoint_close(b);
        assert_int_equal(unlink(out), 0);
    }
}

/* Matrices are what the encoder makes of their rows; vectors stay. */
static void test_blocks(void **state)
{
    (void)state;
    static const char *const types[] = {"q8_0", "q4_0", "q5_1", "iq4_nl", "mxfp4", "f16", "bf16"};
    struct checkpoint *a = open_file(MODELS "qwen2.gguf");
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const char *out = path_of("b.gguf");
        enum dtype want = (enum dtype)dtype_find(types[k]);
        struct quantize_options o = {.type = types[k], .pure = true, .threads = 2};
        struct checkpoint *b = quantize(MODELS "qwen2.gguf", out, &o);
        for (int i = 0; i < a->n_tensors; i++) {
            const struct ckpt_tensor *s = &a->tensor[i], *t = checkpoint_tensor(b, s->name);
            uint8_t *blocks = xmalloc(t->bytes);
            int64_t n;
            float *x = decoded(a, s, &n);
            assert_int_equal(t->dtype, s->ndim == 2 ? want : DT_F32);
            encode_row((enum dtype)t->dtype, x, NULL, n, blocks);
            assert_memory_equal(blocks, checkpoint_view(b, t).data, t->bytes);
            xfree(blocks);
            xfree(x);
        }
        checkpoint_close(b);
        assert_int_equal(unlink(out), 0);
    }
    checkpoint_close(a);
}

static double squares(const struct checkpoint *a, const struct checkpoint *b, const char *name,
                      double factor)
{
    int64_t n, m;
    float *x = decoded(a, checkpoint_tensor(a, name), &n);
    float *y = decoded(b, checkpoint_tensor(b, name), &m);
    double error = 0, all = 0;
    assert_int_equal(n, m);
    for (int64_t i = 0; i < n; i++) {
        error += (x[i] - factor * y[i]) * (x[i] - factor * y[i]);
        all += (double)x[i] * x[i];
    }
    xfree(x);
    xfree(y);
    return error / all;
}

/* NVFP4 has one factor a tensor beside it, and a copy of such a file keeps it. */
static void test_nvfp4(void **state)
{
    (void)state;
    static const char *const matrix = "blk.0.attn_q.weight";
    const char *first = path_of("c.gguf"), *second = path_of("d.gguf"), *back = path_of("e.gguf");
    struct quantize_options o = {.type = "nvfp4", .requantize = true, .threads = 1};
    struct checkpoint *a = open_file(MODELS "llama-k.gguf"), *b, *c, *d;
    float factor, same;
    b = quantize(MODELS "llama-k.gguf", first, &o);
    memcpy(&factor, checkpoint_view(b, checkpoint_tensor(b, "blk.0.attn_q.scale")).data, 4);
    assert_true(factor > 0);
    assert_int_equal(checkpoint_tensor(b, matrix)->dtype, DT_NVFP4);
    double e = squares(a, b, matrix, (double)factor);
    assert_true(e < 0.012); /* of normal numbers about 0.0074 */
    c = quantize(first, second, &(struct quantize_options){.type = "nvfp4", .threads = 3});
    memcpy(&same, checkpoint_view(c, checkpoint_tensor(c, "blk.0.attn_q.scale")).data, 4);
    assert_true(same == factor);
    assert_true(squares(b, c, matrix, 1) == 0);
    d = quantize(first, back, &(struct quantize_options){.type = "f32", .threads = 1});
    assert_null(checkpoint_tensor(d, "blk.0.attn_q.scale"));
    assert_true(squares(d, b, matrix, (double)factor) == 0);
    checkpoint_close(a);
    checkpoint_close(b);
    checkpoint_close(c);
    checkpoint_close(d);
    assert_true(unlink(first) == 0 && unlink(second) == 0 && unlink(back) == 0);
}

static void same_files(struct checkpoint *c[2])
{
    assert_int_equal(c[0]->file[0].size, c[1]->file[0].size);
    assert_memory_equal(c[0]->file[0].data, c[1]->file[0].data, c[0]->file[0].size);
    checkpoint_close(c[0]);
    checkpoint_close(c[1]);
}

static void test_threads(void **state)
{
    (void)state;
    const char *out[2] = {path_of("f.gguf"), path_of("g.gguf")};
    struct checkpoint *c[2];
    for (int i = 0; i < 2; i++) {
        struct quantize_options o = {.type = "q3_k_m", .requantize = true, .threads = 1 + 3 * i};
        c[i] = quantize(MODELS "llama-k.gguf", out[i], &o);
    }
    same_files(c);
    for (int i = 0; i < 2; i++)
        assert_int_equal(unlink(out[i]), 0);
}

/* A matrix of several slices, so that threads meet: each has the others' rows beside its own, and
 * for nvfp4 all look for the largest number first. */
static void test_slices(void **state)
{
    (void)state;
    static const char *const types[] = {"nvfp4", "q8_0"};
    const char *out[2] = {path_of("h.gguf"), path_of("i.gguf")};
    enum { ROWS = 1100, COLUMNS = 512 };
    struct buf b = gguf_head(1, 1);
    gguf_text(&b, "general.architecture");
    gguf_u32(&b, GGUF_STRING);
    gguf_text(&b, "llama");
    gguf_tensor(&b, "blk.0.ffn_up.weight", (struct gguf_shape){2, {COLUMNS, ROWS}}, 0, 0);
    gguf_pad(&b, 32, 0);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        float x = (float)(i * 2654435761u >> 8) - (1 << 23);
        buf_append(&b, &x, sizeof x);
    }
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct checkpoint *from, *c[2];
        assert_int_equal(gguf_borrow("m.gguf", &b, &from), OK);
        for (int i = 0; i < 2; i++) {
            struct quantize_options o = {.type = types[t], .threads = 1 + 3 * i};
            struct quantize_result r;
            assert_int_equal(quantize_file(from, out[i], &o, &r), OK);
            c[i] = open_file(out[i]);
        }
        same_files(c);
        checkpoint_close(from);
        for (int i = 0; i < 2; i++)
            assert_int_equal(unlink(out[i]), 0);
    }
    buf_clear(&b);
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* The run fails with `want` and says `word`; nothing of it stays, and what was there does. */
static void refused(const char *from, const char *to, const struct quantize_options *o,
                    enum status want, const char *word)
{
    struct checkpoint *c = open_file(from);
    struct quantize_result r;
    char partial[200];
    enum status s = quantize_file(c, to, o, &r);
    if (s != want || !strstr(fail_text(), word))
        fail_msg("%s: %s, expected %s with \"%s\"", status_name(s), fail_text(), status_name(want),
                 word);
    snprintf(partial, sizeof partial, "%s.partial", to);
    assert_false(exists(partial));
    checkpoint_close(c);
}

static void test_failures(void **state)
{
    (void)state;
    static const _Atomic bool stop = true;
    const char *out = path_of("h.gguf"), *qwen = MODELS "qwen2.gguf";
    struct quantize_options o = {.type = "q8_0", .threads = 2};
    struct rlimit all, little;
    refused(MODELS "qwen2-q4_1.gguf", out, &o, ERR_INVALID, "--allow-requantize");
    refused(qwen, path_of("no/such.gguf"), &o, ERR_IO, "no/such.gguf");
    refused(qwen, folder, &o, ERR_INVALID, folder);
    refused(qwen, "/dev/full", &o, ERR_INVALID, "/dev/full");
    o.stop = &stop;
    refused(qwen, out, &o, ERR_CANCELLED, "interrupted");
    o.stop = NULL;
    o.type = "q9";
    refused(qwen, out, &o, ERR_INVALID, "q8_0");
    o.type = "q8_0";
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    little = (struct rlimit){20000, all.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    refused(qwen, out, &o, ERR_IO, out);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    assert_false(exists(out));
}

/* A file that is being written is not written by a second run, and one left behind is. */
static void test_two_runs(void **state)
{
    (void)state;
    const char *out = path_of("i.gguf");
    struct quantize_options o = {.type = "q8_0", .threads = 1};
    struct checkpoint *c = open_file(MODELS "qwen2.gguf");
    struct quantize_result r;
    struct gguf_writer *w;
    char partial[200];
    snprintf(partial, sizeof partial, "%s.partial", out);
    assert_int_equal(gguf_create(out, &w), OK);
    assert_int_equal(quantize_file(c, out, &o, &r), ERR_INVALID);
    assert_true(exists(partial));
    gguf_close(w);
    assert_false(exists(partial));
    FILE *left = fopen(partial, "w"); /* longer than the new one */
    for (int i = 0; i < 1 << 20; i++)
        fputc('x', left);
    fclose(left);
    checkpoint_close(quantize(MODELS "qwen2.gguf", out, &o));
    assert_false(exists(partial));
    checkpoint_close(quantize(MODELS "qwen2.gguf", out, &o)); /* and over a finished one */
    assert_int_equal(unlink(out), 0);
    checkpoint_close(c);
}

/* A model of one matrix [2, 4] of the given numbers, and a key with the largest number there is. */
static struct buf one_matrix(const float *x)
{
    struct buf b = gguf_head(1, 2);
    gguf_text(&b, "most");
    gguf_u32(&b, GGUF_U64);
    gguf_u64(&b, UINT64_MAX);
    gguf_text(&b, "general.architecture");
    gguf_u32(&b, GGUF_STRING);
    gguf_text(&b, "llama");
    gguf_tensor(&b, "token_embd.weight", (struct gguf_shape){2, {4, 2}}, 0, 0);
    gguf_pad(&b, 32, 0);
    buf_append(&b, x, 8 * sizeof *x);
    return b;
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        float x;
        const char *type, *word;
    } bad[] = {{NAN, "bf16", "nan"},
               {INFINITY, "f32", NULL},
               {-INFINITY, "bf16", "-inf"},
               {70000, "f16", "f16"},
               {1e20f, "bf16", "1e+20"}};
    const char *out = path_of("j.gguf");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct quantize_options o = {.type = bad[i].type, .threads = 1};
        const float x[8] = {1, 2, 3, 4, 5, bad[i].x, 7, 8};
        struct buf b = one_matrix(x);
        struct checkpoint *c;
        struct quantize_result r;
        assert_int_equal(gguf_borrow("m.gguf", &b, &c), OK);
        enum status s = quantize_file(c, out, &o, &r);
        if (bad[i].word) {
            assert_int_not_equal(s, OK);
            assert_non_null(strstr(fail_text(), bad[i].word));
            assert_non_null(strstr(fail_text(), "token_embd.weight"));
        } else { /* a tensor that keeps its format is copied, whatever it holds */
            assert_int_equal(s, OK);
            struct checkpoint *copy = open_file(out);
            assert_true(same_value(checkpoint_key(copy, "most"), checkpoint_key(c, "most")));
            checkpoint_close(copy);
            assert_int_equal(unlink(out), 0);
        }
        checkpoint_close(c);
        buf_clear(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_it_was), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_nvfp4),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_slices),    cmocka_unit_test(test_failures),
        cmocka_unit_test(test_two_runs),  cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
