/* vocab.h - the tokens of a checkpoint as text spells them for its model, and a table to ids.
 * Internal to the tokenizers; built once, immutable then. */
#ifndef ENGINE_TEXT_VOCAB_H
#define ENGINE_TEXT_VOCAB_H

#include <stdint.h>

#include "engine/text/tokenizer.h"

struct vocab_slot {
    uint32_t id;  /* + 1; 0: free */
    uint32_t tag; /* half of the hash, so that other pieces need not be looked at */
};
struct vocab {
    int n;
    char *text;              /* the pieces one behind the other */
    uint32_t *at;            /* [n + 1] piece i is text[at[i] .. at[i + 1]) */
    uint8_t *type;           /* [n] enum token_type */
    uint8_t *added;          /* [n] ADDED_* */
    struct vocab_slot *slot; /* open addressing: the tokens that text can become */
    uint32_t mask;
};

/* Turns the file's spelling of a token into its bytes: appends to `out`. */
typedef void vocab_spell(struct bytes spelling, enum token_type type, struct buf *out);

/* Checks the lists of `spec` and builds `v`. ERR_FORMAT names the token. */
enum status vocab_init(struct vocab *v, const struct tokenizer_spec *spec, vocab_spell *spell);
void vocab_clear(struct vocab *v);

struct bytes vocab_piece(const struct vocab *v, int32_t id); /* id in range */
/* The token that these bytes are, -1: none. Only tokens that plain text may become: never a
 * control, unknown or byte-fallback token. */
int32_t vocab_find(const struct vocab *v, const char *p, size_t n);
/* The same in two halves, for who has many to find: between them the memory is on its way. */
uint64_t vocab_hash(const struct vocab *v, const char *p, size_t n);
int32_t vocab_find_hashed(const struct vocab *v, struct bytes piece, uint64_t hash);

#endif
