/* vocab.h - tokenizers of GGUF files for tests: an own small reader of the tokenizer.* keys, which
 * shares nothing with the engine's, so that both would have to be wrong alike. */
#ifndef TESTS_SUPPORT_VOCAB_H
#define TESTS_SUPPORT_VOCAB_H

#include "engine/text/tokenizer.h"

struct vocab_file { /* owns what the spec points to */
    char *data;
    size_t size;
    struct tokenizer_spec spec;
    struct bytes *token, *merge;
    char *model, *pre;
};

/* False when the file is not there. Anything else that is wrong ends the test program. */
bool vocab_file_open(const char *path, struct vocab_file *f);
void vocab_file_close(struct vocab_file *f);

/* The tokenizer of a file; NULL when the file is not there, which a test reports as SKIP. */
struct tokenizer *vocab_file_tokenizer(const char *path);
/* Path of the default model in the user's cache; whether it exists is another matter. */
const char *vocab_default_model(void);

#endif
