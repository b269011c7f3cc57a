/* added.h - the tokens that files beside a tokenizer name: what tokenizer_config.json,
 * special_tokens_map.json and added_tokens.json say of them, as Transformers puts it together.
 * Internal to the readers of tokenizers. */
#ifndef ENGINE_TEXT_ADDED_H
#define ENGINE_TEXT_ADDED_H

#include "engine/text/tokenizer_json.h"
#include "kernels/base/json.h"

struct added_token {
    struct bytes text;
    int64_t id; /* -1: the files do not say */
    bool special, lstrip, rstrip, single, normalized;
};
struct added {
    struct arena arena;
    const struct json *config, *special; /* the trees of the files, or NULL */
    struct added_token *token;           /* those whose ids are listed */
    int n;
};
enum { ADDED_MAX_ID = 1 << 24 };

/* Errors name the file. added_close whatever happens. */
enum status added_open(struct added *a, const struct tokenizer_files *f);
void added_close(struct added *a);

/* What the files have under a name such as "bos_token": a string, an object with "content", a list
 * of them, null; NULL: no file has the name. */
const struct json *added_named(const struct added *a, const char *key);
/* Such a value as a token; false: it is none. */
bool added_token_of(const struct json *v, struct added_token *out);

#endif
