/* Scoring straight through the forward, against Transformers' logits (tests/data/models). */
#include "engine/score.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

#define FOLDER "tests/data/models/"
enum { N_TOKENS = 24 };

struct taken {
    float *logits; /* [N_TOKENS, V] */
    size_t n_vocab;
    int first, n;
};

static enum status take(void *ctx, int pos, const float *logits)
{
    struct taken *t = ctx;
    if (t->n == 0)
        t->first = pos;
    assert_int_equal(pos, t->first + t->n);
    memcpy(t->logits + (size_t)t->n++ * t->n_vocab, logits, t->n_vocab * sizeof *logits);
    return OK;
}

static struct scorer *open_model(const char *path, int window, int threads)
{
    struct scorer *s;
    struct score_options o = {.path = path, .kv_type = "f32", .window = window, .threads = threads};
    if (score_open(&o, &s) != OK)
        fail_msg("%s", fail_text());
    return s;
}

static void test_transformers(void **state)
{
    (void)state;
    static const char *const names[] = {"smollm2", "qwen3", "mistral"};
    for (int m = 0; m < 3; m++) {
        char path[80];
        struct fixture f;
        struct taken got[2] = {{0}};
        snprintf(path, sizeof path, FOLDER "%s.bin", names[m]);
        fixture_load(&f, path);
        struct token_list text = {(int32_t *)(uintptr_t)fixture_i32(&f, "token"), N_TOKENS};
        const float *want = fixture_f32(&f, "logits");
        snprintf(path, sizeof path, FOLDER "%s.gguf", names[m]);
        for (int k = 0; k < 2; k++) { /* all rows; then the last third, with other threads */
            struct scorer *s = open_model(path, N_TOKENS + 3 * k, 1 + k);
            got[k].n_vocab = (size_t)score_model(s)->net.hp.n_vocab;
            got[k].logits = xcalloc(N_TOKENS * got[k].n_vocab, sizeof(float));
            assert_int_equal(score_run(s, &text, 0, NULL, NULL), OK); /* leaves nothing behind */
            assert_int_equal(score_run(s, &text, 16 * k, take, &got[k]), OK);
            assert_int_equal(got[k].first, 16 * k);
            assert_int_equal(got[k].n, N_TOKENS - 16 * k);
            score_close(s);
        }
        size_t v = got[0].n_vocab;
        float most = 0, worst = 0;
        for (size_t i = 0; i < N_TOKENS * v; i++) {
            most = fmaxf(most, fabsf(want[i]));
            worst = fmaxf(worst, fabsf(want[i] - got[0].logits[i]));
        }
        assert_true(worst <= 1e-4f * most);
        assert_memory_equal(got[0].logits + 16 * v, got[1].logits, 8 * v * sizeof(float));
        for (int k = 0; k < 2; k++)
            xfree(got[k].logits);
        fixture_clear(&f);
    }
}

/* More tokens than a step has rows: the same bits in every part of a longer text's beginning. */
static void test_long(void **state)
{
    (void)state;
    enum { LONG = 200 };
    struct scorer *s = open_model(FOLDER "smollm2.gguf", LONG, 2);
    struct taken a = {.n_vocab = (size_t)score_model(s)->net.hp.n_vocab}, b = a;
    int32_t token[LONG];
    for (int i = 0; i < LONG; i++)
        token[i] = i * 7 % (int)a.n_vocab;
    a.logits = xcalloc(LONG * a.n_vocab, sizeof(float));
    b.logits = xcalloc(LONG * a.n_vocab, sizeof(float));
    assert_int_equal(score_run(s, &(struct token_list){token, LONG}, 100, take, &a), OK);
    assert_int_equal(score_run(s, &(struct token_list){token, 150}, 100, take, &b), OK);
    assert_memory_equal(a.logits, b.logits, 50 * a.n_vocab * sizeof(float));
    assert_int_equal(score_run(s, &(struct token_list){token, LONG + 1}, 0, take, &a), ERR_CONTEXT);
    xfree(a.logits);
    xfree(b.logits);
    score_close(s);
}

static void refused(struct score_options o, enum status want, const char *word)
{
    struct scorer *s;
    assert_int_equal(score_open(&o, &s), want);
    assert_null(s);
    assert_non_null(strstr(fail_text(), word));
}

static void test_refused(void **state)
{
    (void)state;
    const char *path = FOLDER "smollm2.gguf";
    refused((struct score_options){.path = path, .window = 1}, ERR_INVALID, "window of 1");
    refused((struct score_options){.path = path, .window = 1 << 30}, ERR_INVALID, "256");
    refused((struct score_options){.path = path, .window = 8, .kv_type = "q8_0"}, ERR_INVALID,
            "q8_0");
    refused((struct score_options){.path = "no/such.gguf", .window = 8}, ERR_NOT_FOUND, "no/such");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
