/* test_generation.c - what a GGUF file asks of sampling: the keys, the bounds, and the way back. */
#include "engine/load/generation.h"

#include <stdlib.h>
#include <unistd.h>

#include "tests/support/test.h"

static char path[64];

static struct gguf_writer *begin(void)
{
    struct gguf_writer *w;
    snprintf(path, sizeof path, "/tmp/inferd-generation-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_create(path, &w), OK);
    gguf_put_text(w, "general.architecture", bytes_of("llama"));
    return w;
}

static struct generation end(struct gguf_writer *w)
{
    struct generation g;
    struct checkpoint *c;
    assert_int_equal(gguf_start(w), OK);
    assert_int_equal(gguf_commit(w), OK);
    gguf_close(w);
    assert_int_equal(checkpoint_open(path, &c), OK);
    generation_read(c, &g);
    checkpoint_close(c);
    unlink(path);
    return g;
}

static void equal(struct generation got, const struct sampling *b)
{
    const struct sampling *a = &got.sampling;
    assert_true(a->temperature == b->temperature && a->top_p == b->top_p && a->min_p == b->min_p);
    assert_true(a->repetition == b->repetition && a->presence == b->presence);
    assert_true(a->frequency == b->frequency && !a->has_seed && a->n_bias == 0);
    assert_int_equal(a->top_k, b->top_k);
}

static void test_keys(void **state)
{
    (void)state;
    struct sampling want;
    struct gguf_writer *w = begin();
    gguf_put_f32(w, "general.sampling.temp", 0.25F);
    gguf_put_f32(w, "general.sampling.top_p", 0.5F);
    gguf_put_u32(w, "general.sampling.top_k", 40);
    gguf_put_u32(w, "general.sampling.penalty_repeat", 2); /* a whole number is one too */
    sampling_default(&want);
    want.temperature = 0.25F;
    want.top_p = 0.5F;
    want.top_k = 40;
    want.repetition = 2;
    equal(end(w), &want);
}

/* Each of these is left aside, so what remains is neutral. */
static void test_bounds(void **state)
{
    (void)state;
    struct sampling want;
    struct gguf_writer *w = begin();
    gguf_put_f32(w, "general.sampling.temp", -0.5F);
    gguf_put_f32(w, "general.sampling.top_p", 0);
    gguf_put_f32(w, "general.sampling.top_k", 1.5F);
    gguf_put_f32(w, "general.sampling.min_p", 0.0F / 0.0F);
    gguf_put_text(w, "general.sampling.penalty_repeat", bytes_of("1.5"));
    struct generation g = end(w);
    sampling_default(&want);
    equal(g, &want);
    assert_int_equal(g.max_tokens, 0);
}

static void test_way_back(void **state)
{
    (void)state;
    struct generation g = {
        .sampling = {
            .temperature = 0, .top_p = 0.875F, .min_p = 0.1F, .top_k = 20, .repetition = 1.05F}};
    struct gguf_writer *w = begin();
    generation_write(&g, w);
    equal(end(w), &g.sampling);
    sampling_default(&g.sampling);
    w = begin();
    generation_write(&g, w);
    equal(end(w), &g.sampling);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_way_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
