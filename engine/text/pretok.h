/* pretok.h - cuts text into the words that byte-level BPE joins within; the rule is the one that
 * the file names. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_PRETOK_H
#define ENGINE_TEXT_PRETOK_H

#include <stdbool.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

struct pretok; /* immutable: one for all threads */
/* `name` as in tokenizer.ggml.pre; NULL: "default". ERR_UNSUPPORTED lists the known ones. */
enum status pretok_new(const char *name, struct pretok **out);
void pretok_free(struct pretok *p);

struct pretok_rule { /* what else goes with a name */
    bool whole_word; /* a word that is a token as it stands is not joined from its bytes */
    bool nfc;        /* text is normalised to NFC first */
    bool add_bos;    /* the policy of files that do not say */
};
const struct pretok_rule *pretok_rule(const char *name); /* NULL: unknown name */

struct pretok_scan; /* one thread's matcher */
struct pretok_scan *pretok_scan_new(const struct pretok *p);
void pretok_scan_free(struct pretok_scan *s);
/* The end of the word that begins at `at` < text.n. The text must be valid UTF-8. */
size_t pretok_next(struct pretok_scan *s, struct bytes text, size_t at);

/* Appends `text` (valid UTF-8) in NFC to `out`; false, and nothing appended, when it is already. */
bool pretok_nfc(struct bytes text, struct buf *out);

#endif
