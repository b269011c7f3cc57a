/* lexicon.h - a checkpoint's vocabulary and chat template, as the text codecs want them. */
#ifndef ENGINE_LOAD_LEXICON_H
#define ENGINE_LOAD_LEXICON_H

#include "engine/load/checkpoint.h"
#include "engine/load/gguf_write.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_json.h"

/* Is there anything to open? Hugging Face directories without any of these files are served with
 * token ids alone. A GGUF file without a vocabulary is refused when it is opened. */
#define LEXICON_FILES "tokenizer.model, tekken.json, vocab.json (with merges.txt) or vocab.txt"
bool lexicon_has(const struct checkpoint *c);
enum status lexicon_open(const struct checkpoint *c, struct tokenizer **out);
/* The tokenizer of a Hugging Face directory as keys of a GGUF file, so that lexicon_open of that
 * file gives the same. */
enum status lexicon_write(const struct checkpoint *c, struct gguf_writer *w);
struct lexicon_out {
    struct gguf_writer *w;
    const struct tokenizer_files *files;
};
/* The same as what uses a tokenizer.json that was read; `to` is a struct lexicon_out. */
enum status lexicon_put(void *to, const struct tokenizer_spec *s, const struct tokenizer *t);
/* Keys for the files themselves, where the other keys cannot say all: the first is GGUF's own. */
#define LEXICON_JSON    "tokenizer.huggingface.json"
#define LEXICON_CONFIG  "tokenizer.huggingface.config"
#define LEXICON_SPECIAL "tokenizer.huggingface.special_tokens_map"
#define LEXICON_LEGACY  "tokenizer.huggingface.legacy" /* false: struct tokenizer_spec.space_once */
int64_t lexicon_size(const struct checkpoint *c);      /* 0: the file has no vocabulary */
/* The text of the default template, or of the one for conversations with tools, where a checkpoint
 * has one; or NULL. */
#define LEXICON_CHAT  "tokenizer.chat_template"
#define LEXICON_TOOLS "tokenizer.chat_template.tool_use"
const struct value *lexicon_template(const struct checkpoint *c, const char *key);

#endif
