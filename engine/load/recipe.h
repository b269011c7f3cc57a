/* recipe.h - which network and which task a checkpoint asks for. The table is engine/recipes.c. */
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

#endif
