/* recipe.h - which network and which task a checkpoint asks for. The tables are in
 * engine/recipes.c. */
#ifndef ENGINE_LOAD_RECIPE_H
#define ENGINE_LOAD_RECIPE_H

#include <stdbool.h>

#include "engine/nn/net.h"

struct recipe {
    const char *architecture; /* general.architecture of a GGUF file */
    const char *task;         /* name of a row in engine/tasks */
    const struct arch *arch;
    bool rope_neox; /* rotary pairs (i, i + n / 2), else (2i, 2i + 1) */
    /* Optional rows of the network's weight table (GGUF names) that this class always has. */
    const char *needs[4];
};
const struct recipe *recipe_find(const char *architecture); /* NULL: unknown */
const struct recipe *recipe_at(int i);                      /* NULL behind the last */

/* What sliding_window of a config.json means. */
enum hf_window {
    HF_WINDOW_NONE, /* nothing */
    HF_WINDOW_ALL,  /* the window of every layer, unless null */
    HF_WINDOW_USED, /* with use_sliding_window, of layers from max_window_layers on */
};

/* A class of Hugging Face directories. */
struct hf_class {
    const char *model_type;   /* in config.json */
    const char *architecture; /* of its recipe */
    bool rope_neox;
    enum hf_window window;
    struct { /* what Transformers' configuration class takes where a key is absent */
        const char *key;
        double value;
    } absent[4];
};
const struct hf_class *recipe_class(const char *model_type); /* NULL: unknown */
const struct hf_class *recipe_class_at(int i);               /* NULL behind the last */

#endif
