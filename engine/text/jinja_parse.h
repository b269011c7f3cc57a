/* jinja_parse.h - tokens to a tree. Statements in jinja_parse.c, expressions in jinja_expr.c. */
#ifndef ENGINE_TEXT_JINJA_PARSE_H
#define ENGINE_TEXT_JINJA_PARSE_H

#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_lex.h"
#include "kernels/base/map.h"

struct jnames { /* the names a template uses; ids count from 0, first those of enum jname_id */
    struct map *ids;
    int n;
};

struct parser {
    struct jinja *j;
    struct jnames *names;
    struct jtoken *t; /* the current token */
    /* Filters and tests are looked up while parsing, and an unknown one is an error there, except
     * directly inside an `if`: Jinja lets such templates load and fails when the branch runs. */
    bool soft;
    const struct jnode
        *unknown; /* the first unknown one outside, unless it turns out conditional */
    int loops;    /* `for` around, within this macro */
    uint8_t uses; /* enum juse read since the innermost macro began, its inner macros included */
};

/* The template's statements. Raises with the line. */
struct jnode *jp_parse(struct jinja *j, struct jnames *names, const char *text, size_t n);

/* --- shared by the two halves */
struct jnode *jp_node(struct parser *ps, enum jkind kind);
struct jnode *jp_done(struct parser *ps, struct jnode *n); /* sets and checks its depth */
struct jname jp_name(struct parser *ps, const char *p, size_t n);
bool jp_is_op(const struct jtoken *t, const char *op);
bool jp_is_name(const struct jtoken *t, const char *name);
bool jp_skip_op(struct parser *ps, const char *op);
bool jp_skip_name(struct parser *ps, const char *name);
void jp_expect_op(struct parser *ps, const char *op);
struct jtoken *jp_expect_name(struct parser *ps); /* any name */
_Noreturn void jp_unexpected(struct parser *ps,
                             const char *wanted); /* NULL: nothing in particular */

/* --- expressions */
struct jnode *jp_expression(struct parser *ps);
struct jnode *jp_tuple(struct parser *ps, bool with_cond, const char *end_name);
struct jnode *jp_filter(struct parser *ps, struct jnode *input, bool inline_start);
/* A target of an assignment: names, tuples of them, ns.attr when `with_ns`; ends before `end_name`.
 */
struct jnode *jp_target(struct parser *ps, bool with_ns, const char *end_name);

#endif
