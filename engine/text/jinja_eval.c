/* jinja_eval.c - expressions. */
#include "engine/text/jinja_eval.h"

#include <string.h>

#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_repr.h"

struct jval jx_find(struct jinja *j, const struct jname *name)
{
    for (const struct jscope *s = j->scope; s; s = s->parent)
        for (int i = s->n; i-- > 0;)
            if (s->b[i].id == name->id)
                return s->b[i].v;
    struct jval v = j->root[name->id];
    return v.type != JV_MISSING ? v : j->globals[name->id];
}

static struct jval eval_name(struct jinja *j, const struct jnode *n)
{
    struct jval v = jx_find(j, &n->name);
    return v.type != JV_MISSING ? v : jv_undefined_name(j, n->name.p, n->name.n);
}

static struct jval eval_list(struct jinja *j, const struct jnode *n)
{
    struct jval out = jv_list(j, n->kind == JN_LIST ? JV_LIST : JV_TUPLE, 4);
    for (const struct jnode *c = n->list; c; c = c->next)
        jv_push(j, out, jx_eval(j, c));
    return out;
}

static struct jval eval_dict(struct jinja *j, const struct jnode *n)
{
    struct jval out = jv_dict(j, 4);
    for (const struct jnode *c = n->list; c; c = c->next->next) {
        struct jval key = jx_eval(j, c);
        jv_put(j, out.d, key, jx_eval(j, c->next));
    }
    return out;
}

static struct jval eval_cond(struct jinja *j, const struct jnode *n)
{
    if (jv_truth(j, jx_eval(j, n->a)))
        return jx_eval(j, n->b);
    if (n->c)
        return jx_eval(j, n->c);
    return jv_undefined_hint(j, "the inline if-expression evaluated to false and no else section "
                                "was defined.");
}

static struct jval eval_compare(struct jinja *j, const struct jnode *n)
{
    struct jval left = jx_eval(j, n->a);
    for (const struct jnode *c = n->list; c; c = c->next) {
        struct jval right = jx_eval(j, c->a);
        if (!jo_compare(j, c->op, left, right))
            return jv_bool(false);
        left = right;
    }
    return jv_bool(true);
}

static struct jval eval_concat(struct jinja *j, const struct jnode *n)
{
    struct jval out = jr_str(j, jx_eval(j, n->list));
    out.markup = false;
    for (const struct jnode *c = n->list->next; c; c = c->next)
        out = jv_join(j, out, jr_str(j, jx_eval(j, c)));
    return out;
}

static struct jval eval_item(struct jinja *j, const struct jnode *n)
{
    struct jval of = jx_eval(j, n->a);
    if (n->b->kind != JN_SLICE)
        return jo_item(j, of, jx_eval(j, n->b));
    const struct jnode *part[3] = {n->b->a, n->b->b, n->b->c};
    struct jval bound[3];
    for (int i = 0; i < 3; i++)
        bound[i] = part[i] ? jx_eval(j, part[i]) : jv_none();
    return jo_slice(j, of, bound);
}

static struct jval eval_apply(struct jinja *j, const struct jnode *n)
{
    if (!n->func)
        jinja_raise(j, "No %s named '%.*s'.", n->kind == JN_FILTER ? "filter" : "test",
                    (int)n->name.n, n->name.p);
    struct jval input = jx_eval(j, n->a);
    struct jargs a = jx_arguments(j, n, jv_missing());
    j->line = n->line;
    return jx_apply(j, n->func, input, &a);
}

static struct jval eval_call(struct jinja *j, const struct jnode *n)
{
    struct jval callee = jx_eval(j, n->a);
    struct jargs a = jx_arguments(j, n, jv_missing());
    j->line = n->line;
    return jx_call(j, callee, &a);
}

static struct jval eval_logic(struct jinja *j, const struct jnode *n)
{
    struct jval left = jx_eval(j, n->a);
    return jv_truth(j, left) == (n->kind == JN_AND) ? jx_eval(j, n->b) : left;
}

static struct jval eval_binary(struct jinja *j, const struct jnode *n)
{
    struct jval left = jx_eval(j, n->a);
    struct jval right = jx_eval(j, n->b);
    j->line = n->line;
    return jo_binary(j, n->op, left, right);
}

static struct jval eval_kind(struct jinja *j, const struct jnode *n)
{
    switch (n->kind) {
    case JN_NAME:
        return eval_name(j, n);
    case JN_TUPLE:
    case JN_LIST:
        return eval_list(j, n);
    case JN_DICT:
        return eval_dict(j, n);
    case JN_COND:
        return eval_cond(j, n);
    case JN_AND:
    case JN_OR:
        return eval_logic(j, n);
    case JN_NOT:
        return jv_bool(!jv_truth(j, jx_eval(j, n->a)));
    case JN_COMPARE:
        return eval_compare(j, n);
    case JN_BINARY:
        return eval_binary(j, n);
    case JN_UNARY:
        return jo_unary(j, n->op, jx_eval(j, n->a));
    case JN_CONCAT:
        return eval_concat(j, n);
    case JN_ATTR:
        return jo_attr(j, jx_eval(j, n->a), n->value);
    case JN_ITEM:
        return eval_item(j, n);
    case JN_CALL:
        return eval_call(j, n);
    case JN_FILTER:
    case JN_TEST:
        return eval_apply(j, n);
    default:
        return n->value; /* JN_CONST; a filter block puts the text it caught here */
    }
}

struct jval jx_eval(struct jinja *j, const struct jnode *n)
{
    jinja_enter(j);
    j->line = n->line;
    struct jval v = eval_kind(j, n);
    jinja_leave(j);
    return v;
}
