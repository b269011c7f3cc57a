/* test_models.c - whole networks on the CUDA backend, through the loader and the forward.
 *
 * Checkpoints of tests/data/models against Transformers' logits in float32, and random weights of
 * head size 64, which the tuned attention takes, against the CPU with the same KV type. Each runs
 * as one prefill, token by token, and as a ragged mix of chunks and single rows, with equal bits.
 * Wherever the reference's choice leads by more than twice the bound, ours is the same. */
#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/gpu.h"
#include "tests/simt/product.h"
#include "tests/support/fixture.h"
#include "tests/support/step.h"
#include "tests/support/test.h"

#define FOLDER "tests/data/models/"

enum { N_TOKENS = 24, SINGLE = 6, MAX_SEQS = 3 };

/* max|a - b| over max|b|. Formats with int8 kernels quantise activations in blocks of 32, which
 * costs their reference on the CPU the same; `brief`: for the slow builds too. */
/* clang-format off */
static const struct { const char *name; enum dtype kv; float bound; bool brief; } models[] = {
    {"llama",       DT_F32,  1e-4f, false},
    {"mistral",     DT_BF16, 2e-2f, false},
    {"qwen2",       DT_BF16, 2e-2f, false},
    {"qwen3",       DT_BF16, 2e-2f, true},
    {"qwen2-f16",   DT_BF16, 2e-2f, false},
    {"qwen2-bf16",  DT_BF16, 2e-2f, true},
    {"qwen2-q8_0",  DT_BF16, 4e-2f, false},
    {"qwen2-q4_0",  DT_BF16, 4e-2f, true},
    {"qwen2-q4_1",  DT_BF16, 4e-2f, false},
    {"qwen2-q5_0",  DT_BF16, 4e-2f, false},
    {"qwen2-q5_1",  DT_BF16, 4e-2f, false},
    {"llama-k",     DT_BF16, 4e-2f, false},
    {"llama-nvfp4", DT_BF16, 4e-2f, false},
    {"qwen2-mxfp4", DT_BF16, 4e-2f, false}, /* its token table too */
    {"llama-codes", DT_BF16, 4e-2f, false},
    {"llama-low",   DT_BF16, 4e-2f, false},
    {"hf/gptq4-act", DT_BF16, 4e-2f, false}, /* columns in another order */
    {"hf/ct-float", DT_BF16, 4e-2f, false},  /* FP8 */
    {"hf/bnb", DT_BF16, 4e-2f, false},       /* nf4 */
};

/* Random weights: block formats multiply as the CPU does, bf16 and f16 differ in the order of
 * sums, and fp8 pages where that moves a key or a value over a limit between two codes. */
static const struct { const char *format; enum dtype kv; float bound; bool brief; } randoms[] = {
    {"bf16", DT_BF16,    2e-2f, true},
    {"bf16", DT_F8_E4M3, 6e-2f, false},
    {"f16",  DT_BF16,    2e-2f, false},
    {"q8_0", DT_BF16,    4e-2f, true},
};
/* clang-format on */
#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

struct setup {
    struct stepper s;
    const char *name;
    const int32_t *token;
    const float *expected;     /* [N_TOKENS, V] */
    float *got, *whole, bound; /* whole: logits of one prefill */
    int n_vocab;
};

static void open_model(struct setup *u, const struct step_options *from, const struct backend *b)
{
    struct step_options o = *from;
    o.backend = b;
    o.threads = 1;
    o.max_rows = N_TOKENS * MAX_SEQS;
    o.max_seqs = MAX_SEQS;
    o.max_tokens = N_TOKENS + 40;
    if (step_open(&u->s, &o) != OK)
        fail_msg("%s: %s", u->name, fail_text());
    u->n_vocab = u->s.m->net.hp.n_vocab;
    if (b == &backend_cuda)
        gpu_early(backend_cuda.queue(u->s.dev));
}

static void run(struct setup *u, const struct step_seq *seq, int n, float *logits)
{
    if (step_run(&u->s, seq, n, logits) != OK)
        fail_msg("%s: %s", u->name, fail_text());
}

static int best_of(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* Logits of rows [first, first + n) against the reference. */
static void compare(const struct setup *u, const char *how, int first, int n, const float *got)
{
    float most = 0;
    for (int i = 0; i < N_TOKENS * u->n_vocab; i++)
        most = fmaxf(most, fabsf(u->expected[i]));
    const float allowed = u->bound * most;
    const size_t row = (size_t)u->n_vocab;
    if (memcmp(got, u->whole + (size_t)first * row, (size_t)n * row * sizeof *got) != 0)
        fail_msg("%s, %s, row %d: other bits than in one piece", u->name, how, first);
    for (int r = 0; r < n; r++, got += u->n_vocab) {
        const float *want = u->expected + (size_t)(first + r) * (size_t)u->n_vocab;
        float worst = 0;
        for (int i = 0; i < u->n_vocab; i++) {
            float d = fabsf(got[i] - want[i]);
            worst = d > worst || isnan(d) ? d : worst;
        }
        if (!(worst <= allowed))
            fail_msg("%s, %s, row %d: differs by %g, allowed %g", u->name, how, first + r,
                     (double)worst, (double)allowed);
        int ours = best_of(got, u->n_vocab), theirs = best_of(want, u->n_vocab);
        if (want[theirs] - want[ours] > 2 * allowed)
            fail_msg("%s, %s, row %d: token %d is %g below %d", u->name, how, first + r, ours,
                     (double)(want[theirs] - want[ours]), theirs);
    }
}

static void prefill(struct setup *u)
{
    struct step_seq all = {.slot = 1, .n = N_TOKENS, .token = u->token, .want = N_TOKENS};
    run(u, &all, 1, u->whole);
    compare(u, "prefill", 0, N_TOKENS, u->whole);
}

static void token_by_token(struct setup *u)
{
    struct step_seq head = {.slot = 2, .n = N_TOKENS - SINGLE, .token = u->token};
    run(u, &head, 1, u->got);
    for (int i = N_TOKENS - SINGLE; i < N_TOKENS; i++) {
        struct step_seq one = {.slot = 2, .pos = i, .n = 1, .token = u->token + i, .want = 1};
        run(u, &one, 1, u->got);
        compare(u, "token by token", i, 1, u->got);
    }
}

/* Three sequences of the same tokens, each cut into other chunks; one step wants nothing. */
static void ragged(struct setup *u)
{
    static const int chunk[][MAX_SEQS] = {{5, 1, 0}, {0, 1, 16}, {7, 1, 1}, {1, 15, 1}, {11, 6, 6}};
    int at[MAX_SEQS] = {0};
    for (int c = 0; c < COUNT(chunk); c++) {
        struct step_seq seq[MAX_SEQS];
        const float *got = u->got;
        int n = 0;
        for (int i = MAX_SEQS - 1; i >= 0; i--) {
            int rows = chunk[c][i], want = c == 1 ? 0 : rows > 3 ? 3 : rows;
            if (rows == 0)
                continue;
            seq[n++] = (struct step_seq){i, at[i], rows, u->token + at[i], want};
            at[i] += rows;
        }
        run(u, seq, n, u->got);
        for (int i = 0; i < n; i++) {
            compare(u, "ragged", seq[i].pos + seq[i].n - seq[i].want, seq[i].want, got);
            got += seq[i].want * u->n_vocab;
        }
    }
    for (int i = 0; i < MAX_SEQS; i++)
        assert_int_equal(at[i], N_TOKENS);
}

static void each_way(struct setup *u)
{
    u->got = xmalloc(sizeof(float) * N_TOKENS * MAX_SEQS * (size_t)u->n_vocab);
    u->whole = xmalloc(sizeof(float) * N_TOKENS * (size_t)u->n_vocab);
    prefill(u);
    token_by_token(u);
    ragged(u);
    xfree(u->got);
    xfree(u->whole);
    step_close(&u->s);
}

/* The slow builds take the brief ones. The others run in turn: in order, and at random with late
 * streams and random picks, where whatever is read or reused too early is wrong. */
static bool takes(bool brief, int i)
{
    simt_mode(&(struct simt_mode){.random = i % 2, .lazy = i % 2, .seed = i});
    return brief || !simt_slow();
}

static void open_cut(struct setup *u, int i, int cut, struct fixture *f)
{
    char path[128];
    *u = (struct setup){.name = models[i].name, .bound = models[i].bound};
    bool hf = strncmp(u->name, "hf/", 3) == 0;
    snprintf(path, sizeof path, hf ? "tests/data/%s/logits.bin" : FOLDER "%s.bin", u->name);
    fixture_load(f, path);
    u->token = fixture_i32(f, "token");
    u->expected = fixture_f32(f, "logits");
    snprintf(path, sizeof path, hf ? "tests/data/%s" : FOLDER "%s.gguf", u->name);
    const struct step_options o = {
        .path = path, .kv = models[i].kv, .lower = &backend_cpu, .cut = cut};
    open_model(u, &o, &backend_cuda);
}

static void open_reference(struct setup *u, int i, struct fixture *f)
{
    open_cut(u, i, 0, f);
}

static void test_reference(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(models); i++) {
        struct setup u;
        struct fixture f;
        if (!takes(models[i].brief, i))
            continue;
        open_reference(&u, i, &f);
        each_way(&u);
        fixture_clear(&f);
    }
}

/* A prefill whose products all go to cuBLASLt: of what the GPU's configuration says only the
 * cross-over is another. */
static void test_many_rows(void **state)
{
    (void)state;
    if (simt_real())
        return; /* it counts the stand-in's products */
    for (int i = 0; i < COUNT(models); i++) {
        struct setup u;
        struct fixture f;
        if (!takes(models[i].brief, i) || !strchr(models[i].name, '-')) /* f32 */
            continue;
        open_reference(&u, i, &f);
        struct cuda_queue *q = (struct cuda_queue *)backend_cuda.queue(u.s.dev);
        gpu_plan_clear(&q->plan);
        product_plan(q, N_TOKENS - 1, N_TOKENS - 1);
        u.whole = xmalloc(sizeof(float) * N_TOKENS * (size_t)u.n_vocab);
        simt_cublaslt.products = 0;
        prefill(&u);
        assert_true(simt_cublaslt.products > 0);
        xfree(u.whole);
        step_close(&u.s);
        fixture_clear(&f);
    }
}

/* The first layers on the CPU, at every place where a network can be cut: the head alone on the
 * GPU, the last layer and it ... */
static void test_shared_with_the_cpu(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "qwen3", "qwen2-q8_0", "hf/gptq4-act"};
    for (int i = 0; i < COUNT(models); i++) {
        struct setup u;
        struct fixture f;
        bool cuts = false;
        for (int k = 0; k < COUNT(names); k++)
            cuts |= strcmp(models[i].name, names[k]) == 0;
        if (!cuts || !takes(models[i].brief, i))
            continue;
        for (int cut = 1, n_layer = 1; cut <= n_layer; cut++) {
            open_cut(&u, i, cut, &f);
            n_layer = u.s.m->net.hp.n_layer;
            assert_true(u.s.m->lower_bytes > 0);
            each_way(&u);
            fixture_clear(&f);
        }
    }
}

static void test_against_cpu(void **state)
{
    (void)state;
    static int32_t token[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++)
        token[i] = (i * 37 + 11) % 250;
    for (int i = 0; i < COUNT(randoms); i++) {
        const struct random_model random = {"mini", randoms[i].format, 7};
        const struct step_options o = {.random = &random, .kv = randoms[i].kv};
        struct setup u = {.name = randoms[i].format, .bound = randoms[i].bound, .token = token};
        struct step_seq all = {.n = N_TOKENS, .token = token, .want = N_TOKENS};
        if (!takes(randoms[i].brief, i))
            continue;
        open_model(&u, &o, &backend_cpu);
        float *want = xmalloc(sizeof(float) * N_TOKENS * (size_t)u.n_vocab);
        run(&u, &all, 1, want);
        step_close(&u.s);
        u.expected = want;
        open_model(&u, &o, &backend_cuda);
        each_way(&u);
        xfree(want);
    }
}

/* The line of a class of weights at start: its kernel, the source of that choice, the share of the
 * roofline, and the same of many rows. */
static void reports(const char *kernels, const char *format)
{
    char kernel[64], source[64], many[64];
    int n, matrices, share, same, much;
    float mib;
    const char *line = strstr(kernels, format);
    assert_non_null(line);
    n = sscanf(
        line + strlen(format),
        " %d matrices %f MiB %63[^,], %63[^,], %d %% of the roofline expected; of 2048 rows: "
        "%63s (%d), %d %%",
        &matrices, &mib, kernel, source, &share, many, &same, &much);
    if (n != 8 || matrices < same || share <= 0 || share > 100 || much <= 0 || much > 100)
        fail_msg("%s: %d of 8: %s", format, n, kernels);
}

/* One row: a layer is six launches. Beside them: the table, two gathers, a norm, the head. */
static void test_launches(void **state)
{
    static const char *const formats[] = {"bf16", "q8_0", "q4_k"};
    enum { LAYER = 6, OTHERS = 5 };
    (void)state;
    if (simt_real() || simt_slow())
        return; /* the emulator counts */
    simt_mode(&(struct simt_mode){.seed = 1});
    for (int i = 0; i < COUNT(formats); i++) {
        const struct random_model random = {"tiny", formats[i], 7};
        const struct step_options o = {.random = &random, .kv = DT_BF16};
        const int32_t token[] = {5, 6};
        struct setup u = {.name = formats[i]};
        open_model(&u, &o, &backend_cuda);
        reports(model_info(u.s.m)->kernels, formats[i]);
        u.got = xmalloc(sizeof(float) * (size_t)u.n_vocab);
        for (int pos = 0; pos < 2; pos++) {
            struct step_seq one = {.pos = pos, .n = 1, .token = token + pos, .want = 1};
            const long before = simt_counts().kernels;
            run(&u, &one, 1, u.got);
            assert_int_equal(simt_counts().kernels - before,
                             OTHERS + LAYER * u.s.m->net.hp.n_layer);
        }
        xfree(u.got);
        step_close(&u.s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_shared_with_the_cpu),
        cmocka_unit_test(test_many_rows), cmocka_unit_test(test_against_cpu),
        cmocka_unit_test(test_launches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
