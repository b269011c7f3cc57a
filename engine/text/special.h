/* special.h - finds the tokens that are written in text as they stand (control and user-defined
 * ones): the leftmost, of those the longest. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_SPECIAL_H
#define ENGINE_TEXT_SPECIAL_H

#include "engine/text/vocab.h"

struct special { /* a trie; immutable once built */
    struct special_node *node;
    int n_nodes, cap_nodes;
};

void special_init(struct special *s, const struct vocab *v);
void special_clear(struct special *s);

/* Finds the next such token in text[from..): its id, and in `at` where it begins; -1: none. User-
 * defined tokens always, control and unknown ones only when `control`. */
int32_t special_next(const struct special *s, const struct vocab *v, struct bytes text, size_t from,
                     bool control, size_t *at);
int32_t special_find(const struct special *s, struct bytes spelling); /* exactly; -1: none */

#endif
