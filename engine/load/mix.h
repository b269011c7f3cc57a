/* mix.h - which number format each tensor of a file gets: the usual mixes by their usual names.
 *
 * A mix has a base format and rules: some kinds of tensors, in some layers, get another one,
 * because their errors cost more. The names and rules are those of llama.cpp, so that a file called
 * Q4_K_M holds what people expect of it. */
#ifndef ENGINE_LOAD_MIX_H
#define ENGINE_LOAD_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/dtype.h"

struct mix {
    const char *name; /* "q4_k_m"; found in any case */
    enum dtype base;
    int file_type; /* general.file_type of a GGUF file */
};
const struct mix *mix_find(const char *name); /* NULL: unknown */
const char *mix_list(void);                   /* all names, for messages */

struct mix_model { /* what the rules ask of a model */
    int n_layer, n_expert;
    int heads_a_kv_head; /* query heads that share keys and values */
    bool tied;           /* the embedding table is the output matrix too */
    bool importance;     /* there are importance weights */
};
/* Is the tensor one that a mix changes? Norms, biases, small and one-dimensional ones are not. */
bool mix_takes(const char *name, int ndim);
/* The format by the rules, for rows of any length. Names are those of GGUF files. */
enum dtype mix_type(const struct mix *m, const struct mix_model *model, const char *name);
/* The format in place of t where rows of `columns` are no whole blocks of it; t where they are. */
enum dtype mix_fit(enum dtype t, int64_t columns);

#endif
