/* json_parts.h - the normaliser, pre-tokenizer and decoder of a tokenizer.json. Internal to
 * tokenizer_json.c. A part of unknown type is ERR_UNSUPPORTED, by name. */
#ifndef ENGINE_TEXT_JSON_PARTS_H
#define ENGINE_TEXT_JSON_PARTS_H

#include "kernels/base/buf.h"
#include "kernels/base/json.h"

struct normalizer;
struct splitter;
struct decoder;

/* Each appends the steps of `part`, an object with a "type"; null adds none. */
enum status json_normalizer(const struct json *part, struct normalizer *n);
enum status json_splitter(const struct json *part, struct splitter *s);
enum status json_decoder(const struct json *part, struct decoder *d);
/* Appends the table of characters in a normaliser, if it has one. */
enum status json_charsmap(const struct json *part, struct buf *out);

/* Members of objects, with what stands for an absent or null one. */
struct bytes json_text(const struct json *object, const char *key, const char *absent);
bool json_flag(const struct json *object, const char *key, bool absent);

/* A copy, to be freed, in which "\\u0000" is the spelling of U+FFFE, since JSON trees here take no
 * NUL. */
char *json_hide_nul(struct bytes text);
/* Appends the bytes; false: it is not base64. */
bool json_base64(struct bytes code, struct buf *out);

#endif
