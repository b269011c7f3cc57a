/* vocab.h - tokenizers of GGUF files and tokenizer.json files, for tests and benches. */
#ifndef TESTS_SUPPORT_VOCAB_H
#define TESTS_SUPPORT_VOCAB_H

#include "engine/text/tokenizer.h"

/* The tokenizer of a file; NULL when the file is not there, which a test reports as SKIP. A file
 * that is there and cannot be read ends the program. */
struct tokenizer *vocab_tokenizer(const char *path);
/* Path of the default model in the user's cache (models/fetch.sh), there or not. */
const char *vocab_default_model(void);

#endif
