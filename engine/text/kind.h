/* kind.h - the kinds of tokenizers in GGUF files: how each spells its tokens and what it is put
 * together from. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_KIND_H
#define ENGINE_TEXT_KIND_H

#include "engine/text/pipeline.h"

struct kind {
    const char *model;
    vocab_spell *spell;
    enum status (*prepare)(const struct tokenizer_spec *spec, struct pipeline_spec *p);
    struct tokenizer_policy policy; /* of files that do not say */
};

/* By tokenizer.ggml.model; `pre` may say that it is another than it says. NULL: not known. */
const struct kind *kind_find(const char *model, const char *pre);
enum status kind_unknown(const char *model); /* the error, with a list of the known ones */

void spell_raw(struct bytes spelling, enum token_type type, struct buf *out);
void spell_bytes(struct bytes spelling, enum token_type type,
                 struct buf *out); /* GPT-2's alphabet */

#endif
