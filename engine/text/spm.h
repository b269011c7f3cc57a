/* spm.h - SentencePiece BPE with scores and byte fallback (Llama 2 and kin): a kind of tokenizer.
 * Internal to the tokenizers; the functions are a row of the table in tokenizer.c. */
#ifndef ENGINE_TEXT_SPM_H
#define ENGINE_TEXT_SPM_H

#include "engine/text/vocab.h"

void spm_spell(struct bytes spelling, enum token_type type, struct buf *out);
enum status spm_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
void spm_close(void *spm);
void *spm_begin(const void *spm, size_t text_bytes);
void spm_text(void *run, struct bytes text, bool after_token, struct tokens *out);
void spm_end(void *run);

#endif
