/* test_bind.c - files that are whole but wrong: every missing, surplus, mis-shaped or unsupported
 * tensor, and every hyper-parameter out of range, is named. Good files are opened and bent. */
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#include "engine/load/bind.h"
#include "engine/load/hparams.h"

#define FOLDER "tests/data/models/"

struct bent {
    struct checkpoint *c;
    const struct recipe *recipe;
    struct net net;
    struct placement place;
};

static void bent_open(struct bent *b, const char *file, const char *architecture)
{
    memset(b, 0, sizeof *b);
    assert_int_equal(checkpoint_open(file, &b->c), OK);
    b->recipe = recipe_find(architecture);
    assert_non_null(b->recipe);
}

static struct ckpt_tensor *bent_tensor(struct bent *b, const char *name)
{
    const struct ckpt_tensor *t = checkpoint_tensor(b->c, name);

    assert_non_null(t);
    return &b->c->tensor[t - b->c->tensor];
}

static enum status bent_bind(struct bent *b)
{
    struct net *n = &b->net;

    assert_int_equal(checkpoint_index(b->c), OK);
    n->arch = b->recipe->arch;
    TRY(hparams_read(b->c, b->recipe->architecture, n->arch->hparams, &n->hp));
    n->layer = arena_calloc(&b->c->arena, (size_t)n->hp.n_layer * sizeof *n->layer);
    return bind_weights(b->c, b->recipe, n, &b->place);
}

static void bent_close(struct bent *b)
{
    bind_clear(&b->place);
    checkpoint_close(b->c);
}

static void says(const char *word)
{
    if (!strstr(fail_text(), word))
        fail_msg("\"%s\" should have \"%s\"", fail_text(), word);
}

static void test_names(void **state)
{
    struct bent b;

    (void)state;
    bent_open(&b, FOLDER "qwen2.gguf", "qwen2");
    bent_tensor(&b, "blk.1.attn_k.weight")->name = "blk.1.attn_kk.weight";
    bent_tensor(&b, "blk.0.ffn_down.weight")->shape[1] = 65;
    assert_int_equal(bent_bind(&b), ERR_FORMAT);
    says("qwen2.gguf: ");
    says("tensor blk.1.attn_k.weight [16, 32] is missing");
    says("tensor blk.0.ffn_down.weight has shape [32, 65], expected [32, 64]");
    says("tensor blk.1.attn_kk.weight has no place in this network");
    bent_close(&b);

    bent_open(&b, FOLDER "qwen2.gguf", "qwen2");
    bent_tensor(&b, "blk.1.ffn_up.weight")->dtype = -1;
    bent_tensor(&b, "blk.1.ffn_up.weight")->type_number = 36;
    assert_int_equal(bent_bind(&b), ERR_UNSUPPORTED);
    says("tensor blk.1.ffn_up.weight has type IQ4_NL_4_4, which is not supported (supported: f32");
    bent_close(&b);
}

/* Scales beside NVFP4 weights: kept with the weight; those that differ keep Q, K and V apart. */
static void test_companions(void **state)
{
    struct bent b;
    const float *scale;
    int found = 0;

    (void)state;
    bent_open(&b, FOLDER "llama-nvfp4.gguf", "llama");
    scale = checkpoint_view(b.c, bent_tensor(&b, "blk.0.attn_q.scale")).data;
    assert_int_equal(bent_bind(&b), OK);
    assert_int_equal(b.net.layer[0].qkv.n_parts, 2); /* Q and K share theirs */
    for (int i = 0; i < b.place.n; i++) {
        if (b.place.bound[i].dst == &b.net.layer[0].qkv.part[0]) {
            assert_true(b.place.bound[i].quant.global == *scale && *scale > 0);
            found++;
        }
        if (b.place.bound[i].kind == WEIGHT_TABLE)
            assert_true(b.place.bound[i].quant.global == 0);
    }
    assert_int_equal(found, 1);
    bent_close(&b);

    bent_open(&b, FOLDER "llama-nvfp4.gguf", "llama");
    bent_tensor(&b, "blk.0.ffn_up.scale")->dtype = DT_I32;
    bent_tensor(&b, "blk.0.ffn_down.input_scale")->bytes = 8;
    bent_tensor(&b, "blk.0.ffn_gate.scale")->name = "blk.0.ffn_gat.scale";
    assert_int_equal(bent_bind(&b), ERR_FORMAT);
    says("tensor blk.0.ffn_up.scale: expected one positive number of type f32");
    says("tensor blk.0.ffn_down.input_scale: expected one positive number");
    says("tensor blk.0.ffn_gat.scale has no place in this network");
    bent_close(&b);
}

/* Optional weights: all parts of a bias, all layers, and what a class of checkpoint always has. */
static void test_optional(void **state)
{
    static const struct {
        const char *file, *architecture, *tensor, *word;
    } cases[] = {
        {FOLDER "qwen2.gguf", "qwen2", "blk.0.attn_q.bias", "blk.0.attn_q.bias [32] is missing"},
        {FOLDER "qwen2.gguf", "qwen2", "blk.1.attn_v.bias", "blk.1.attn_v.bias [16] is missing"},
        {FOLDER "qwen3.gguf", "qwen3", "blk.1.attn_k_norm.weight",
         "blk.1.attn_k_norm.weight [16] is missing"},
        {FOLDER "qwen3.gguf", "qwen3", "blk.0.attn_q_norm.weight",
         "blk.0.attn_q_norm.weight [16] is missing"},
        {FOLDER "llama.gguf", "llama", "token_embd.weight",
         "token_embd.weight [269, 32] is missing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bent b;

        bent_open(&b, cases[i].file, cases[i].architecture);
        bent_tensor(&b, cases[i].tensor)->name = "elsewhere";
        assert_int_equal(bent_bind(&b), ERR_FORMAT);
        says(cases[i].word);
        says("tensor elsewhere has no place");
        bent_close(&b);
    }
}

/* What a good file becomes: fused by format, tied or not, biases stacked. */
static void test_fusion(void **state)
{
    struct bent b;

    (void)state;
    bent_open(&b, FOLDER "qwen2.gguf", "qwen2");
    assert_int_equal(bent_bind(&b), OK);
    assert_int_equal(b.net.layer[0].qkv.n_parts, 1);
    assert_ptr_equal(b.place.bound[0].dst, &b.net.embed);
    assert_ptr_equal(b.place.bound[0].also, &b.net.head.part[0]);
    bent_close(&b);

    bent_open(&b, FOLDER "llama-k.gguf", "llama"); /* Q and K one format, V another */
    assert_int_equal(bent_bind(&b), OK);
    assert_int_equal(b.net.layer[0].qkv.n_parts, 2);
    assert_int_equal(b.net.layer[0].gate_up.n_parts, 1);
    bent_close(&b);

    bent_open(&b, FOLDER "llama3.gguf", "llama"); /* untied, with rotary factors */
    assert_int_equal(bent_bind(&b), OK);
    assert_null(b.place.bound[0].also);
    assert_int_equal(b.net.head.n_parts, 1);
    bent_close(&b);
}

static void test_hparams(void **state)
{
    /* clang-format off */
    static const struct { const char *key; double value; enum status status; const char *word; }
    cases[] = {
        {"llama.block_count",              0,   ERR_FORMAT, "llama.block_count is 0, expected 1 to 256"},
        {"llama.block_count",              1e9, ERR_FORMAT, "llama.block_count is 1e+09"},
        {"llama.attention.head_count_kv",  3,   ERR_FORMAT, "4 query heads cannot share 3 key heads"},
        {"llama.rope.dimension_count",     10,  ERR_FORMAT, "rotary dimension 10"},
        {"llama.rope.freq_base",           NAN, ERR_FORMAT, "llama.rope.freq_base is nan"},
        {"llama.embedding_length",         1.5, ERR_FORMAT, "llama.embedding_length is 1.5, expected an integer"},
    };
    /* clang-format on */
    struct bent b;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bent_open(&b, FOLDER "llama.gguf", "llama");
        for (int k = 0; k < b.c->n_keys; k++) {
            if (strcmp(b.c->key[k].name, cases[i].key) == 0)
                b.c->key[k].value.number = cases[i].value;
        }
        assert_int_equal(bent_bind(&b), cases[i].status);
        says(cases[i].word);
        bent_close(&b);
    }
}

static void rename_key(struct bent *b, const char *from, const char *to, struct value v)
{
    for (int k = 0; k < b->c->n_keys; k++) {
        if (strcmp(b->c->key[k].name, from) == 0)
            b->c->key[k] = (struct ckpt_key){to, v};
    }
}

static void test_refused_hparams(void **state)
{
    struct value eight = {.kind = VALUE_INT, .integer = 8, .number = 8};
    struct value longrope = {.kind = VALUE_STRING, .text = {"longrope", 8}};
    struct value none = {.kind = VALUE_STRING, .text = {"none", 4}};
    struct bent b;

    (void)state;
    bent_open(&b, FOLDER "llama.gguf", "llama");
    rename_key(&b, "general.name", "llama.expert_count", eight);
    assert_int_equal(bent_bind(&b), ERR_UNSUPPORTED);
    says("llama.expert_count is 8");
    bent_close(&b);
    for (int causal = 0; causal < 2; causal++) { /* each token sees all of them: no generator */
        struct value v = {.kind = VALUE_BOOL, .integer = causal, .number = causal};
        bent_open(&b, FOLDER "llama.gguf", "llama");
        rename_key(&b, "general.name", "llama.attention.causal", v);
        assert_int_equal(bent_bind(&b), causal ? OK : ERR_UNSUPPORTED);
        if (!causal)
            says("llama.attention.causal is 0");
        bent_close(&b);
    }
    bent_open(&b, FOLDER "llama.gguf", "llama");
    rename_key(&b, "general.name", "llama.rope.scaling.type", longrope);
    assert_int_equal(bent_bind(&b), ERR_FORMAT);
    says("longrope needs rope_factors_short and rope_factors_long");
    bent_close(&b);
    bent_open(&b, FOLDER "llama-long.gguf", "llama");
    rename_key(&b, "llama.rope.scaling.type", "llama.rope.scaling.type", none);
    assert_int_equal(bent_bind(&b), ERR_FORMAT);
    says("the rotary factors are not those that the type of scaling has");
    bent_close(&b);
    bent_open(&b, FOLDER "llama.gguf", "llama");
    rename_key(&b, "llama.context_length", "llama.other", eight);
    assert_int_equal(bent_bind(&b), ERR_FORMAT);
    says("key llama.context_length is missing");
    bent_close(&b);
}

/* The same network however a file says it: with its type, with a factor alone, with the factor's
 * oldest name; and plain where the type says so. */
static void test_old_scaling(void **state)
{
    struct value text = {.kind = VALUE_STRING, .text = {"x", 1}};
    struct value none = {.kind = VALUE_STRING, .text = {"none", 4}};
    struct value four = {.kind = VALUE_FLOAT, .number = 4};
    float inv[4][2];
    struct bent b;

    (void)state;
    for (int i = 0; i < 4; i++) {
        bent_open(&b, FOLDER "llama-linear.gguf", "llama");
        if (i > 0)
            rename_key(&b, "llama.rope.scaling.type", i < 3 ? "llama.x" : "llama.rope.scaling.type",
                       i < 3 ? text : none);
        if (i == 2)
            rename_key(&b, "llama.rope.scaling.factor", "llama.rope.scale_linear", four);
        assert_int_equal(bent_bind(&b), OK);
        assert_true(i == 3 || b.net.hp.rope_factor == 4);
        assert_int_equal(b.net.hp.rope_scaling, i < 3 ? ROPE_LINEAR : ROPE_PLAIN);
        memcpy(inv[i], b.place.inv_freq, sizeof inv[i]);
        bent_close(&b);
    }
    assert_memory_equal(inv[1], inv[0], sizeof inv[0]);
    assert_memory_equal(inv[2], inv[0], sizeof inv[0]);
    assert_true(inv[3][1] == 4 * inv[0][1]);
}

/* LongRoPE rotates by what is served: longer than the context that was trained first (16), or not.
 * Until it is known, as the longest. Factors of make_checkpoints.py. */
static void test_long_rope(void **state)
{
    static const struct {
        int64_t tokens;
        float factor;
    } cases[] = {{0, 0.6f}, {16, 0.1f}, {17, 0.6f}, {1, 0.1f}, {256, 0.6f}};
    struct bent b;

    (void)state;
    bent_open(&b, FOLDER "llama-long.gguf", "llama");
    assert_int_equal(bent_bind(&b), OK);
    assert_int_equal(b.net.hp.rope_dim, 16);
    assert_true(b.net.rope_attn_factor == 1.2f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].tokens > 0)
            bind_context(&b.net, &b.place, cases[i].tokens);
        for (int k = 0; k < 8; k++) {
            float want = powf(10000, -(float)k / 8) / (1 + cases[i].factor * (float)k);

            assert_true(fabsf(b.place.inv_freq[k] - want) <= 2e-6f * want);
        }
    }
    bent_close(&b);
}

/* Llama 3's formula gives what the tensor of factors in llama3.gguf was made with: Transformers'
 * logits are reproduced with that tensor (test_models.c), so it is the reference here. */
static void test_llama3_formula(void **state)
{
    struct hparams hp;
    struct bent b;
    float formula[8], factor = 0;

    (void)state;
    bent_open(&b, FOLDER "llama3.gguf", "llama");
    assert_int_equal(bent_bind(&b), OK);
    hp = b.net.hp;
    assert_int_equal(hp.rope_dim, 16);
    hp.rope_scaling = ROPE_LLAMA3;
    hp.rope_factor = 8;
    hp.rope_low = 1;
    hp.rope_high = 4;
    hp.rope_ctx = 32;
    hparams_rope(&hp, NULL, formula, &factor);
    assert_true(factor == 1);
    for (int i = 0; i < 8; i++)
        assert_true(fabsf(formula[i] - b.place.inv_freq[i]) <= 2e-6f * formula[i]);
    assert_true(formula[7] < powf(10000, -14.0f / 16) / 7); /* the longest wave is stretched */
    bent_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_scaling),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_companions),      cmocka_unit_test(test_optional),
        cmocka_unit_test(test_fusion),          cmocka_unit_test(test_hparams),
        cmocka_unit_test(test_refused_hparams), cmocka_unit_test(test_llama3_formula),
        cmocka_unit_test(test_long_rope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
