/* jinja_exec.c - statements. `if` opens no scope; `for`, `with`, macros and captures do, and what
 * they set ends with them, exactly as in Jinja. */
#include "engine/text/jinja_eval.h"

#include <string.h>

#include "engine/text/jinja_parse.h"
#include "engine/text/jinja_repr.h"

/* --- scopes */

struct jscope *jx_scope(struct jinja *j, struct jscope *parent)
{
    struct jscope *s = jinja_alloc(j, sizeof *s);
    *s = (struct jscope){.parent = parent};
    return s;
}

void jx_set(struct jinja *j, const struct jname *name, struct jval v)
{
    struct jscope *s = j->scope;
    if (!s) {
        j->root[name->id] = v;
        return;
    }
    for (int i = 0; i < s->n; i++)
        if (s->b[i].id == name->id) {
            s->b[i].v = v;
            return;
        }
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 4;
        struct jbinding *b = jinja_array(j, (size_t)cap, sizeof *b);
        if (s->n)
            memcpy(b, s->b, (size_t)s->n * sizeof *b);
        s->b = b;
        s->cap = cap;
    }
    s->b[s->n++] = (struct jbinding){.id = name->id, .v = v};
}

static void assign(struct jinja *j, const struct jnode *target, struct jval v)
{
    if (target->kind == JN_NAME) {
        jx_set(j, &target->name, v);
        return;
    }
    if (target->kind == JN_NSREF) {
        struct jval ns = jx_find(j, &target->name);
        if (ns.type != JV_NAMESPACE)
            jinja_raise(j, "cannot assign attribute on non-namespace object");
        jv_put(j, ns.d, target->value, v);
        return;
    }
    size_t want = 0, i = 0;
    if (!jv_is_iterable(v))
        jinja_raise(j, "cannot unpack non-iterable %s object", jv_type_name(v));
    const struct jlist *l = jv_items(j, v);
    for (const struct jnode *c = target->list; c; c = c->next)
        want++;
    if (l->n > want)
        jinja_raise(j, "too many values to unpack (expected %zu)", want);
    if (l->n < want)
        jinja_raise(j, "not enough values to unpack (expected %zu, got %zu)", want, l->n);
    for (const struct jnode *c = target->list; c; c = c->next)
        assign(j, c, l->v[i++]);
}

struct jval jx_capture(struct jinja *j, size_t mark)
{
    size_t n = j->out->len - mark;
    struct jval v = n ? jv_str(j, j->out->data + mark, n) : jv_text(j, "");
    j->out->len = mark;
    return v;
}

/* Runs a body in a scope of its own. */
static enum jflow exec_scope(struct jinja *j, struct jscope *scope, const struct jnode *body)
{
    struct jscope *outer = j->scope;
    j->scope = scope;
    enum jflow flow = jx_exec(j, body);
    j->scope = outer;
    return flow;
}

/* --- for */

/* The source of a filtered loop is read as the body proceeds, since the condition may depend on
 * what the body does, and so is a generator; loop.last and its like read ahead. */
struct jsource {
    struct jiter in;
    const struct jnode *node;
    struct jscope *outer;
};

static bool passes(struct jinja *j, const struct jsource *s, struct jval item)
{
    struct jscope *back = j->scope;
    if (!s->node->c)
        return true;
    j->scope = jx_scope(j, s->outer);
    assign(j, s->node->a, item);
    bool pass = jv_truth(j, jx_eval(j, s->node->c));
    j->scope = back;
    return pass;
}

bool jx_loop_has(struct jinja *j, struct jloop *loop, size_t i)
{
    struct jsource *s = loop->source;
    struct jval item;
    while (s && loop->items->n <= i && jv_next(j, &s->in, &item))
        if (passes(j, s, item))
            jv_push(j, (struct jval){.type = JV_LIST, .l = loop->items}, item);
    return i < loop->items->n;
}

static struct jloop *loop_new(struct jinja *j, const struct jnode *n, struct jval over, int depth)
{
    struct jloop *loop = jinja_alloc(j, sizeof *loop);
    *loop = (struct jloop){.depth = depth, .scope = j->scope};
    loop->node = n->flag ? n : NULL;
    if (!n->c && over.type != JV_GEN) {
        loop->items = jv_items(j, over);
        return loop;
    }
    loop->source = jinja_alloc(j, sizeof *loop->source);
    *loop->source = (struct jsource){.in = {.over = over}, .node = n, .outer = j->scope};
    loop->items = jv_list(j, JV_LIST, 4).l;
    return loop;
}

static enum jflow exec_items(struct jinja *j, const struct jnode *n, struct jval over, int depth)
{
    static const struct jname loop_name = {.p = "loop", .n = 4, .id = JNAME_LOOP};
    struct jloop *loop = loop_new(j, n, over, depth);
    struct jscope *outer = j->scope, *scope = NULL;
    enum jflow flow = JFLOW_NEXT;
    for (size_t i = 0; flow != JFLOW_BREAK && jx_loop_has(j, loop, i); i++) {
        if (!scope || scope->kept)
            scope = jx_scope(j, outer);
        scope->n = 0;
        loop->at = i;
        j->scope = scope;
        assign(j, n->a, loop->items->v[i]);
        jx_set(j, &loop_name, (struct jval){.type = JV_LOOP, .loop = loop});
        flow = jx_exec(j, n->list);
        j->scope = outer;
        jinja_charge(j, 1);
    }
    if (!loop->items->n)
        return exec_scope(j, jx_scope(j, outer), n->list2);
    return JFLOW_NEXT;
}

static enum jflow exec_for(struct jinja *j, const struct jnode *n)
{
    struct jval over = jx_eval(j, n->b);
    if (!n->flag)
        return exec_items(j, n, over, 0);
    exec_items(j, n, over, 0); /* a recursive loop is a function: no jump leaves it */
    return JFLOW_NEXT;
}

struct jval jx_recurse(struct jinja *j, const struct jloop *loop, struct jval items)
{
    if (!loop->node)
        jinja_raise(j, "The loop must have the 'recursive' marker to be called recursively.");
    size_t mark = j->out->len;
    struct jscope *back = j->scope;
    j->scope = loop->scope;
    exec_items(j, loop->node, items, loop->depth + 1);
    j->scope = back;
    return jx_capture(j, mark);
}

/* --- the others */

static enum jflow exec_if(struct jinja *j, const struct jnode *n)
{
    for (const struct jnode *b = n->list; b; b = b->next)
        if (!b->a || jv_truth(j, jx_eval(j, b->a)))
            return jx_exec(j, b->list);
    return JFLOW_NEXT;
}

/* Applies a chain of filters, whose innermost has no input of its own, to a captured text. */
static struct jval filter_text(struct jinja *j, const struct jnode *filter, struct jval text)
{
    if (!filter)
        return text;
    struct jnode input = {.kind = JN_CONST, .line = filter->line, .value = text};
    struct jnode copy = *filter;
    if (filter->a)
        input.value = filter_text(j, filter->a, text);
    copy.a = &input;
    return jx_eval(j, &copy);
}

static enum jflow exec_capture(struct jinja *j, const struct jnode *n)
{
    size_t mark = j->out->len;
    struct jscope *scope = jx_scope(j, j->scope), *outer = j->scope;
    enum jflow flow = exec_scope(j, scope, n->list);
    struct jval text = jx_capture(j, mark);
    if (flow != JFLOW_NEXT)
        return flow;
    j->scope = scope; /* the filter's arguments see what the block set */
    text = filter_text(j, n->b, text);
    j->scope = outer;
    if (n->kind == JN_SET_BLOCK) {
        assign(j, n->a, text);
    } else {
        text = jr_str(j, text);
        jinja_write(j, text.s->p, text.s->n);
    }
    return JFLOW_NEXT;
}

static enum jflow exec_with(struct jinja *j, const struct jnode *n)
{
    struct jscope *outer = j->scope, *scope = jx_scope(j, outer);
    for (const struct jnode *b = n->list2; b; b = b->next) {
        struct jval v = jx_eval(j, b->b);
        j->scope = scope;
        assign(j, b->a, v);
        j->scope = outer;
    }
    return exec_scope(j, scope, n->list);
}

static void exec_call_block(struct jinja *j, const struct jnode *n)
{
    struct jval callee = jx_eval(j, n->a->a);
    struct jargs a = jx_arguments(j, n->a, jx_macro(j, n));
    j->line = n->line;
    struct jval v = jr_str(j, jx_call(j, callee, &a));
    jinja_write(j, v.s->p, v.s->n);
}

static void exec_print(struct jinja *j, const struct jnode *n)
{
    struct jval v = jr_str(j, jx_eval(j, n->a));
    jinja_write(j, v.s->p, v.s->n);
}

static enum jflow exec_one(struct jinja *j, const struct jnode *n)
{
    switch (n->kind) {
    case JN_TEXT:
        jinja_write(j, n->value.s->p, n->value.s->n);
        return JFLOW_NEXT;
    case JN_PRINT:
        exec_print(j, n);
        return JFLOW_NEXT;
    case JN_FOR:
        return exec_for(j, n);
    case JN_IF:
        return exec_if(j, n);
    case JN_SET:
        assign(j, n->a, jx_eval(j, n->b));
        return JFLOW_NEXT;
    case JN_SET_BLOCK:
    case JN_FILTER_BLOCK:
        return exec_capture(j, n);
    case JN_MACRO:
        jx_set(j, &n->name, jx_macro(j, n));
        return JFLOW_NEXT;
    case JN_CALL_BLOCK:
        exec_call_block(j, n);
        return JFLOW_NEXT;
    case JN_WITH:
        return exec_with(j, n);
    case JN_SCOPE:
        return exec_scope(j, jx_scope(j, n->flag ? NULL : j->scope), n->list);
    case JN_BREAK:
        return JFLOW_BREAK;
    case JN_CONTINUE:
        return JFLOW_CONTINUE;
    default: /* JN_FAIL */
        jinja_raise(j, "%.*s", (int)n->value.s->n, n->value.s->p);
    }
}

enum jflow jx_exec(struct jinja *j, const struct jnode *list)
{
    enum jflow flow = JFLOW_NEXT;
    jinja_enter(j);
    for (const struct jnode *n = list; n && flow == JFLOW_NEXT; n = n->next) {
        j->line = n->line;
        jinja_charge(j, 1);
        flow = exec_one(j, n);
    }
    jinja_leave(j);
    return flow;
}
