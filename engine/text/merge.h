/* merge.h - the heart of both kinds of BPE: a table of pairs that may join, each with a rank, and
 * the joining of a word, always the pair of lowest rank first, the leftmost of equals. Internal to
 * the tokenizers. */
#ifndef ENGINE_TEXT_MERGE_H
#define ENGINE_TEXT_MERGE_H

#include <stdint.h>

#include "engine/text/tokenizer.h"

struct merge_pair {
    int32_t left, right; /* token ids; left < 0: a free slot */
    int32_t rank;        /* 0 .. n_ranks - 1; equal ranks: leftmost first */
    int32_t merged;      /* the token both become; its bytes are those of left, then of right */
};
struct merges { /* immutable once filled; read by any number of threads */
    struct merge_pair *slot;
    uint32_t mask;
    int32_t n_ranks;
};

void merges_init(struct merges *m, size_t n_pairs); /* room for this many */
void merges_clear(struct merges *m);
/* Adds a pair; of one given twice the first stays. All ranks must be below the later n_ranks. */
void merges_add(struct merges *m, struct merge_pair pair);
/* Fetches the memory that adding the pair will want. */
void merges_expect(const struct merges *m, const struct merge_pair *pair);

/* What one call of tokenizer_encode keeps: a cache of words and the memory for long ones. */
struct merge_work;
struct merge_work *merge_work_new(const struct merges *m, size_t text_bytes);
void merge_work_free(struct merge_work *w);

/* Joins the symbols id[0..n) in place and returns how many are left. */
int merge_run(struct merge_work *w, int32_t *id, int n);

/* Cache of words: true when the ids of the word were appended to `out`. The caller otherwise
 * finds them, appends them, and hands them to word_cache_put. */
bool word_cache_get(struct merge_work *w, struct bytes word, struct tokens *out);
void word_cache_put(struct merge_work *w, struct bytes word, const int32_t *id, int n);

#endif
