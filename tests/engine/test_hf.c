/* test_hf.c - Hugging Face directories against the logits that Transformers computes in float32
 * from the same files (tests/tools/make_hf.py); how a directory may be named; what is refused. */
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#include "engine/load/checkpoint.h"
#include "kernels/base/mem.h"
#include "tests/support/fixture.h"
#include "tests/support/step.h"

#define FOLDER "tests/data/hf/"

enum { N_TOKENS = 24, CUT = 11 };

/* max|a - b| over max|b|. bf16 weights round activations to 8 bits, block formats quantise them to
 * int8 in groups of 32. */
/* clang-format off */
static const struct { const char *name; float bound; } models[] = {
    {"llama",   1e-4f}, /* llama3 scaling, biases, three shards */
    {"mistral", 1e-4f}, /* a sliding window */
    {"qwen2",   2e-2f}, /* bf16, tied */
    {"qwen3",   1e-4f}, /* f16, YaRN with its own factor */
};
/* clang-format on */
enum { N_MODELS = sizeof models / sizeof models[0] };

static void compare(const char *name, float bound, const struct fixture *f, const float *got)
{
    const float *expected = fixture_f32(f, "logits");
    size_t n = fixture_count(fixture_get(f, "logits", "f4"));
    float worst = 0, most = 0;

    for (size_t i = 0; i < n; i++) {
        float d = fabsf(got[i] - expected[i]);

        most = fmaxf(most, fabsf(expected[i]));
        worst = d > worst || isnan(d) ? d : worst;
    }
    if (!(worst <= bound * most))
        fail_msg("%s: differs by %g of %g, allowed %g", name, (double)worst, (double)most,
                 (double)(bound * most));
}

/* The logits of the directory at `path`: a prefill in two pieces. */
static void run(const char *path, const char *name, float bound)
{
    struct step_options o = {.path = path,
                             .backend = &backend_cpu,
                             .threads = 2,
                             .kv = DT_F32,
                             .max_rows = N_TOKENS,
                             .max_seqs = 1,
                             .max_tokens = N_TOKENS};
    struct step_seq all = {.n = CUT, .want = CUT};
    struct stepper s;
    struct fixture f;
    char file[128];
    float *got;
    size_t vocab;

    snprintf(file, sizeof file, FOLDER "%s/logits.bin", name);
    fixture_load(&f, file);
    if (step_open(&s, &o) != OK)
        fail_msg("%s: %s", name, fail_text());
    vocab = (size_t)s.m->net.hp.n_vocab;
    assert_int_equal(fixture_count(fixture_get(&f, "logits", "f4")), N_TOKENS * vocab);
    got = xmalloc(sizeof(float) * N_TOKENS * vocab);
    all.token = fixture_i32(&f, "token");
    assert_int_equal(step_run(&s, &all, 1, got), OK);
    all = (struct step_seq){.pos = CUT, .n = N_TOKENS - CUT, .token = all.token + CUT};
    all.want = all.n;
    assert_int_equal(step_run(&s, &all, 1, got + CUT * vocab), OK);
    compare(name, bound, &f, got);
    xfree(got);
    fixture_clear(&f);
    step_close(&s);
}

static void test_logits(void **state)
{
    char path[128];

    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        snprintf(path, sizeof path, FOLDER "%s", models[i].name);
        run(path, models[i].name, models[i].bound);
    }
}

/* The same through any of its files. */
static void test_named(void **state)
{
    (void)state;
    run(FOLDER "llama/", "llama", 1e-4f);
    run(FOLDER "llama/config.json", "llama", 1e-4f);
    run(FOLDER "llama/model.safetensors.index.json", "llama", 1e-4f);
    run(FOLDER "llama/model-00002-of-00003.safetensors", "llama", 1e-4f);
    run(FOLDER "mistral/model.safetensors", "mistral", 1e-4f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
