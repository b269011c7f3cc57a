/* test_hf.c - Hugging Face directories against the logits that Transformers computes in float32
 * from the same files (tests/tools/make_hf.py), and each packing's weights against what it stands
 * for; how a directory may be named. test_hf_files.c has the files beside the weights. */
#include "tests/support/test.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/load/checkpoint.h"
#include "kernels/base/mem.h"
#include "tests/support/file.h"
#include "tests/support/fixture.h"
#include "tests/support/refuse.h"
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
    {"qwen2-mixed", 1e-4f}, /* a window from the second layer on */
    {"qwen3-types", 1e-4f}, /* in the first and the third */
    {"llama-long", 1e-4f}, /* LongRoPE's long factors */
    {"qwen2-exact", 1e-4f}, /* YaRN between dimensions that are not whole */
    {"gptq4",     4e-2f},
    {"gptq4-v2",  4e-2f},
    {"gptq4-act", 4e-2f}, /* groups scattered over K */
    {"gptq2",     1e-3f},
    {"gptq3",     4e-2f},
    {"gptq8",     4e-2f},
    {"awq",       4e-2f},
    {"ct-int",    4e-2f}, /* 3, 4, 5 and 8 bits, by group and by row */
    {"ct-float",  4e-2f}, /* FP8 by tensor and by row, NVFP4, MXFP4 */
    {"fp8-block", 1e-3f},
    {"fp8-ue8m0", 4e-2f}, /* squares of 64, scales are exponents */
    {"gptq4-borrow", 4e-2f}, /* zero points of 0, stored one less; the head too */
    {"gptq3-borrow", 4e-2f},
    {"awq-gemv",  4e-2f},
    {"gptq-marlin", 4e-2f}, /* one group, and groups of 32 */
    {"awq-marlin", 4e-2f},
    {"awq-fast",  4e-2f},
    {"ct-tables", 4e-2f}, /* table int4 with scales in bf16, head int8 */
    {"ct-tied",   4e-2f}, /* one int4 table for both */
    {"ct-tables8", 4e-2f}, /* table FP8, head NVFP4 */
    {"exl2",      4e-2f}, /* 2, 3, 4, 5, 6 and 8 bits; a head of 30 rows */
    {"ar-gptq",   4e-2f}, /* 3, 4, 8 bits in one checkpoint */
    {"ar-plain",  4e-2f}, /* 2, 4, 5 bits, zero points as they are */
    {"ar-awq",    4e-2f},
    {"ct-model",  4e-2f}, /* four groups: int4, int8, FP8 by row and by square */
    {"gm-gptq",   4e-2f}, /* dynamic: 2, 3, 4 and 8 bits, groups of 32 and 64, a layer left alone */
    {"gm-awq",    4e-2f},
    {"gm-gptq-v2", 4e-2f}, /* zero points as they are, desc_act */
    {"bnb-nf4",   4e-2f}, /* double quantisation */
    {"bnb-int8",  4e-2f},
    {"mo-fp8",    4e-2f},
    {"mo-fp8-channel", 4e-2f},
    {"mo-nvfp4",  4e-2f},
    {"mo-nvfp4-fp8", 4e-2f}, /* groups of 32 */
    {"mo-mxfp4",  4e-2f},
    {"mo-mxfp8",  1e-3f},
    {"mo-int8",   1e-3f}, /* SmoothQuant: inputs are multiplied first */
    {"mo-int4",   4e-2f}, /* AWQ: the inputs of two */
    {"bnb",       4e-2f}, /* nf4 (nested and not), fp4, int8 */
};

/* Packed weights: what each becomes, and by how much a weight may differ from what the packing
 * stands for, relative to it: 0 for the exact ones, 2^-11 where a product or a scale of f32 is
 * rounded to f16 once (2^-12, and another for the reference's own rounding). */
static const struct { const char *name, *module, *format; float bound; } packed[] = {
    {"gptq4",     "self_attn.q_proj", "q4_0",  0},
    {"gptq4",     "mlp.down_proj",    "q4_0",  0},
    {"gptq4-v2",  "self_attn.q_proj", "q5_0",  0},
    {"gptq4-v2",  "mlp.down_proj",    "q5_0",  0},
    {"gptq4-act", "mlp.down_proj",    "q4_0",  0},
    {"gptq4-act", "self_attn.q_proj", "q4_0",  0},
    {"gptq2",     "mlp.down_proj",    "f16",   0x1p-11f},
    {"gptq3",     "self_attn.k_proj", "q4_0",  0},
    {"gptq3",     "mlp.down_proj",    "q4_0",  0},
    {"gptq8",     "mlp.down_proj",    "q8_0",  0},
    {"awq",       "self_attn.q_proj", "q5_0",  0},
    {"awq",       "mlp.down_proj",    "q5_0",  0},
    {"ct-int",    "self_attn.q_proj", "q4_0",  0},        /* scales in bf16 */
    {"ct-int",    "self_attn.k_proj", "q5_0",  0},        /* zero points */
    {"ct-int",    "self_attn.v_proj", "q8_0",  0x1p-11f}, /* scales in f32 */
    {"ct-int",    "self_attn.o_proj", "q5_0",  0},        /* 5 bits */
    {"ct-int",    "mlp.gate_proj",    "q8_0",  0},        /* int8, scales in bf16 */
    {"ct-int",    "mlp.up_proj",      "q4_0",  0},        /* 3 bits */
    {"ct-int",    "mlp.down_proj",    "q4_0",  0x1p-11f},
    {"ct-float",  "self_attn.q_proj", "nvfp4", 0x1p-22f}, /* 1 / global in f32 */
    {"ct-float",  "self_attn.o_proj", "f8_e4m3", 0},
    {"ct-float",  "mlp.gate_proj",    "f8_e4m3", 0},
    {"ct-float",  "mlp.up_proj",      "f8_e4m3", 0},
    {"ct-float",  "mlp.down_proj",    "mxfp4", 0},
    {"fp8-block", "self_attn.q_proj", "f16",   0x1p-11f},
    {"fp8-block", "mlp.down_proj",    "f16",   0x1p-11f},
    {"fp8-ue8m0", "self_attn.k_proj", "f8_e4m3", 0},
    {"fp8-ue8m0", "mlp.down_proj",    "f8_e4m3", 0},
    {"gptq4-borrow", "self_attn.q_proj", "q5_0", 0},
    {"gptq4-borrow", "lm_head",       "q5_0",  0},
    {"gptq3-borrow", "mlp.down_proj", "q4_0",  0},
    {"awq-gemv",  "self_attn.k_proj", "q5_0",  0},
    {"awq-gemv",  "mlp.down_proj",    "q5_0",  0},
    {"gptq-marlin", "self_attn.q_proj", "q4_0", 0},
    {"gptq-marlin", "mlp.up_proj",    "q4_0",  0},
    {"awq-marlin", "self_attn.v_proj", "q4_0", 0},
    {"awq-marlin", "mlp.down_proj",   "q4_0",  0},
    {"awq-fast",  "self_attn.k_proj", "q5_0",  0},
    {"awq-fast",  "mlp.down_proj",    "q5_0",  0},
    {"ct-tables", "embed_tokens",     "f16",   0x1p-11f},
    {"ct-tables", "lm_head",          "q8_0",  0x1p-11f},
    {"ct-tied",   "embed_tokens",     "q4_0",  0},
    {"ct-tables8", "embed_tokens",    "f8_e4m3", 0},
    {"ct-tables8", "lm_head",         "nvfp4", 0x1p-22f},
    {"ar-gptq",   "self_attn.q_proj", "q5_0",  0},
    {"ar-gptq",   "mlp.up_proj",      "q4_0",  0}, /* 3 bits */
    {"ar-gptq",   "mlp.down_proj",    "q8_0",  0}, /* 8 bits */
    {"ar-plain",  "self_attn.q_proj", "q5_0",  0},
    {"ar-plain",  "mlp.up_proj",      "q4_0",  0}, /* 2 bits */
    {"ar-plain",  "mlp.down_proj",    "q8_0",  0}, /* 5 bits */
    {"ar-awq",    "mlp.gate_proj",    "q5_0",  0},
    {"ct-model",  "self_attn.q_proj", "f8_e4m3", 0},
    {"ct-model",  "self_attn.v_proj", "f16",   0x1p-11f},
    {"ct-model",  "self_attn.o_proj", "q8_0",  0},
    {"ct-model",  "mlp.down_proj",    "q5_0",  0},
    {"gm-gptq",   "self_attn.q_proj", "q4_0",  0},
    {"gm-gptq",   "mlp.gate_proj",    "q4_0",  0}, /* 3 bits */
    {"gm-gptq",   "mlp.up_proj",      "q8_0",  0}, /* 8 bits, groups of 64 beside others of 32 */
    {"gm-gptq",   "mlp.down_proj",    "q4_0",  0}, /* 2 bits, groups of 64 */
    {"gm-awq",    "self_attn.k_proj", "q4_0",  0},
    {"gm-awq",    "mlp.up_proj",      "q4_0",  0},
    {"gm-gptq-v2", "self_attn.q_proj", "q5_0", 0},
    {"gm-gptq-v2", "mlp.down_proj",   "q5_0",  0},
    {"bnb-nf4",   "self_attn.v_proj", "nf4",   0},
    {"bnb-int8",  "mlp.down_proj",    "q8_0",  0x1p-11f},
    {"mo-fp8",    "self_attn.q_proj", "f8_e4m3", 0},
    {"mo-fp8-channel", "mlp.up_proj", "f8_e4m3", 0},
    {"mo-nvfp4",  "mlp.down_proj",    "nvfp4", 0x1p-22f}, /* products in f32 in another order */
    {"mo-nvfp4-fp8", "mlp.down_proj", "nvfp4", 0x1p-22f},
    {"mo-mxfp4",  "mlp.gate_proj",    "mxfp4", 0},
    {"mo-mxfp8",  "self_attn.o_proj", "f16",   0}, /* powers of two */
    {"mo-int8",   "self_attn.o_proj", "f16",   0x1p-11f},
    {"mo-int4",   "self_attn.q_proj", "q4_0",  0x1p-11f},
    {"mo-int4",   "mlp.down_proj",    "f16",   0x1p-11f},
    {"exl2",      "self_attn.q_proj", "q4_0",  0},
    {"exl2",      "mlp.gate_proj",    "q5_0",  0},
    {"exl2",      "mlp.up_proj",      "q4_0",  0},
    {"exl2",      "lm_head",          "q8_0",  0},
    {"exl2",      "mlp.down_proj",    "q8_0",  0},
    {"bnb",       "self_attn.q_proj", "nf4",   0},
    {"bnb",       "mlp.gate_proj",    "f16",   0x1p-11f},
    {"bnb",       "mlp.up_proj",      "q8_0",  0x1p-11f},
    {"bnb",       "mlp.down_proj",    "nf4",   0},
};
/* clang-format on */
enum { N_MODELS = sizeof models / sizeof models[0], N_PACKED = sizeof packed / sizeof packed[0] };
enum { EACH = 16 }; /* the fixtures have every 16th row */

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
static void run_on(const struct backend *backend, const char *path, const char *name, float bound)
{
    struct step_options o = {.path = path,
                             .backend = backend,
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

static void run(const char *path, const char *name, float bound)
{
    run_on(&backend_cpu, path, name, bound);
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

/* A device without kernels for FP8 and NF4 gets these weights as f16. */
static void test_fallback(void **state)
{
    const struct backend *refuse = refuse_backend(0);

    (void)state;
    run_on(refuse, FOLDER "fp8-block", "fp8-block", 1e-3f);
    run_on(refuse, FOLDER "ct-float", "ct-float", 4e-2f);
    run_on(refuse, FOLDER "bnb", "bnb", 4e-2f);
    run_on(refuse, FOLDER "ct-tables8", "ct-tables8", 4e-2f); /* a table too */
}

/* The rows of the fixture against those that are made, times the weight's global factor. */
static void compare_rows(int i, const struct ckpt_tensor *t, const char *made,
                         const struct fixture *f)
{
    const float *want = fixture_f32(f, packed[i].module);
    size_t n = (size_t)t->shape[1], row = t->bytes / (size_t)t->shape[0];
    float *got = xmalloc(n * sizeof *got), global = t->global != 0 ? t->global : 1;

    assert_int_equal(fixture_count(fixture_get(f, packed[i].module, "f4")),
                     (size_t)(t->shape[0] + EACH - 1) / EACH * n);
    for (int64_t r = 0; r < t->shape[0]; r += EACH, want += n) {
        dtype_decode((enum dtype)t->dtype, made + (size_t)r * row, got, (int64_t)n);
        for (size_t k = 0; k < n; k++) {
            float w = want[t->order ? (size_t)t->order[k] : k];

            if (!(fabsf(got[k] * global - w) <= packed[i].bound * fabsf(w)))
                fail_msg("%s, %s: [%d, %zu] is %.9g, expected %.9g", packed[i].name,
                         packed[i].module, (int)r, k, (double)(got[k] * global), (double)w);
        }
    }
    xfree(got);
}

static const char *prefix_of(const char *module)
{
    return strcmp(module, "lm_head") == 0    ? ""
           : strstr(module, "embed") != NULL ? "model."
                                             : "model.layers.0.";
}

static void test_weights(void **state)
{
    char path[160];

    (void)state;
    for (int i = 0; i < N_PACKED; i++) {
        const struct ckpt_tensor *t;
        struct checkpoint *c;
        struct fixture f;
        void *made;

        snprintf(path, sizeof path, FOLDER "%s/logits.bin", packed[i].name);
        fixture_load(&f, path);
        snprintf(path, sizeof path, FOLDER "%s", packed[i].name);
        assert_int_equal(checkpoint_open(path, &c), OK);
        snprintf(path, sizeof path, "%s%s.weight", prefix_of(packed[i].module), packed[i].module);
        t = checkpoint_tensor(c, path);
        assert_non_null(t);
        assert_string_equal(checkpoint_type_name(c, t), packed[i].format);
        made = xmalloc(t->bytes);
        assert_int_equal(c->format->fill(c, t, made), OK);
        compare_rows(i, t, made, &f);
        xfree(made);
        fixture_clear(&f);
        checkpoint_close(c);
    }
}

/* q_proj of a directory whose packing_format is another text: as a version before spelt it. */
static void fill_as(const char *name, const char *from, const char *to, uint8_t *out)
{
    struct ckpt_lent lent[2] = {{"d/config.json", {0}}, {"d/model.safetensors", {0}}};
    const struct ckpt_tensor *t;
    struct buf config = {0};
    struct checkpoint *c;
    char path[160], *text, *weights, *at;
    size_t n;

    snprintf(path, sizeof path, FOLDER "%s/config.json", name);
    assert_int_equal(file_read(path, 1 << 20, &text, &n), OK);
    at = strstr(text, from);
    assert_non_null(at);
    buf_append(&config, text, (size_t)(at - text));
    buf_puts(&config, to);
    buf_puts(&config, at + strlen(from));
    lent[0].bytes = (struct bytes){config.data, config.len};
    snprintf(path, sizeof path, FOLDER "%s/model.safetensors", name);
    assert_int_equal(file_read(path, 1 << 20, &weights, &n), OK);
    lent[1].bytes = (struct bytes){weights, n};
    assert_int_equal(checkpoint_borrow(lent, 2, &c), OK);
    t = checkpoint_tensor(c, "model.layers.0.self_attn.q_proj.weight");
    assert_non_null(t);
    assert_int_equal(t->bytes, 64 * 2 * 22); /* q5_0 */
    assert_int_equal(c->format->fill(c, t, out), OK);
    checkpoint_close(c);
    xfree(weights);
    xfree(text);
    buf_clear(&config);
}

static void test_auto_round_spellings(void **state)
{
    static const char gptq[] = "\"packing_format\": \"auto_round:auto_gptq\"";
    static const char plain[] = "\"packing_format\": \"auto_round\"";
    static const struct {
        const char *name, *now, *old;
    } same[] = {
        {"ar-gptq", gptq, "\"backend\": \"auto_round:gptq:exllamav2\""},
        {"ar-gptq", gptq, "\"x\": 1"},
        {"ar-plain", plain, "\"backend\": \"auto_round:exllamav2\""},
        {"ar-plain", plain, "\"packing_format\": \"auto_round:gptqmodel\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        uint8_t now[64 * 2 * 22], old[64 * 2 * 22];

        fill_as(same[i].name, same[i].now, same[i].now, now);
        fill_as(same[i].name, same[i].now, same[i].old, old);
        assert_memory_equal(now, old, sizeof now);
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

/* What Python's JSON and people's downloads have: NaN and Infinity, keys that stand twice (the last
 * counts), shards whose index was left
 * behind, and a rope that would change only beyond the context. The same logits. */
static void test_odd_directories(void **state)
{
    static const char *const d = "build/hf-odd/";
    static const char *const shard[] = {"model-00001-of-00003.safetensors",
                                        "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    struct checkpoint *c;
    struct model *m;
    char from[128], to[128];

    (void)state;
    mkdir(d, 0777);
    for (int i = 0; i < 3; i++) {
        snprintf(from, sizeof from, FOLDER "llama/%s", shard[i]);
        snprintf(to, sizeof to, "%s%s", d, shard[i]);
        file_copy(from, to, NULL, NULL);
    }
    file_copy(FOLDER "llama/config.json", "build/hf-odd/config.json", "{",
              "{\"rms_norm_eps\": 7, \"hidden_size\" : [{}, {\"x\": 1, \"x\": 2}], \"a\": NaN, "
              "\"b\": [0.0, -Infinity], \"c\": \"\\\"NaN\\\"\", \"d\": {\"e\": Infinity},");
    run(d, "llama", 1e-4f);
    run("build/hf-odd/model-00002-of-00003.safetensors", "llama", 1e-4f);
    assert_int_equal(checkpoint_open(d, &c), OK);
    assert_null(checkpoint_key(c, "a"));
    assert_null(checkpoint_key(c, "d.e"));
    assert_true(bytes_equal(checkpoint_key(c, "c")->text, "\"NaN\""));
    checkpoint_close(c);
    unlink(to);
    assert_int_equal(checkpoint_open(d, &c), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "model-00003-of-00003.safetensors"));

    mkdir("build/hf-dynamic", 0777);
    file_copy(FOLDER "qwen2/model.safetensors", "build/hf-dynamic/model.safetensors", NULL, NULL);
    file_copy(FOLDER "qwen2/config.json", "build/hf-dynamic/config.json",
              "\"rope_type\": \"default\"", "\"rope_type\": \"dynamic\", \"factor\": 4.0");
    run("build/hf-dynamic", "qwen2", 2e-2f);

    /* An embedding model: a head that is neither there nor the table. */
    file_copy(FOLDER "qwen2/config.json", "build/hf-dynamic/config.json",
              "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert_int_equal(model_open("build/hf-dynamic", NULL, &m), ERR_FORMAT);
    assert_non_null(strstr(fail_text(), "tensor lm_head.weight [64, 32] is missing"));
}

/* An index that lay beside one whole file before: the file counts. */
static void test_stale_index(void **state)
{
    FILE *f;

    (void)state;
    mkdir("build/hf-stale", 0777);
    file_copy(FOLDER "mistral/config.json", "build/hf-stale/config.json", NULL, NULL);
    file_copy(FOLDER "mistral/model.safetensors", "build/hf-stale/model.safetensors", NULL, NULL);
    f = fopen("build/hf-stale/model.safetensors.index.json", "w");
    fputs("{\"weight_map\":{\"model.norm.weight\":\"model-00001-of-00002.safetensors\"}}", f);
    fclose(f);
    run("build/hf-stale", "mistral", 1e-4f);
}

/* A directory of config.json and one file of tensors, from its header and its data. */
static struct checkpoint *lend(struct buf *file, const char *config, const char *header,
                               struct bytes data)
{
    struct ckpt_lent lent[2] = {{"d/config.json", {config, strlen(config)}},
                                {"d/model.safetensors", {0}}};
    uint64_t n = strlen(header);
    struct checkpoint *c;

    buf_reset(file);
    buf_append(file, &n, sizeof n);
    buf_append(file, header, n);
    buf_append(file, data.p, data.n);
    lent[1].bytes = (struct bytes){file->data, file->len};
    if (checkpoint_borrow(lent, 2, &c) != OK)
        fail_msg("%s: %s", header, fail_text());
    return c;
}

#define LLAMA "{\"model_type\":\"llama\",\"tie_word_embeddings\":true}"
#define TABLE                                                                                      \
    "\"model.embed_tokens.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]}"
#define HEAD(at) "\"lm_head.weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":" at "}"

/* A head that the configuration ties to the table: the same bytes once more are left out, others
 * count; and it may be the one of the two that was saved. */
static void test_ties(void **state)
{
    struct buf file = {0};
    struct checkpoint *c;

    (void)state;
    c = lend(&file, LLAMA, "{" TABLE "," HEAD("[8,16]") "}",
             (struct bytes){"abcdefghabcdefgh", 16});
    assert_int_equal(c->n_tensors, 1);
    assert_non_null(checkpoint_tensor(c, "model.embed_tokens.weight"));
    checkpoint_close(c);
    c = lend(&file, LLAMA, "{" TABLE "," HEAD("[8,16]") "}",
             (struct bytes){"abcdefghabcdefgg", 16});
    assert_int_equal(c->n_tensors, 2);
    checkpoint_close(c);
    c = lend(&file, LLAMA, "{" HEAD("[0,8]") "}", (struct bytes){"abcdefgh", 8});
    assert_int_equal(c->n_tensors, 1);
    assert_non_null(checkpoint_tensor(c, "model.embed_tokens.weight"));
    checkpoint_close(c);
    buf_clear(&file);

    mkdir("build/hf-tied", 0777);
    for (int i = 1; i <= 3; i++) {
        char from[96], to[96];

        snprintf(from, sizeof from, FOLDER "llama/model-0000%d-of-00003.safetensors", i);
        snprintf(to, sizeof to, "build/hf-tied/model-0000%d-of-00003.safetensors", i);
        file_copy(from, to, NULL, NULL);
    }
    file_copy(FOLDER "llama/config.json", "build/hf-tied/config.json",
              "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    run("build/hf-tied", "llama", 1e-4f);
}

#define PART(name, type, shape, at)                                                                \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" at "}"

/* compressed-tensors: one scale for all of a packed weight; floats of 6 bits are not read. */
static void test_packed_odd(void **state)
{
    static const char whole[] = "{" PART("a.weight_packed", "I32", "[2,4]", "[0,32]") "," PART(
        "a.weight_scale", "F16", "[1]", "[32,34]") "," PART("a.weight_shape", "I32", "[2]",
                                                            "[34,42]") "}";
    static const char six[] = "{" PART("a.weight_packed", "U8", "[1,24]", "[0,24]") "," PART(
        "a.weight_scale", "U8", "[1,1]", "[24,25]") "}";
    char data[42], made[36];
    const struct ckpt_tensor *t;
    struct buf file = {0};
    struct checkpoint *c;
    float row[32];

    (void)state;
    memset(data, 0x21, 32);                            /* codes 1, 2 */
    memcpy(data + 32, "\0\x40\2\0\0\0\x20\0\0\0", 10); /* 2.0; 2 rows of 32 */
    c = lend(&file, LLAMA, whole, (struct bytes){data, sizeof data});
    t = checkpoint_tensor(c, "a.weight");
    assert_non_null(t);
    assert_int_equal(t->bytes, sizeof made);
    assert_int_equal(c->format->fill(c, t, made), OK);
    dtype_decode(DT_Q4_0, made + 18, row, 32);
    for (int i = 0; i < 32; i++)
        assert_true(row[i] == (i % 2 ? -12.0f : -14.0f));
    checkpoint_close(c);
    c = lend(&file, LLAMA, six, (struct bytes){data, 25});
    assert_non_null(c->refusal);
    assert_non_null(strstr(c->refusal, "floats of 6 bits (MXFP6) are not supported"));
    checkpoint_close(c);
    buf_clear(&file);
}

/* Groups of config_groups may have any name: squares and activations are found all the same. */
static void test_named_group(void **state)
{
    static const char config[] =
        "{\"model_type\":\"llama\",\"quantization_config\":{\"quant_method\":\"compressed-"
        "tensors\","
        "\"config_groups\":{\"mine\":{\"weights\":{\"num_bits\":8,\"type\":\"float\","
        "\"strategy\":\"block\",\"block_structure\":[16,64]},"
        "\"input_activations\":{\"num_bits\":8,\"type\":\"float\"}}}}}";
    static const char header[] = "{" PART("a.weight", "F8_E4M3", "[32,128]", "[0,4096]") "," PART(
        "a.weight_scale", "F32", "[2,2]", "[4096,4112]") "}";
    static const char zeros[4112];
    const struct ckpt_tensor *t;
    struct buf file = {0};
    struct checkpoint *c;

    (void)state;
    c = lend(&file, config, header, (struct bytes){zeros, sizeof zeros});
    if (c->refusal)
        fail_msg("%s", c->refusal);
    t = checkpoint_tensor(c, "a.weight");
    assert_non_null(t);
    assert_int_equal(t->dtype, DT_F8_E4M3);
    assert_int_equal(t->x, X_FP8);
    checkpoint_close(c);
    buf_clear(&file);
}

/* gpt-oss' experts, of a network that is not run: read and listed, its numbers those that
 * Transformers unpacks (tests/tools/make_gpt_oss.py). */
static void test_gpt_oss(void **state)
{
    const struct ckpt_tensor *t;
    struct checkpoint *c;
    struct buf out = {0};
    struct fixture f;
    struct model *m;
    float *got;
    char *made;
    int64_t n;

    (void)state;
    fixture_load(&f, FOLDER "gpt-oss/logits.bin");
    n = fixture_count(fixture_get(&f, "experts", "f4"));
    assert_int_equal(checkpoint_open(FOLDER "gpt-oss", &c), OK);
    t = checkpoint_tensor(c, "model.layers.0.mlp.experts.gate_up_proj");
    assert_non_null(t);
    assert_string_equal(checkpoint_type_name(c, t), "mxfp4");
    assert_int_equal(t->ndim, 3);
    assert_int_equal(t->shape[0] * t->shape[1] * t->shape[2], n);
    made = xmalloc(t->bytes);
    got = xmalloc((size_t)n * sizeof *got);
    assert_int_equal(c->format->fill(c, t, made), OK);
    dtype_decode(DT_MXFP4, made, got, n);
    for (int64_t i = 0; i < n; i++)
        assert_true(got[i] == fixture_f32(&f, "experts")[i]); /* a zero's sign may differ */
    xfree(made);
    xfree(got);
    checkpoint_close(c);
    fixture_clear(&f);
    assert_int_equal(model_open(FOLDER "gpt-oss", NULL, &m), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "model_type gpt_oss is not supported (supported: llama"));
    assert_int_equal(engine_inspect(FOLDER "gpt-oss", &out), OK);
    assert_non_null(strstr(out.data, "gate_up_proj mxfp4"));
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_odd_directories),
        cmocka_unit_test(test_gpt_oss),
        cmocka_unit_test(test_named_group),
        cmocka_unit_test(test_stale_index),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_packed_odd),
        cmocka_unit_test(test_auto_round_spellings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
