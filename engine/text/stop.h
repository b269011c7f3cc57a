/* stop.h - finds stop strings in streamed text, holding back only what may still become one. */
#ifndef ENGINE_TEXT_STOP_H
#define ENGINE_TEXT_STOP_H

#include <stdbool.h>

#include "kernels/base/buf.h"

struct stop {
    const struct bytes *word; /* borrowed; none empty */
    int n_words;
    struct buf held; /* a suffix of the text so far that is a proper prefix of some word */
};
void stop_init(struct stop *s, const struct bytes *word, int n_words);
void stop_clear(struct stop *s);
/* Takes text, appends to `out` what is certain. True once a stop word is complete: `out` then has
 * the text before the earliest one (including it when `include`), and the matcher takes no more.
 * `which`: index of the word. */
bool stop_push(struct stop *s, struct bytes text, bool include, struct buf *out, int *which);
void stop_flush(struct stop *s, struct buf *out); /* the end without a match: what was held */

#endif
