/* test_model.c - opening models: what is said about them, their text functions, random weights,
 * inspect; and files that cannot be run. */
#include "tests/support/test.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "engine/load/checkpoint.h"
#include "engine/load/random.h"
#include "tests/support/step.h"

#define FOLDER "tests/data/models/"

static void has(const char *text, const char *word)
{
    if (!text || !strstr(text, word))
        fail_msg("\"%s\" should have \"%s\"", text ? text : "(null)", word);
}

static void test_info(void **state)
{
    struct token_list t;
    struct arena a;
    struct buf out = {0};
    struct model *m;

    (void)state;
    assert_int_equal(model_open(FOLDER "smollm2.gguf", NULL, &m), OK);
    assert_string_equal(model_info(m)->id, "tiny-llama");
    assert_string_equal(model_info(m)->format, "f32");
    assert_string_equal(model_info(m)->bos, "<|im_start|>");
    assert_string_equal(model_info(m)->eos, "<|im_end|>");
    assert_int_equal(model_info(m)->context_trained, 256);
    assert_int_equal(model_info(m)->n_vocab, 269);
    assert_false(model_info(m)->has_template);
    assert_int_equal(model_render(m, NULL, &out), ERR_TEMPLATE);
    arena_init(&a, 0);
    assert_int_equal(model_tokenize(m, &a, bytes_of("the<|im_end|>"), true, AROUND_NOTHING, &t),
                     OK);
    assert_int_equal(t.id[t.n - 1], 268);
    assert_true(bytes_equal(model_piece(m, 268), "<|im_end|>"));
    arena_clear(&a);
    model_close(m);
}

static void test_cannot_run(void **state)
{
    struct buf b = {0};
    struct model *m;
    FILE *f = fopen("build/gpt2.gguf", "wb");
    static const char key[] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
                              "\24\0\0\0\0\0\0\0general.architecture\10\0\0\0\4\0\0\0\0\0\0\0bert";

    (void)state;
    assert_non_null(f);
    fwrite(key, 1, sizeof key - 1, f);
    fclose(f);
    assert_int_equal(model_open("build/gpt2.gguf", NULL, &m), ERR_UNSUPPORTED);
    has(fail_text(), "architecture bert is not supported (supported: llama qwen2 qwen3)");
    assert_int_equal(engine_inspect("build/gpt2.gguf", &b), OK);
    has(b.data, "cannot run build/gpt2.gguf: architecture bert");
    buf_clear(&b);
    unlink("build/gpt2.gguf");
    assert_int_equal(model_open("tests/data/absent.gguf", NULL, &m), ERR_NOT_FOUND);
    has(fail_text(), "tests/data/absent.gguf");
}

/* Opens `m` on the CPU and loads it. */
static enum status load_on_cpu(struct model *m, struct device **dev)
{
    struct device_options o = {.threads = 2};
    void *weights;

    TRY(backend_cpu.open(&o, dev));
    TRY(model_place(m, *dev));
    TRY((*dev)->backend->region(*dev, REGION_WEIGHTS, m->weight_bytes, &weights));
    return model_load(m, *dev, weights, NULL, NULL);
}

/* The vocabulary is read beside the weights: it is there after model_load, and what is wrong with
 * it comes out there; a model that is closed before waits for its thread. */
static void test_text_beside_weights(void **state)
{
    static const char key[] = "tokenizer.ggml.bos_token_id";
    const int32_t real = 6; /* GGUF's number of float32 */
    struct device *dev;
    struct model *m;
    char *file, *at;
    size_t n;

    (void)state;
    assert_int_equal(model_begin(FOLDER "smollm2.gguf", NULL, &m), OK);
    assert_int_equal(load_on_cpu(m, &dev), OK);
    assert_string_equal(model_info(m)->bos, "<|im_start|>");
    assert_true(bytes_equal(model_piece(m, 268), "<|im_end|>"));
    model_close(m);
    backend_cpu.close(dev);

    assert_int_equal(file_read(FOLDER "smollm2.gguf", 1 << 24, &file, &n), OK);
    at = memmem(file, n, key, sizeof key - 1);
    assert_non_null(at);
    memcpy(at + sizeof key - 1, &real, 4);
    FILE *f = fopen("build/broken-text.gguf", "wb");
    assert_non_null(f);
    fwrite(file, 1, n, f);
    fclose(f);
    xfree(file);
    assert_int_equal(model_open("build/broken-text.gguf", NULL, &m), ERR_FORMAT);
    has(fail_text(), "build/broken-text.gguf: key tokenizer.ggml.bos_token_id is not an integer");
    assert_int_equal(model_begin("build/broken-text.gguf", NULL, &m), OK);
    assert_int_equal(load_on_cpu(m, &dev), ERR_FORMAT);
    has(fail_text(), "build/broken-text.gguf: key tokenizer.ggml.bos_token_id is not an integer");
    model_close(m);
    backend_cpu.close(dev);
    assert_int_equal(model_begin("build/broken-text.gguf", NULL, &m), OK);
    model_close(m);
    unlink("build/broken-text.gguf");
}

static void test_inspect(void **state)
{
    struct buf b = {0};

    (void)state;
    assert_int_equal(engine_inspect(FOLDER "qwen3.gguf", &b), OK);
    has(b.data, "qwen3: 2 layers, embedding 32, feed-forward 64");
    has(b.data, "4 heads, 2 key heads, head size 16");
    has(b.data, "qwen3.rope.freq_base");
    has(b.data, "blk.1.attn_q_norm.weight");
    has(b.data, "[64, 32]");
    buf_clear(&b);
}

static void test_jinja(void **state)
{
    static const char vars[] = "{\"messages\":[{\"content\":\"hi\"}],\"bos_token\":\"<s>\"}";
    const struct json *v;
    struct token_list t;
    struct buf out = {0};
    struct arena a;
    struct model *m;
    FILE *f = fopen("build/tiny.jinja", "w");

    (void)state;
    assert_non_null(f);
    fputs("{{ bos_token }}[{{ messages[0].content }}]{{ eos_token }}", f);
    fclose(f);
    arena_init(&a, 0);
    assert_int_equal(json_parse(&a, vars, sizeof vars - 1, &v), OK);
    assert_int_equal(model_open_text("build/tiny.jinja", &m), OK);
    assert_int_equal(model_render(m, v, &out), OK);
    assert_string_equal(out.data, "<s>[hi]"); /* theirs wins over ours; the file has no EOS */
    assert_int_equal(model_tokenize(m, &a, bytes_of("x"), false, AROUND_NOTHING, &t),
                     ERR_UNSUPPORTED);
    model_close_text(m);
    arena_clear(&a);
    buf_clear(&out);
    unlink("build/tiny.jinja");
}

/* Every format that there is: weights of mean 0 (those whose codes lie around another number:
 * nearly) and deviation 1 / sqrt(K), the same from the same seed. */
static void test_random_weights(void **state)
{
    (void)state;
    for (int i = 0; i < N_DTYPE; i++) {
        const char *name = dtype_info((enum dtype)i)->name;
        bool aside = i == DT_TQ2_0 || i == DT_Q2_0, coarse = i == DT_MXFP4 || i == DT_NVFP4;
        struct random_model r = {"tiny", name, 7};
        struct checkpoint *c;
        const struct ckpt_tensor *t;
        double sum = 0, square = 0;
        int64_t n;
        char *a, *b;
        float *w;

        if (dtype_info((enum dtype)i)->block == 1 && i != DT_F32 && i != DT_F16 && i != DT_BF16)
            continue; /* whole numbers and f64 are no weights' */
        assert_int_equal(random_open(&r, &c), OK);
        t = checkpoint_tensor(c, "blk.1.ffn_down.weight");
        assert_int_equal(t->dtype, i);
        n = t->shape[0] * t->shape[1];
        a = xmalloc(t->bytes);
        b = xmalloc(t->bytes);
        w = xmalloc((size_t)n * sizeof *w);
        assert_int_equal(c->format->fill(c, t, a), OK);
        assert_int_equal(c->format->fill(c, t, b), OK);
        assert_memory_equal(a, b, t->bytes);
        assert_int_equal(c->format->fill(c, t - 1, b), OK);
        assert_memory_not_equal(a, b, t->bytes < (t - 1)->bytes ? t->bytes : 64);
        dtype_decode((enum dtype)t->dtype, a, w, n);
        for (int64_t j = 0; j < n; j++) {
            sum += w[j];
            square += (double)w[j] * w[j];
        }
        square = sqrt(square / (double)n) * sqrt((double)t->shape[1]);
        sum = sum / (double)n * sqrt((double)t->shape[1]);
        if (!(square > (coarse ? 0.7 : 0.8) && square < (coarse ? 1.5 : 1.25) &&
              fabs(sum) < (aside ? 0.5 : 0.2)))
            fail_msg("%s: deviation %g, mean %g of 1 / sqrt(K)", name, square, sum);
        xfree(a);
        xfree(b);
        xfree(w);
        checkpoint_close(c);
    }
}

static void test_random_model(void **state)
{
    struct random_model r = {"tiny", "q4_0", 3};
    struct step_options o = {.random = &r,
                             .backend = &backend_cpu,
                             .kv = DT_F32,
                             .max_rows = 8,
                             .max_seqs = 1,
                             .max_tokens = 8};
    static const int32_t token[3] = {1, 500, 7};
    struct step_seq seq = {.n = 3, .token = token, .want = 1};
    struct token_list t;
    struct stepper s;
    float logits[512];

    (void)state;
    assert_int_equal(step_open(&s, &o), OK);
    assert_int_equal(step_run(&s, &seq, 1, logits), OK);
    for (int i = 0; i < 512; i++)
        assert_true(isfinite(logits[i]) && fabsf(logits[i]) < 100);
    assert_true(bytes_equal(model_piece(s.m, 42), "<42>"));
    assert_int_equal(model_tokenize(s.m, NULL, bytes_of("x"), false, AROUND_NOTHING, &t),
                     ERR_UNSUPPORTED);
    has(model_info(s.m)->kernels, "q4_0");
    has(model_info(s.m)->kernels, "vectors");
    step_close(&s);
}

static void test_random_names(void **state)
{
    struct random_model shape = {"gpt-5", "q4_0", 0}, format = {"tiny", "q3_x", 0};
    struct model *m;

    (void)state;
    assert_int_equal(model_open(NULL, &shape, &m), ERR_UNSUPPORTED);
    has(fail_text(), "shapes: qwen2.5-0.5b");
    assert_int_equal(model_open(NULL, &format, &m), ERR_UNSUPPORTED);
    has(fail_text(), "formats: f32 f16 bf16 q8_0");
    has(fail_text(), "f8_e4m3 nf4)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),           cmocka_unit_test(test_cannot_run),
        cmocka_unit_test(test_inspect),        cmocka_unit_test(test_jinja),
        cmocka_unit_test(test_random_weights), cmocka_unit_test(test_random_model),
        cmocka_unit_test(test_random_names),   cmocka_unit_test(test_text_beside_weights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
