/* test_hf_settle.c - config.json files against the rotary frequencies that Transformers computes
 * from the same text (tests/tools/make_rope.py). */
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#include "engine/load/bind.h"
#include "engine/load/checkpoint.h"
#include "engine/load/hparams.h"
#include "engine/models/llama.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "tests/support/fixture.h"

/* A directory of this config.json and no weights. */
static struct checkpoint *directory(struct bytes config)
{
    static const char nothing[] = "\2\0\0\0\0\0\0\0{}";
    struct ckpt_lent lent[2] = {{"d/config.json", config},
                                {"d/model.safetensors", {nothing, sizeof nothing - 1}}};
    struct checkpoint *c;

    if (checkpoint_borrow(lent, 2, &c) != OK)
        fail_msg("%.*s: %s", (int)config.n, config.p, fail_text());
    return c;
}

static void same(const char *config, const float *want, const float *got, int n)
{
    for (int i = 0; i < n; i++) {
        if (!(fabsf(got[i] - want[i]) <= 4e-6f * want[i]))
            fail_msg("%s: frequency %d is %.9g, expected %.9g", config, i, (double)got[i],
                     (double)want[i]);
    }
}

static const float *array(const struct fixture *f, int i, const char *name, int64_t *n)
{
    char key[32];

    snprintf(key, sizeof key, "%d.%s", i, name);
    *n = fixture_count(fixture_get(f, key, "f4"));
    return fixture_f32(f, key);
}

static void compare(const struct fixture *f, int i, struct bytes config)
{
    struct checkpoint *c = directory(config);
    char *text = xstrndup(config.p, config.n);
    float factors[64], freq[64], factor;
    struct hparams hp;
    int64_t n, one;
    const float *want = array(f, i, "freq", &n);

    if (hparams_read(c, "llama", arch_llama.hparams, &hp) != OK)
        fail_msg("%s: %s", text, fail_text());
    assert_int_equal(hp.rope_dim, 2 * n);
    assert_true(n <= 64);
    if (hp.rope_scaling == ROPE_LONG) {
        assert_int_equal(bind_factors(c, "rope_scaling.short_factor", n, factors), OK);
        hparams_rope(&hp, factors, freq, &factor);
        same(text, array(f, i, "short", &n), freq, (int)n);
        assert_int_equal(bind_factors(c, "rope_scaling.long_factor", n, factors), OK);
    }
    hparams_rope(&hp, hp.rope_scaling == ROPE_LONG ? factors : NULL, freq, &factor);
    same(text, want, freq, (int)n);
    want = array(f, i, "factor", &one);
    if (!(fabsf(factor - *want) <= 2e-6f * *want))
        fail_msg("%s: factor %.9g, expected %.9g", text, (double)factor, (double)*want);
    xfree(text);
    checkpoint_close(c);
}

static void test_rope(void **state)
{
    struct fixture f;
    int n = 0;

    (void)state;
    fixture_load(&f, "tests/data/hf/rope.bin");
    for (int i = 0; i < f.n; i++) {
        const struct fixture_array *a = &f.array[i];

        if (strstr(a->name, ".config"))
            compare(&f, n++, (struct bytes){a->data, (size_t)fixture_count(a)});
    }
    assert_int_equal(n, 27);
    fixture_clear(&f);
}

#define SIZES                                                                                      \
    "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":8,\"intermediate_size\":8," \
    "\"vocab_size\":8,\"num_attention_heads\":1,"

/* What such a file says of rope, as refused. */
static void refused(const char *rope, const char *says)
{
    struct buf text = {0};
    struct checkpoint *c;
    struct hparams hp;
    float factors[4];
    enum status s;

    buf_printf(&text, SIZES "%s}", rope);
    c = directory((struct bytes){text.data, text.len});
    s = hparams_read(c, "llama", arch_llama.hparams, &hp);
    if (s == OK && hp.rope_scaling == ROPE_LONG)
        s = bind_factors(c, "rope_scaling.long_factor", 4, factors);
    assert_int_not_equal(s, OK);
    if (!strstr(fail_text(), says))
        fail_msg("%s: \"%s\" should have \"%s\"", rope, fail_text(), says);
    checkpoint_close(c);
    buf_clear(&text);
}

static void test_refused(void **state)
{
    (void)state;
    refused("\"rope_parameters\":{\"rope_type\":\"proportional\",\"factor\":2}",
            "\"proportional\" (supported: none linear llama3 yarn longrope)");
    refused("\"rope_scaling\":{\"type\":\"mrope\",\"mrope_section\":[1,1,2]}", "\"mrope\"");
    refused("\"rope_parameters\":{\"full_attention\":{\"rope_theta\":5.0},"
            "\"sliding_attention\":{\"rope_theta\":7.0}}",
            "\"one for each kind of layer\"");
    refused("\"rope_scaling\":{\"rope_type\":\"longrope\",\"short_factor\":[1,1,1,1]}",
            "longrope needs 4 positive numbers as rope_scaling.long_factor");
    refused("\"rope_scaling\":{\"rope_type\":\"longrope\",\"long_factor\":[1,1,1]}",
            "longrope needs 4 positive numbers");
    refused("\"rope_scaling\":{\"rope_type\":\"longrope\",\"long_factor\":[1,1,0,1]}",
            "longrope needs 4 positive numbers");
}

/* What the classes of Transformers say where the file does not. */
static void test_absent(void **state)
{
    static const struct {
        const char *type;
        int context;
    } kinds[] = {{"llama", 2048}, {"mistral", 131072}, {"qwen2", 32768}, {"qwen3", 32768}};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct buf text = {0};
        struct checkpoint *c;
        struct hparams hp;

        buf_printf(&text,
                   "{\"model_type\":\"%s\",\"num_hidden_layers\":1,\"hidden_size\":512,"
                   "\"intermediate_size\":8,\"vocab_size\":8,\"num_attention_heads\":8}",
                   kinds[i].type);
        c = directory((struct bytes){text.data, text.len});
        assert_int_equal(hparams_read(c, "llama", arch_llama.hparams, &hp), OK);
        assert_int_equal(hp.n_ctx, kinds[i].context);
        assert_true(hp.norm_eps == 1e-6f && hp.rope_base == 10000);
        assert_int_equal(hp.head_dim, i == 3 ? 128 : 64);
        assert_int_equal(hp.window[0], i == 1 ? 4096 : 0);
        checkpoint_close(c);
        buf_clear(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_absent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
