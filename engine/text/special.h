/* special.h - finds the tokens that are written in text as they stand (control and user-defined
 * ones): the leftmost, of those the longest. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_SPECIAL_H
#define ENGINE_TEXT_SPECIAL_H

#include "engine/text/vocab.h"

struct special { /* a trie; immutable once built */
    struct special_node *node;
    int n_nodes, cap_nodes;
    bool normalized; /* finds the tokens with ADDED_NORMALIZED; otherwise the others */
};
struct special_hit {
    int32_t id;
    size_t begin, end; /* with the blanks it takes */
};

void special_init(struct special *s, bool normalized);
void special_clear(struct special *s);
void special_add(struct special *s, struct bytes spelling, int32_t id);
void special_add_all(struct special *s, const struct vocab *v); /* by their spellings */
/* Whether a token is one: user-defined always, control and unknown ones only when `control`. */
bool special_is(const struct vocab *v, int32_t id, bool control);

/* Finds the next such token in text[from..), which nothing before `from` belongs to any more. */
bool special_next(const struct special *s, const struct vocab *v, struct bytes text, size_t from,
                  bool control, struct special_hit *hit);
int32_t special_find(const struct special *s, struct bytes spelling); /* exactly; -1: none */

#endif
