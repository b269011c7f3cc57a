/* charprops.h - what the normalisers and splitters ask of a character. Internal to the tokenizers.
 */
#ifndef ENGINE_TEXT_CHARPROPS_H
#define ENGINE_TEXT_CHARPROPS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"

bool char_is_white(uint32_t cp);       /* White_Space */
bool char_is_punctuation(uint32_t cp); /* P*, and ASCII's symbols, as BERT has it */
bool char_is_number(uint32_t cp);      /* N* */
bool char_is_word(uint32_t cp);        /* letters, marks, decimal digits, connectors */
bool char_is_mark(uint32_t cp);        /* M* */
bool char_is_nonspacing(uint32_t cp);  /* Mn */
bool char_is_other(uint32_t cp);       /* controls, formats, private use */
bool char_is_ideograph(uint32_t cp);   /* the blocks of CJK ideographs, as BERT has them */

/* The byte-level alphabet of GPT-2: each byte as a printable character. */
int alphabet_byte(uint32_t cp); /* the byte that a character stands for, -1: none */
void alphabet_append(struct buf *out, unsigned char byte);
/* Appends the bytes; false when a character is none of the alphabet: nothing is appended then. */
bool alphabet_decode(struct bytes s, struct buf *out);

enum normal_form { NORMAL_NFC, NORMAL_NFD, NORMAL_NFKC, NORMAL_NFKD };
/* Appends `text` (valid UTF-8) in this form; false, and nothing appended, when it is known to be
 * in it already. */
bool normal_form(enum normal_form form, struct bytes text, struct buf *out);

#endif
