/* jinja_lex.h - template text to tokens, with whitespace control already applied. */
#ifndef ENGINE_TEXT_JINJA_LEX_H
#define ENGINE_TEXT_JINJA_LEX_H

#include "engine/text/jinja_value.h"

enum jtoken_kind {
    JT_DATA,
    JT_PRINT_BEGIN,
    JT_PRINT_END,
    JT_BLOCK_BEGIN,
    JT_BLOCK_END,
    JT_NAME,
    JT_STRING,
    JT_NUMBER,
    JT_OP,
    JT_EOF
};

struct jtoken {
    enum jtoken_kind kind;
    int line;
    struct jval value; /* of data, strings and numbers */
    const char *p;     /* source text of names and operators */
    size_t n;
};

/* Text must be valid UTF-8. The array ends with JT_EOF and lives in the run's arena. */
struct jtoken *jl_tokens(struct jinja *j, const char *text, size_t n);

#endif
