/* recipes.c - THE table: the class a checkpoint says it has -> its task and its network; and the
 * classes of Hugging Face directories.
 *
 * A family of a known shape is one row here. GGUF files of Llama, Mistral and SmolLM models all
 * call themselves "llama"; their converter permutes Q and K, hence pairs (2i, 2i + 1) there. */
#include "engine/load/recipe.h"

#include <string.h>

#include "engine/models/llama.h"

/* clang-format off */
static const struct recipe recipes[] = {
    /* architecture  task        network      rope_neox  needs */
    {"llama",        "generate", &arch_llama, false,     {NULL}},
    {"qwen2",        "generate", &arch_llama, true,      {"blk.%d.attn_q.bias", "blk.%d.attn_k.bias", "blk.%d.attn_v.bias"}},
    {"qwen3",        "generate", &arch_llama, true,      {"blk.%d.attn_q_norm.weight", "blk.%d.attn_k_norm.weight"}},
};
/* clang-format on */
enum { N_RECIPES = sizeof recipes / sizeof recipes[0] };

/* Hugging Face's own checkpoints: Q and K are as the network has them, pairs (i, i + n / 2). */
/* clang-format off */
#define EPSILON {"rms_norm_eps", 1e-6}
static const struct hf_class classes[] = {
    /* model_type  architecture rope_neox window          where absent */
    {"llama",      "llama",     true,     HF_WINDOW_NONE, {{"max_position_embeddings", 2048},   EPSILON}},
    {"mistral",    "llama",     true,     HF_WINDOW_ALL,  {{"max_position_embeddings", 131072}, EPSILON, {"sliding_window", 4096}, {"num_key_value_heads", 8}}},
    {"qwen2",      "qwen2",     true,     HF_WINDOW_USED, {{"max_position_embeddings", 32768},  EPSILON}},
    {"qwen3",      "qwen3",     true,     HF_WINDOW_USED, {{"max_position_embeddings", 32768},  EPSILON, {"head_dim", 128}}},
};
/* clang-format on */
enum { N_CLASSES = sizeof classes / sizeof classes[0] };

const struct recipe *recipe_find(const char *architecture)
{
    for (int i = 0; i < N_RECIPES; i++) {
        if (strcmp(recipes[i].architecture, architecture) == 0)
            return &recipes[i];
    }
    return NULL;
}

const struct recipe *recipe_at(int i)
{
    return i >= 0 && i < N_RECIPES ? &recipes[i] : NULL;
}

const struct hf_class *recipe_class(const char *model_type)
{
    for (int i = 0; i < N_CLASSES; i++) {
        if (strcmp(classes[i].model_type, model_type) == 0)
            return &classes[i];
    }
    return NULL;
}

const struct hf_class *recipe_class_at(int i)
{
    return i >= 0 && i < N_CLASSES ? &classes[i] : NULL;
}
