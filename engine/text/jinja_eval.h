/* jinja_eval.h - running a parsed template: expressions in jinja_eval.c, statements in
 * jinja_exec.c, calls in jinja_call.c. */
#ifndef ENGINE_TEXT_JINJA_EVAL_H
#define ENGINE_TEXT_JINJA_EVAL_H

#include "engine/text/jinja_ast.h"

struct jbinding {
    int id;
    struct jval v;
};
struct jscope { /* names set since the enclosing block began */
    struct jscope *parent;
    struct jbinding *b;
    int n, cap;
    bool kept; /* a macro refers to it: must not be reused for the next iteration */
};

struct jval jx_eval(struct jinja *j, const struct jnode *n);
struct jval jx_find(struct jinja *j, const struct jname *name); /* JV_MISSING: not set */

/* --- statements */
enum jflow { JFLOW_NEXT, JFLOW_BREAK, JFLOW_CONTINUE };
enum jflow jx_exec(struct jinja *j, const struct jnode *list);
void jx_set(struct jinja *j, const struct jname *name, struct jval v); /* in the innermost scope */
struct jscope *jx_scope(struct jinja *j, struct jscope *parent);
/* Takes what was written since *out had `mark` bytes off the output. */
struct jval jx_capture(struct jinja *j, size_t mark);
/* Runs a `for` over `items`; as a call, for a recursive loop. */
struct jval jx_recurse(struct jinja *j, const struct jloop *loop, struct jval items);
bool jx_loop_has(struct jinja *j, struct jloop *loop, size_t i); /* is there an item i? */

/* --- calls */
struct jval jx_call(struct jinja *j, struct jval callee, const struct jargs *a);
/* Calls a filter, test or method with its parameters bound. */
struct jval jx_apply(struct jinja *j, const struct jfunc *f, struct jval self,
                     const struct jargs *a);
/* Evaluates the arguments of a call, filter or test; `caller` (or JV_MISSING) becomes a keyword. */
struct jargs jx_arguments(struct jinja *j, const struct jnode *call, struct jval caller);
struct jval jx_macro(struct jinja *j, const struct jnode *n); /* a macro value of this scope */
const struct jfunc *jx_global(size_t i); /* built-in functions; NULL behind the last */
/* The mapping dict(...) and namespace(...) make of their arguments. */
struct jval jx_mapping(struct jinja *j, const struct jargs *a);

#endif
