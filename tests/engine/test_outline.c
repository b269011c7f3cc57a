/* Hugging Face directories as GGUF files: the logits are those that Transformers computes from the
 * directory (tests/tools/make_hf.py), the tokens those of its own tokenizer.json. */
#include "engine/load/quantize.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/score.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

#define FOLDER "tests/data/hf/"
enum { N_TOKENS = 24 };

/* max|a - b| over max|b|. Weights that are made are written as they are, without blocks. */
/* clang-format off */
static const struct { const char *name, *type; float bound; } models[] = {
    {"llama",    "f32",   1e-4f}, /* llama3 scaling, biases, rows of Q and K change places */
    {"mistral",  "f32",   1e-4f}, /* a window; the same without biases */
    {"qwen2",    "f32",   2e-2f}, /* tied, rows stay; written from bf16 */
    {"qwen3",    "f32",   1e-4f},
    {"qwen3",    "bf16",  2e-2f},
    {"qwen3-types", "f32", 1e-4f}, /* a window in two layers of three */
    {"llama-long", "f32", 1e-4f}, /* LongRoPE */
    {"qwen2-exact", "f32", 1e-4f}, /* a YaRN that becomes a tensor of factors */
    {"qwen2-mixed", "f32", 1e-4f},
    /* every packing: weights that are made as they are read, columns in another order, factors of a tensor */
    {"ar-awq", "f32", 1e-3f}, {"ar-gptq", "f32", 1e-3f}, {"ar-plain", "f32", 1e-3f},
    {"awq", "f32", 1e-3f}, {"awq-fast", "f32", 1e-3f}, {"awq-gemv", "f32", 1e-3f},
    {"awq-marlin", "f32", 1e-3f}, {"bnb", "f32", 1e-3f}, {"bnb-int8", "f32", 1e-3f},
    {"bnb-nf4", "f32", 1e-3f}, {"ct-float", "f32", 1e-3f}, {"ct-int", "f32", 1e-3f},
    {"ct-model", "f32", 1e-3f}, {"ct-tables", "f32", 1e-3f}, {"ct-tables8", "f32", 1e-3f},
    {"ct-tied", "f32", 1e-3f}, {"exl2", "f32", 1e-3f}, {"fp8-block", "f32", 1e-3f},
    {"fp8-ue8m0", "f32", 1e-3f}, {"gptq-marlin", "f32", 1e-3f}, {"gptq2", "f32", 1e-3f},
    {"gptq3", "f32", 1e-3f}, {"gptq3-borrow", "f32", 1e-3f}, {"gptq4", "f32", 1e-3f},
    {"gptq4-act", "f32", 1e-3f}, {"gptq4-borrow", "f32", 1e-3f}, {"gptq4-v2", "f32", 1e-3f},
    {"gptq8", "f32", 1e-3f}, {"mo-fp8", "f32", 1e-3f}, {"mo-fp8-channel", "f32", 1e-3f},
    {"mo-int4", "f32", 1e-3f}, {"mo-int8", "f32", 1e-3f}, {"mo-mxfp4", "f32", 1e-3f},
    {"mo-mxfp8", "f32", 1e-3f}, {"mo-nvfp4", "f32", 1e-3f}, {"mo-nvfp4-fp8", "f32", 1e-3f},
};
/* clang-format on */

static char folder[64];

static void link_all(const char *from)
{
    DIR *dir = opendir(from);
    struct dirent *e;
    char here[512], target[900], name[400];
    assert_non_null(dir);
    assert_non_null(getcwd(here, sizeof here));
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.' || !strcmp(e->d_name, "logits.bin"))
            continue;
        snprintf(target, sizeof target, "%s/%s/%s", here, from, e->d_name);
        snprintf(name, sizeof name, "%s/%s", folder, e->d_name);
        assert_int_equal(symlink(target, name), 0);
    }
    closedir(dir);
}

/* For directories that have none. */
static void write_tokenizer(const char *normalizer)
{
    static const char text[] =
        ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
        "\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\","
        "\"vocab\": {\"a\": 0, \"b\": 1, \"\\u0120\": 2, \"ab\": 3}, \"merges\": [\"a b\"]}}";
    char name[400];
    FILE *f;
    snprintf(name, sizeof name, "%s/tokenizer.json", folder);
    if (access(name, F_OK) == 0)
        return;
    f = fopen(name, "w");
    assert_non_null(f);
    fprintf(f, "{\"normalizer\": %s%s", normalizer, text);
    fclose(f);
}

static void remove_all(void)
{
    DIR *dir = opendir(folder);
    struct dirent *e;
    char name[400];
    while ((e = readdir(dir))) {
        snprintf(name, sizeof name, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.')
            assert_int_equal(unlink(name), 0);
    }
    closedir(dir);
    assert_int_equal(rmdir(folder), 0);
}

static enum status take(void *ctx, int pos, const float *logits)
{
    struct fixture_array *got = ctx;
    float *to = (float *)(uintptr_t)got->data;
    memcpy(to + pos * got->shape[1], logits, (size_t)got->shape[1] * sizeof *logits);
    return OK;
}

/* Only for the directory that has a tokenizer of its own. */
static void same_text(const struct model *a, const char *path)
{
    static const char text[] = "<s>u: hello worldly 1234, it's\n\n  low 'LL \xc3\xa9t\xc3\xa9</s>";
    struct model *b;
    struct token_list x, y;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(model_open_text(path, &b), OK);
    for (int special = 0; special < 2; special++) {
        struct bytes t = {text, sizeof text - 1};
        assert_int_equal(model_tokenize(a, &arena, t, special, AROUND_TEXT, &x), OK);
        assert_int_equal(model_tokenize(b, &arena, t, special, AROUND_TEXT, &y), OK);
        assert_int_equal(x.n, y.n);
        assert_memory_equal(x.id, y.id, (size_t)x.n * sizeof *x.id);
    }
    assert_string_equal(model_info(a)->bos, model_info(b)->bos);
    assert_string_equal(model_info(a)->eos, model_info(b)->eos);
    assert_true(model_info(a)->has_template == model_info(b)->has_template);
    model_close_text(b);
    arena_clear(&arena);
}

static void test_transformers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct quantize_options o = {.type = models[i].type, .requantize = true, .threads = 2};
        struct quantize_result r;
        struct checkpoint *c;
        struct fixture f;
        struct scorer *s;
        char path[128], out[128];
        snprintf(folder, sizeof folder, "/tmp/inferd-outline-XXXXXX");
        assert_non_null(mkdtemp(folder));
        snprintf(out, sizeof out, "%s/out.gguf", folder);
        snprintf(path, sizeof path, FOLDER "%s", models[i].name);
        link_all(path);
        write_tokenizer("null");
        snprintf(path, sizeof path, FOLDER "%s/logits.bin", models[i].name);
        fixture_load(&f, path);
        if (checkpoint_open(folder, &c) != OK || quantize_file(c, out, &o, &r) != OK ||
            score_open(&(struct score_options){.path = out, .kv_type = "f32", .window = N_TOKENS},
                       &s) != OK)
            fail_msg("%s: %s", models[i].name, fail_text());
        struct token_list text = {(int32_t *)(uintptr_t)fixture_i32(&f, "token"), N_TOKENS};
        int64_t v = score_model(s)->net.hp.n_vocab;
        const float *want = fixture_f32(&f, "logits");
        float *got = xmalloc(sizeof *got * (size_t)(N_TOKENS * v)), worst = 0, most = 0;
        struct fixture_array to = {.shape = {N_TOKENS, v}, .data = got};
        assert_int_equal(fixture_count(fixture_get(&f, "logits", "f4")), N_TOKENS * v);
        assert_int_equal(score_run(s, &text, 0, take, &to), OK);
        for (int64_t k = 0; k < N_TOKENS * v; k++) {
            most = fmaxf(most, fabsf(want[k]));
            worst = fmaxf(worst, fabsf(want[k] - got[k]));
        }
        if (!(worst <= models[i].bound * most))
            fail_msg("%s: differs by %g of %g", models[i].name, (double)worst, (double)most);
        if (i == 0)
            same_text(score_model(s), FOLDER "llama");
        xfree(got);
        score_close(s);
        checkpoint_close(c);
        fixture_clear(&f);
        remove_all();
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct quantize_options o = {.type = "q8_0", .threads = 1};
    struct quantize_result r;
    struct checkpoint *c;
    struct stat st;
    const char *out = "/tmp/inferd-outline-refused.gguf";
    assert_int_equal(checkpoint_open(FOLDER "qwen3", &c), OK);
    assert_int_equal(quantize_file(c, out, &o, &r), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "tokenizer.json"));
    checkpoint_close(c);
    assert_int_equal(checkpoint_open(FOLDER "gptq4", &c), OK);
    assert_int_equal(quantize_file(c, out, &o, &r), ERR_INVALID);
    assert_non_null(strstr(fail_text(), "--allow-requantize"));
    checkpoint_close(c);
    assert_int_equal(stat(out, &st), -1);
}

static void heard(void *ctx, enum log_level level, const char *line)
{
    *(int *)ctx += level == LOG_WARN && strstr(line, "GGUF files have no name for this tokenizer");
}

/* Other programs go by the nearest kind: it is said when that is not the same. */
static void test_nearest(void **state)
{
    (void)state;
    static const char *const normalizer[] = {"null", "{\"type\": \"Lowercase\"}"};
    for (int i = 0; i < 2; i++) {
        struct quantize_options o = {.type = "f16", .threads = 1};
        struct quantize_result r;
        struct checkpoint *c;
        char out[128];
        int warnings = 0;
        snprintf(folder, sizeof folder, "/tmp/inferd-outline-XXXXXX");
        assert_non_null(mkdtemp(folder));
        snprintf(out, sizeof out, "%s/out.gguf", folder);
        link_all(FOLDER "qwen3");
        write_tokenizer(normalizer[i]);
        assert_int_equal(checkpoint_open(folder, &c), OK);
        log_set_sink(heard, &warnings, LOG_WARN);
        assert_int_equal(quantize_file(c, out, &o, &r), OK);
        log_set_sink(NULL, NULL, LOG_INFO);
        assert_int_equal(warnings, i);
        checkpoint_close(c);
        remove_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
