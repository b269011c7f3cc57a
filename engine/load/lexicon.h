/* lexicon.h - a checkpoint's vocabulary and chat template, as the text codecs want them. */
#ifndef ENGINE_LOAD_LEXICON_H
#define ENGINE_LOAD_LEXICON_H

#include "engine/load/checkpoint.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_json.h"

/* Is there anything to open? Of Hugging Face directories some have no tokenizer.json: they are
 * served with token ids alone. A GGUF file without a vocabulary is refused when it is opened. */
bool lexicon_has(const struct checkpoint *c);
enum status lexicon_open(const struct checkpoint *c, struct tokenizer **out);
/* Of a Hugging Face directory: lends what its tokenizer files say. */
enum status lexicon_lend(const struct checkpoint *c, tokenizer_json_use *use, void *ctx);
int64_t lexicon_size(const struct checkpoint *c); /* 0: the file has no vocabulary */
/* The default template's text, or NULL. */
const struct value *lexicon_template(const struct checkpoint *c);

#endif
