/* json.h - JSON in: a checked, immutable tree in an arena. JSON out: writers onto a buf.
 *
 * cJSON parses; before it runs, json.c checks what cJSON does not: valid UTF-8, a depth limit,
 * duplicate keys (refused by name), \u0000 (refused by name: cJSON ends text there), lone
 * surrogates, text behind the value. Numbers keep their source text, objects their order. */
#ifndef KERNELS_BASE_JSON_H
#define KERNELS_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/buf.h"
#include "kernels/base/status.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    bool boolean;      /* JSON_BOOL */
    double number;     /* JSON_NUMBER, as double; the exact text is in `text` */
    struct bytes text; /* JSON_STRING: decoded UTF-8; JSON_NUMBER: source text. NUL follows */
    const char *key;   /* name inside an object, NULL elsewhere */
    const struct json *first, *next; /* children in document order, siblings */
    int count;                       /* children of an array or object */
};

enum { JSON_MAX_DEPTH = 128 };

/* Parses exactly one value. The tree lives as long as the arena; `text` may go. ERR_JSON with the
 * byte offset and the reason, ERR_TOO_LARGE when the arena's limit is reached. */
enum status json_parse(struct arena *a, const char *text, size_t n, const struct json **out);

/* All accept NULL and other types: they then return NULL / the default. */
const struct json *json_get(const struct json *object, const char *key);
const struct json *json_at(const struct json *array, int i); /* O(i); walk ->next in loops */
bool json_is(const struct json *v, enum json_type type);
bool json_integer(const struct json *v, int64_t *out); /* number without fraction, in range */

void json_write(struct buf *b, const struct json *v); /* compact; numbers as their source text */
void json_write_string(struct buf *b, const char *s,
                       size_t n); /* quoted; invalid UTF-8 becomes U+FFFD */
void json_write_number(struct buf *b,
                       double v); /* shortest that round-trips; NaN and infinities: null */

#endif
