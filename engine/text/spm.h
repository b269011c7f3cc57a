/* spm.h - the merges of SentencePiece BPE (Llama 2 and kin), which come from scores. Internal to
 * the tokenizers. */
#ifndef ENGINE_TEXT_SPM_H
#define ENGINE_TEXT_SPM_H

#include "engine/text/merge.h"
#include "engine/text/vocab.h"

void spm_spell(struct bytes spelling, enum token_type type, struct buf *out);
/* By score, the highest first; or by id, the lowest first, as tiktoken's ranks are. */
enum status spm_merges(const struct tokenizer_spec *spec, const struct vocab *v, bool by_id,
                       struct merges *m);

#endif
