/* vocab.h - tokenizers of GGUF files and tokenizer.json files, for tests and benches. */
#ifndef TESTS_SUPPORT_VOCAB_H
#define TESTS_SUPPORT_VOCAB_H

#include "engine/text/tokenizer.h"
#include "kernels/base/json.h"

/* The tokenizer of a file; NULL when the file is not there, which a test reports as SKIP. A file
 * that is there and cannot be read ends the program. */
struct tokenizer *vocab_tokenizer(const char *path);
struct tokenizer *vocab_or_skip(const char *path); /* ends the test where the file is not there */
/* Any error fails the test; the text is where a read behind it is seen. */
struct tokens vocab_encode(const struct tokenizer *t, struct bytes text, unsigned flags);
/* Replaces `out`; what each token adds must be UTF-8. */
void vocab_decode(const struct tokenizer *t, const struct tokens *ids, bool special,
                  struct buf *out);
/* Path of the default model in the user's cache (models/fetch.sh), there or not. */
const char *vocab_default_model(void);

/* A vocabulary as fixtures write it: {"model", "pieces": [[spelling, score, type] ...], "unk", and
 * where they matter "add_space", "one_space", "charsmap"}. Borrows nothing. */
struct tokenizer *vocab_of_pieces(struct arena *a, const struct json *m);
/* Encodes each of `texts` (strings in "text" or "hex") and fails the test where `ids` has others;
 * null: not compared. Returns how many were. */
int vocab_agrees(const struct tokenizer *t, const char *name, const struct json *texts,
                 const struct json *ids);

#endif
