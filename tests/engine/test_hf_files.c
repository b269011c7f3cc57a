/* test_hf_files.c - what lies beside the weights of a Hugging Face directory: tokenizer, templates,
 * the files in which older tools said what they had done to the weights; what is refused, and how
 * inspect says so. test_hf.c has what is computed. */
#include "tests/support/test.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/load/checkpoint.h"
#include "engine/load/model.h"
#include "kernels/base/mem.h"
#include "tests/fuzz/hf_parts.h"
#include "tests/support/file.h"
#include "tests/support/fixture.h"

#define FOLDER "tests/data/hf/"

/* Tokenizer, template and the tokens that end a turn, as Transformers has them. */
static void test_text(void **state)
{
    static const char *const said[2][2] = {{"user", "ab 12?"}, {"assistant", "ba"}};
    const struct json *vars;
    struct token_list t;
    struct fixture f;
    struct arena a;
    struct buf text = {0}, json = {0};
    struct model *m;
    size_t n;

    (void)state;
    fixture_load(&f, FOLDER "llama/logits.bin");
    assert_int_equal(model_open(FOLDER "llama", NULL, &m), OK);
    assert_string_equal(model_info(m)->id, "llama");
    assert_string_equal(model_info(m)->eos, "</s>");
    assert_int_equal(model_info(m)->n_vocab, 64); /* 50 tokens: the others stand for nothing */
    buf_puts(&json, "{\"add_generation_prompt\":true,\"messages\":[");
    for (int i = 0; i < 2; i++)
        buf_printf(&json, "%s{\"role\":\"%s\",\"content\":\"%s\"}", i ? "," : "", said[i][0],
                   said[i][1]);
    buf_puts(&json, "]}");
    arena_init(&a, 0);
    assert_int_equal(json_parse(&a, json.data, json.len, &vars), OK);
    assert_int_equal(model_render(m, vars, &text), OK);
    n = fixture_count(fixture_get(&f, "text", "u1"));
    assert_int_equal(text.len, n);
    assert_memory_equal(text.data, fixture_get(&f, "text", "u1")->data, n);
    assert_int_equal(
        model_tokenize(m, &a, (struct bytes){text.data, text.len}, true, AROUND_NOTHING, &t), OK);
    n = fixture_count(fixture_get(&f, "ids", "i4"));
    assert_int_equal(t.n, n);
    assert_memory_equal(t.id, fixture_i32(&f, "ids"), n * sizeof *t.id);
    assert_true(tokenizer_is_end(m->tok, 2) && !tokenizer_is_end(m->tok, 1));
    assert_true(tokenizer_is_end(m->tok, tokenizer_find(m->tok, "<end>")));
    assert_int_equal(model_piece(m, 60).n, 0);
    arena_clear(&a);
    buf_clear(&text);
    buf_clear(&json);
    fixture_clear(&f);
    model_close(m);
}

static void renders(const char *vars, const char *want)
{
    struct buf text = {0};
    const struct json *v;
    struct model *m;
    struct arena a;

    arena_init(&a, 0);
    assert_int_equal(json_parse(&a, vars, strlen(vars), &v), OK);
    assert_int_equal(model_open_text("build/hf-named", &m), OK);
    assert_int_equal(model_render(m, v, &text), OK);
    buf_putc(&text, 0);
    assert_string_equal(text.data, want);
    model_close_text(m);
    buf_clear(&text);
    arena_clear(&a);
}

/* Some directories have a template of its own for conversations with tools (Command R, Hermes); as
 * Transformers picks it: when there are tools, were it none. And so says the GGUF file. */
static void test_named_templates(void **state)
{
    (void)state;
    mkdir("build/hf-named", 0777);
    mkdir("build/hf-named/additional_chat_templates", 0777);
    unlink("build/hf-named/chat_template.jinja");
    unlink("build/hf-named/additional_chat_templates/tool_use.jinja");
    file_copy(FOLDER "mistral/model.safetensors", "build/hf-named/model.safetensors", NULL, NULL);
    file_copy(FOLDER "mistral/config.json", "build/hf-named/config.json", NULL, NULL);
    file_copy(FOLDER "llama/tokenizer.json", "build/hf-named/tokenizer.json", NULL, NULL);
    file_text("build/hf-named/tokenizer_config.json",
              "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"r\"},"
              "{\"name\":\"tool_use\",\"template\":\"t{{ tools | length }}\"},"
              "{\"name\":\"default\",\"template\":\"d\"}]}");
    renders("{}", "d");
    renders("{\"tools\":null}", "d");
    renders("{\"tools\":[]}", "t0");
    renders("{\"tools\":[1,2]}", "t2");
    file_text("build/hf-named/chat_template.jinja", "D");
    renders("{\"tools\":[1]}", "D"); /* files come before the list */
    file_text("build/hf-named/additional_chat_templates/tool_use.jinja", "T{{ tools | length }}");
    renders("{\"tools\":[1]}", "T1");
    renders("{}", "D");
}

/* ---- what is refused: the files of tests/fuzz/corpus/hf (tests/tools/gen_hf.py) ---------------
 */

/* clang-format off */
static const struct { const char *file; enum status status; const char *says; } refused[] = {
    {"cut_1",         ERR_FORMAT, "d/model.safetensors: the file of 1 bytes ends inside its header"},
    {"cut_20",        ERR_FORMAT, "claims a header of"},
    {"cut_400",       ERR_FORMAT, "claims a header of"},
    {"header_long",   ERR_FORMAT, "claims a header of 1099511627776 bytes"},
    {"lie_offset",    ERR_FORMAT, "model.norm.weight: data_offsets [1152921504606846976,"},
    {"lie_backwards", ERR_FORMAT, "model.norm.weight: data_offsets [16, 0]"},
    {"lie_hole",      ERR_FORMAT, "model.layers.0.input_layernorm.weight begins at byte 208 of the data"},
    {"lie_overlap",   ERR_FORMAT, "model.norm.weight ends at 16"},
    {"lie_shape",     ERR_FORMAT, "a dimension of 2147483648"},
    {"lie_short",     ERR_FORMAT, "its shape needs 14 bytes, its data_offsets span 16"},
    {"lie_dtype",     ERR_UNSUPPORTED, "dtype \"F7\" is not supported"},
    {"lie_field",     ERR_FORMAT, "\"extra\" is not a field"},
    {"lie_none",      ERR_FORMAT, "needs dtype, shape and data_offsets"},
    {"lie_fraction",  ERR_FORMAT, "expected a whole number"},
    {"lie_name",      ERR_FORMAT, "its name has 0 bytes"},
    {"twice",         ERR_FORMAT, "model.layers.0.self_attn.k_proj.weight stands twice"},
    {"split_absent",  ERR_NOT_FOUND, "d/model-00002-of-00002.safetensors: no such file"},
    {"split_short",   ERR_FORMAT, "d/model-00002-of-00002.safetensors: tensor"},
    {"split_wrong",   ERR_FORMAT, "where the index has it"},
    {"split_path",    ERR_FORMAT, "\"../../etc/passwd\" is not the name of a file beside it"},
};
/* clang-format on */

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct ckpt_lent lent[N_HF_PARTS];
        struct checkpoint *c;
        char path[128], *data;
        size_t n;
        int n_lent;

        snprintf(path, sizeof path, "tests/fuzz/corpus/hf/%s", refused[i].file);
        assert_int_equal(file_read(path, 1 << 16, &data, &n), OK);
        n_lent = hf_parts((const uint8_t *)data, n, lent);
        assert_int_equal(checkpoint_borrow(lent, n_lent, &c), refused[i].status);
        assert_null(c);
        if (!strstr(fail_text(), refused[i].says))
            fail_msg("%s: \"%s\" should have \"%s\"", refused[i].file, fail_text(),
                     refused[i].says);
        xfree(data);
    }
}

/* What was done to the weights, in the files of their own that older tools left. */
static void test_old_files(void **state)
{
    static const struct {
        const char *file, *type;
    } old[] = {
        {"old_gptq", "f16"},     /* groups of 16 fit no block */
        {"old_modelopt", "f16"}, /* 16 columns fit none either */
    };

    (void)state;
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        struct ckpt_lent lent[N_HF_PARTS];
        const struct ckpt_tensor *t;
        struct checkpoint *c;
        char path[128], *data;
        size_t n;
        int n_lent;

        snprintf(path, sizeof path, "tests/fuzz/corpus/hf/%s", old[i].file);
        assert_int_equal(file_read(path, 1 << 16, &data, &n), OK);
        n_lent = hf_parts((const uint8_t *)data, n, lent);
        assert_int_equal(checkpoint_borrow(lent, n_lent, &c), OK);
        t = checkpoint_tensor(c, "model.layers.0.self_attn.q_proj.weight");
        assert_true(t && t->made && !c->refusal);
        assert_string_equal(checkpoint_type_name(c, t), old[i].type);
        assert_non_null(checkpoint_key(c, "quantization_config.quant_method"));
        checkpoint_close(c);
        xfree(data);
    }
}

/* Directories that can be read and not run: inspect says why and lists them all the same. */
static void inspected(const char *config, const char *says)
{
    static const char *const folder = "build/hf-inspect";
    struct buf out = {0};

    mkdir(folder, 0777);
    file_copy(FOLDER "gptq4/model.safetensors", "build/hf-inspect/model.safetensors", NULL, NULL);
    file_text("build/hf-inspect/config.json", config);
    assert_int_equal(engine_inspect(folder, &out), OK);
    if (!strstr(out.data, says) || !strstr(out.data, "cannot run") ||
        !strstr(out.data, "model.norm.weight"))
        fail_msg("\"%s\" should say \"%s\"", out.data, says);
    buf_clear(&out);
}

#define SIZES                                                                                      \
    "\"num_hidden_layers\":1,\"hidden_size\":64,\"intermediate_size\":64,\"vocab_size\":32,"       \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":256,"         \
    "\"rms_norm_eps\":1e-5,"
#define GPTQ "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32"

static void test_inspect(void **state)
{
    (void)state;
    inspected("{\"model_type\":\"mamba\"}",
              "model_type mamba is not supported (supported: llama mistral qwen2 qwen3");
    inspected("{\"hidden_size\":64}", "key model_type is missing");
    inspected("{\"model_type\":\"llama\"," SIZES GPTQ ",\"checkpoint_format\":\"marlin\"}}",
              "GPTQ checkpoint_format \"marlin\" is not supported");
    inspected("{\"model_type\":\"llama\"," SIZES GPTQ ",\"desc_act\":false},"
              "\"hidden_act\":\"relu\"}",
              "key hidden_act is \"relu\"");
    inspected("{\"model_type\":\"qwen2\"," SIZES GPTQ "},\"sliding_window\":4,"
              "\"use_sliding_window\":true,\"layer_types\":[\"full_attention\"],"
              "\"rope_scaling\":{\"type\":\"longrope\"}}",
              "longrope needs 8 positive numbers as rope_scaling.short_factor");
    inspected("{\"model_type\":\"llama\"," SIZES "\"quantization_config\":{\"bits\":4}}",
              "q_proj.weight [64, 64] is missing");
    inspected("{\"model_type\":\"llama\"," SIZES
              "\"quantization_config\":{\"quant_method\":\"aqlm\"}}",
              "quant_method \"aqlm\" is not supported (supported: gptq marlin awq auto-round");
    inspected("{\"model_type\":\"llama\"," SIZES
              "\"quantization_config\":{\"quant_method\":\"auto-round\","
              "\"packing_format\":\"mlx\"}}",
              "packing_format \"mlx\" is not supported");
    inspected("{\"model_type\":\"llama\"," SIZES GPTQ ",\"is_marlin_format\":true}}",
              "is_marlin_format is said of weights named as in plain GPTQ");
    inspected("{\"model_type\":\"llama\"," SIZES GPTQ
              ",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}}}",
              "sparsity_config.format \"sparse-24-bitmask\" is not supported");
    inspected("{\"model_type\":\"llama\"," SIZES
              "\"quantization_config\":{\"quant_method\":\"compressed-tensors\","
              "\"transform_config\":{\"config_groups\":{\"R4\":{\"type\":\"hadamard\"}}}}}",
              "transform_config (rotated activations) is not supported");
    inspected("{\"model_type\":\"llama\"," SIZES
              "\"quantization_config\":{\"quant_method\":\"compressed-tensors\","
              "\"format\":\"marlin-24\"}}",
              "format \"marlin-24\" (sparse weights) is not supported");
    inspected("{\"model_type\":\"llama\"," SIZES
              "\"quantization_config\":{\"quant_method\":\"awq\",\"version\":\"gemv_fast\"}}",
              "AWQ version \"gemv_fast\" of these tensors is not supported");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),      cmocka_unit_test(test_named_templates),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_inspect),
        cmocka_unit_test(test_old_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
