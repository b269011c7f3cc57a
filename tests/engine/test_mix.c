/* The mixes against what llama-quantize (llama.cpp 3f545bec) gave each tensor of a model; but for
 * attn_v of q3_k_m, which has a bit more here (docs/measurements/2026-11-21-quantize.md). */
#include "engine/load/mix.h"

#include <string.h>
#include <strings.h>

#include "tests/support/test.h"

/* SmolLM2-135M: 30 layers, rows of 576 numbers, of ffn_down 1536; 9 heads, 3 key heads. A letter
 * is a format, see letter(): of the embedding table and of attn_q and ffn_up in all layers; then,
 * layer by layer, of attn_v, attn_output and ffn_down. */
/* clang-format off */
static const struct { const char *mix, *table_q, *v, *out, *down; } expected[] = {
    {"iq4_nl", "8n", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", "kkknnnnnnnnnnnnnnnnnnnnnnnnnnn"},
    {"iq4_xs", "8n", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", "kkkxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
    {"q2_k", "84", "444444444444444444444444444444", "444444444444444444444444444444", "333333333333333333333333333333"},
    {"q3_k_l", "84", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"},
    {"q3_k_m", "84", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "555555555555555555555555555555", "kKKKKKKKKKKKKKKKKKKKKKKKKKKKKK"},
    {"q3_k_s", "84", "444444444444444444444444444444", "444444444444444444444444444444", "333333333333333333333333333333"},
    {"q4_0", "84", "444444444444444444444444444444", "444444444444444444444444444444", "444444444444444444444444444444"},
    {"q4_1", "8j", "jjjjjjjjjjjjjjjjjjjjjjjjjjjjjj", "jjjjjjjjjjjjjjjjjjjjjjjjjjjjjj", "jjjjjjjjjjjjjjjjjjjjjjjjjjjjjj"},
    {"q4_k_m", "85", "888558558558558558558558558888", "555555555555555555555555555555", "666KK6KK6KK6KK6KK6KK6KK6KK6666"},
    {"q4_k_s", "85", "iiii55555555555555555555555555", "555555555555555555555555555555", "kkkKKKKKKKKKKKKKKKKKKKKKKKKKKK"},
    {"q5_0", "85", "555555555555555555555555555555", "555555555555555555555555555555", "555555555555555555555555555555"},
    {"q5_1", "8i", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii"},
    {"q5_k_m", "8i", "888ii8ii8ii8ii8ii8ii8ii8ii8888", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "666kk6kk6kk6kk6kk6kk6kk6kk6666"},
    {"q5_k_s", "8i", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"},
    {"q6_k", "88", "888888888888888888888888888888", "888888888888888888888888888888", "666666666666666666666666666666"},
    {"q8_0", "88", "888888888888888888888888888888", "888888888888888888888888888888", "888888888888888888888888888888"},
};
/* clang-format on */

static char letter(enum dtype t)
{
    static const struct {
        enum dtype type;
        char is;
    } letters[] = {{DT_Q8_0, '8'}, {DT_Q6_K, '6'},   {DT_Q5_K, 'k'},   {DT_Q5_1, 'i'},
                   {DT_Q5_0, '5'}, {DT_Q4_K, 'K'},   {DT_Q4_1, 'j'},   {DT_Q4_0, '4'},
                   {DT_Q3_K, '3'}, {DT_IQ4_NL, 'n'}, {DT_IQ4_XS, 'x'}, {DT_Q2_K, '2'}};
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (letters[i].type == t)
            return letters[i].is;
    return '?';
}

static char got(const struct mix *m, const char *pattern, int layer, int64_t columns)
{
    const struct mix_model model = {.n_layer = 30, .heads_a_kv_head = 3, .tied = true};
    char name[64];
    snprintf(name, sizeof name, pattern, layer);
    assert_true(mix_takes(name, 2));
    return letter(mix_fit(mix_type(m, &model, name), columns));
}

static void test_llama_cpp(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const struct mix *m = mix_find(expected[i].mix);
        assert_non_null(m);
        assert_int_equal(got(m, "token_embd.weight", 0, 576), expected[i].table_q[0]);
        for (int l = 0; l < 30; l++) {
            assert_int_equal(got(m, "blk.%d.attn_q.weight", l, 576), expected[i].table_q[1]);
            assert_int_equal(got(m, "blk.%d.ffn_up.weight", l, 576), expected[i].table_q[1]);
            assert_int_equal(got(m, "blk.%d.attn_v.weight", l, 576), expected[i].v[l]);
            assert_int_equal(got(m, "blk.%d.attn_output.weight", l, 576), expected[i].out[l]);
            assert_int_equal(got(m, "blk.%d.ffn_down.weight", l, 1536), expected[i].down[l]);
        }
    }
}

/* What that model does not have: many heads a key head, experts, an output matrix, importance. */
static void test_other_models(void **state)
{
    (void)state;
    struct mix_model m = {.n_layer = 32, .heads_a_kv_head = 4};
    const char *v = "blk.9.attn_v.weight", *down = "blk.3.ffn_down.weight";
    assert_int_equal(mix_type(mix_find("q2_k"), &m, v), DT_Q4_K);
    assert_int_equal(mix_type(mix_find("iq4_xs"), &m, v), DT_Q5_K);
    assert_int_equal(mix_type(mix_find("q4_k_m"), &m, "output.weight"), DT_Q6_K);
    assert_int_equal(mix_type(mix_find("q4_k_m"), &m, "token_embd.weight"), DT_Q4_K);
    assert_int_equal(mix_type(mix_find("nvfp4"), &m, "token_embd.weight"), DT_Q8_0);
    assert_int_equal(mix_type(mix_find("mxfp4"), &m, "output.weight"), DT_Q8_0);
    assert_int_equal(mix_type(mix_find("bf16"), &m, "output.weight"), DT_BF16);
    assert_int_equal(mix_type(mix_find("iq4_xs"), &m, down), DT_Q5_K);
    assert_int_equal(mix_type(mix_find("q4_0"), &m, down), DT_Q4_0);
    m.importance = true;
    assert_int_equal(mix_type(mix_find("iq4_xs"), &m, down), DT_IQ4_XS);
    assert_int_equal(mix_type(mix_find("q4_0"), &m, down), DT_Q4_1);
    m.n_expert = 8;
    assert_int_equal(mix_type(mix_find("q4_k_m"), &m, v), DT_Q8_0);
    assert_int_equal(mix_type(mix_find("q4_k_m"), &m, "blk.9.attn_k.weight"), DT_Q8_0);
}

static void test_names(void **state)
{
    (void)state;
    char list[400], *save = NULL;
    int n = 0;
    assert_string_equal(mix_find("Q4_K_M")->name, "q4_k_m");
    assert_string_equal(mix_find("Q4_K")->name, "q4_k_m");
    assert_null(mix_find("q4"));
    snprintf(list, sizeof list, "%s", mix_list());
    for (char *w = strtok_r(list, " ", &save); w; w = strtok_r(NULL, " ", &save), n++)
        assert_string_equal(mix_find(w)->name, w);
    assert_int_equal(n, 22);
    assert_false(mix_takes("blk.0.attn_norm.weight", 2));
    assert_false(mix_takes("blk.0.attn_q.bias", 2));
    assert_false(mix_takes("blk.0.attn_q.weight", 1));
    assert_false(mix_takes("blk.0.ffn_gate_inp.weight", 2));
    assert_true(mix_takes("blk.0.ffn_gate_exps.weight", 3));
    assert_int_equal(mix_fit(DT_Q4_K, 512), DT_Q4_K);
    assert_int_equal(mix_fit(DT_IQ4_XS, 32), DT_IQ4_NL);
    assert_int_equal(mix_fit(DT_NVFP4, 96), DT_MXFP4);
    assert_int_equal(mix_fit(DT_NVFP4, 40), DT_F16);
    assert_int_equal(mix_fit(DT_F32, 7), DT_F32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_cpp),
        cmocka_unit_test(test_other_models),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
