/* decoder.h - how a token's spelling becomes text: the steps of tokenizer.json's "decoder". Each
 * token is decoded once, when the tokenizer is made. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_DECODER_H
#define ENGINE_TEXT_DECODER_H

#include <stdbool.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

struct normalizer;

enum decode_kind {
    DECODE_BYTES,     /* the byte-level alphabet */
    DECODE_FALLBACK,  /* <0x0A> */
    DECODE_FUSE,      /* from here on the tokens are one text */
    DECODE_STRIP,     /* `a`: a character, dropped up to `number` times at the beginning */
    DECODE_META,      /* `a` is a blank; number: the first token loses it */
    DECODE_WORDPIECE, /* `a`: what continues a word; number: clean up */
    DECODE_SUFFIX,    /* `a`: what ends a word */
    DECODE_CTC,       /* `a`: padding, `b`: what stands between words; number: clean up */
};

struct decoder; /* without steps: a blank between tokens */
struct decoder *decoder_new(void);
void decoder_free(struct decoder *d);
enum status decoder_add(struct decoder *d, enum decode_kind kind, int number, struct bytes a,
                        struct bytes b);
enum status decoder_add_replace(struct decoder *d, struct normalizer *n); /* takes it */

/* Appends what the token stands for, at the beginning of a text or elsewhere. `added`: it is
 * spelled as it is read. */
void decoder_piece(const struct decoder *d, struct bytes token, bool added, bool first,
                   struct buf *out);
/* Whether a blank follows the token, unless it is the last. */
bool decoder_ends_word(const struct decoder *d, struct bytes token);
bool decoder_drops_repeats(const struct decoder *d);
/* "<0x0A>" -> 10; -1: something else. */
int fallback_byte(struct bytes s);

#endif
