/* bpe.h - byte-level BPE (GPT-2 and after): a kind of tokenizer. Internal to the tokenizers; the
 * functions are a row of the table in tokenizer.c, where they are described. */
#ifndef ENGINE_TEXT_BPE_H
#define ENGINE_TEXT_BPE_H

#include "engine/text/vocab.h"

void bpe_spell(struct bytes spelling, enum token_type type, struct buf *out);
enum status bpe_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
void bpe_close(void *bpe);
void *bpe_begin(const void *bpe, size_t text_bytes);
void bpe_text(void *run, struct bytes text, bool after_token, struct tokens *out);
void bpe_end(void *run);

#endif
