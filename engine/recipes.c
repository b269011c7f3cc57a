/* recipes.c - THE table: the class a checkpoint says it has -> its task and its network.
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
