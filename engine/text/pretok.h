/* pretok.h - the rules by which GGUF files of byte-level BPE cut text into words, by the names the
 * files give them. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_PRETOK_H
#define ENGINE_TEXT_PRETOK_H

#include <stdbool.h>

#include "engine/text/pipeline.h"

struct pretok_rule { /* what else goes with a name */
    bool whole_word; /* a word that is a token as it stands is not joined from its bytes */
    bool nfc;        /* text is normalised to NFC first */
    bool add_bos;    /* the policy of files that do not say; */
    bool add_sep;    /* and whether the separator is put behind a text */
};
/* `name` as in tokenizer.ggml.pre; NULL: "default". NULL: unknown name. */
const struct pretok_rule *pretok_rule(const char *name);
/* Sets the splitter, the normaliser and `whole_word`. ERR_UNSUPPORTED lists the known names. */
enum status pretok_fill(const char *name, struct pipeline_spec *p);

#endif
