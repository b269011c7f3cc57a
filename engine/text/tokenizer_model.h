/* tokenizer_model.h - the tokenizer of a Hugging Face directory that has no tokenizer.json:
 * tokenizer.model, a SentencePiece model. */
#ifndef ENGINE_TEXT_TOKENIZER_MODEL_H
#define ENGINE_TEXT_TOKENIZER_MODEL_H

#include "engine/text/tokenizer_json.h"

/* f->tokenizer holds tokenizer.model, the rest is as for tokenizer_json_read. `use` may be NULL; it
 * gets a spec without a pipeline, whose `model` is the kind of a GGUF file. */
enum status tokenizer_model_read(const struct tokenizer_files *f, tokenizer_json_use *use,
                                 void *ctx, struct tokenizer **out);

#endif
