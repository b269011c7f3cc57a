/* fields.h - request bodies as tables: one row a field, one engine that reads an object into a
 * struct.
 *
 * null is the same as absent; members that no row names are ignored. Errors name the path of the
 * field (`stream_options.include_usage`, `messages[2].content`). Read several tables over one
 * object to share rows between endpoints. */
#ifndef API_FIELDS_H
#define API_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/json.h"

/* What the rows write to; zero-initialised is absent. */
struct opt_bool {
    bool has, v;
};
struct opt_int {
    bool has;
    int64_t v;
};
struct opt_number {
    bool has;
    double v;
};
struct opt_text {
    bool has;
    struct bytes v;
};

enum field_type {
    FIELD_BOOL,    /* struct opt_bool */
    FIELD_INT,     /* struct opt_int; 2.0 is an integer, 2.5 is not */
    FIELD_NUMBER,  /* struct opt_number */
    FIELD_TEXT,    /* struct opt_text */
    FIELD_WORD,    /* struct opt_text, one of `words` */
    FIELD_ANY,     /* const struct json *, as the next two; NULL: absent */
    FIELD_ARRAY,   /* */
    FIELD_OBJECT,  /* */
    FIELD_NESTED,  /* an object read by `table` into the same struct (offsets from its start) */
    FIELD_REFUSED, /* a known field that is not built: any value is ERR_UNSUPPORTED */
};
enum {                   /* flags */
       FIELD_NEEDED = 1, /* must be there */
       FIELD_ABOVE = 2,  /* min itself is not allowed */
};

struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    double min, max; /* of numbers, of array lengths, of text bytes; 0, 0: any */
    size_t offset;
    const char *words; /* FIELD_WORD: "auto|none"; FIELD_REFUSED: what to say behind the name */
    const struct field *table; /* FIELD_NESTED: ends with a row without a name */
};

enum { FIELD_PATH = 160 }; /* longest path in a message; longer ones are cut */

/* Reads the members of `object` into `out`. The table ends with a row without a name. `path`: where
 * the object stands, "" for the body itself. */
enum status fields_read(const struct field *table, const struct json *object, const char *path,
                        void *out);
/* ERR_INVALID "`path` must be <wanted>, got <what v is>". */
enum status fields_wrong(const char *path, const char *wanted, const struct json *v);
/* Reads an array of token ids below n_vocab into arena memory; there are array->count of them. */
enum status fields_tokens(const struct json *array, const char *path, int n_vocab, struct arena *a,
                          int32_t **id);
/* Parses a text that a client sent. Both its own tree and cJSON's are bounded: a value costs some
 * 200 bytes, so a body of nothing but brackets would take a hundred times its size. */
enum status fields_parse(struct arena *a, struct bytes text, const struct json **out);
/* The same for a request body, which must be an object. */
enum status fields_body(struct arena *a, struct bytes text, const struct json **out);

#endif
