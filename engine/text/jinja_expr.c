/* jinja_expr.c - expressions, by recursive descent in Jinja's precedence:
 * if-else, or, and, not, comparison, + -, ~, * / // %, **, unary, then postfix, filters and tests.
 */
#include "engine/text/jinja_parse.h"

#include <string.h>

#include "engine/text/jinja_filters.h"

static struct jnode *parse_or(struct parser *ps);
static struct jnode *parse_unary(struct parser *ps, bool with_filter);

static struct jnode *binary(struct parser *ps, enum jkind kind, struct jnode *a, struct jnode *b)
{
    struct jnode *n = jp_node(ps, kind);
    n->a = a;
    n->b = b;
    return jp_done(ps, n);
}

/* --- calls */

static void parse_argument(struct parser *ps, struct jnode *call, struct jnode ***arg,
                           struct jnode ***kw)
{
    if (jp_skip_op(ps, "*")) {
        if (call->b || call->c)
            jp_unexpected(ps, "one *argument, before **arguments");
        call->b = jp_expression(ps);
    } else if (jp_skip_op(ps, "**")) {
        if (call->c)
            jp_unexpected(ps, "one **argument");
        call->c = jp_expression(ps);
    } else if (ps->t->kind == JT_NAME && jp_is_op(ps->t + 1, "=")) {
        if (call->c)
            jp_unexpected(ps, "keyword arguments before **arguments");
        struct jnode *n = jp_node(ps, JN_KEYWORD);
        n->name = jp_name(ps, ps->t->p, ps->t->n);
        ps->t += 2;
        n->a = jp_expression(ps);
        **kw = jp_done(ps, n);
        *kw = &n->next;
    } else {
        if (call->b || call->c || call->list2)
            jp_unexpected(ps, "positional arguments before keyword arguments");
        **arg = jp_expression(ps);
        *arg = &(**arg)->next;
    }
}

static void parse_arguments(struct parser *ps, struct jnode *call)
{
    struct jnode **arg = &call->list, **kw = &call->list2;
    jp_expect_op(ps, "(");
    while (!jp_is_op(ps->t, ")")) {
        parse_argument(ps, call, &arg, &kw);
        if (!jp_is_op(ps->t, ")"))
            jp_expect_op(ps, ",");
    }
    jp_expect_op(ps, ")");
}

static struct jnode *parse_call(struct parser *ps, struct jnode *callee)
{
    struct jnode *n = jp_node(ps, JN_CALL);
    n->a = callee;
    parse_arguments(ps, n);
    return jp_done(ps, n);
}

/* The dotted name of a filter or test. */
static struct jname dotted_name(struct parser *ps)
{
    struct jtoken *t = jp_expect_name(ps);
    char *s = jinja_alloc(ps->j, t->n);
    size_t n = t->n;
    memcpy(s, t->p, n);
    while (jp_skip_op(ps, ".")) {
        t = jp_expect_name(ps);
        char *longer = jinja_alloc(ps->j, n + 1 + t->n);
        memcpy(longer, s, n);
        longer[n] = '.';
        memcpy(longer + n + 1, t->p, t->n);
        s = longer;
        n += 1 + t->n;
    }
    return (struct jname){.p = s, .n = n, .id = -1};
}

static void note_unknown(struct parser *ps, const struct jnode *n)
{
    if (!n->func && !ps->soft && !ps->unknown)
        ps->unknown = n;
}

struct jnode *jp_filter(struct parser *ps, struct jnode *input, bool inline_start)
{
    while (inline_start || jp_skip_op(ps, "|")) {
        struct jnode *n = jp_node(ps, JN_FILTER);
        inline_start = false;
        n->a = input;
        n->name = dotted_name(ps);
        n->func = jf_filter(n->name.p, n->name.n);
        note_unknown(ps, n);
        if (jp_is_op(ps->t, "("))
            parse_arguments(ps, n);
        input = jp_done(ps, n);
    }
    return input;
}

static struct jnode *parse_primary(struct parser *ps, bool with_ns);
static struct jnode *parse_postfix(struct parser *ps, struct jnode *n);

/* A test's one argument may stand without parentheses: `x is divisibleby 3`. */
static bool argument_follows(const struct jtoken *t)
{
    if (t->kind == JT_STRING || t->kind == JT_NUMBER)
        return true;
    if (t->kind == JT_NAME)
        return !jp_is_name(t, "else") && !jp_is_name(t, "or") && !jp_is_name(t, "and");
    return jp_is_op(t, "[") || jp_is_op(t, "{");
}

static struct jnode *parse_test(struct parser *ps, struct jnode *input)
{
    ps->t++;
    bool negated = jp_skip_name(ps, "not");
    struct jnode *n = jp_node(ps, JN_TEST);
    n->a = input;
    n->name = dotted_name(ps);
    n->func = jf_test(n->name.p, n->name.n);
    note_unknown(ps, n);
    if (jp_is_op(ps->t, "(")) {
        parse_arguments(ps, n);
    } else if (argument_follows(ps->t)) {
        if (jp_is_name(ps->t, "is"))
            jinja_raise(ps->j, "You cannot chain multiple tests with is");
        n->list = parse_postfix(ps, parse_primary(ps, false));
    }
    jp_done(ps, n);
    return negated ? binary(ps, JN_NOT, n, NULL) : n;
}

/* --- postfix */

static struct jnode *parse_subscribed(struct parser *ps)
{
    struct jnode *n = jp_node(ps, JN_SLICE);
    if (!jp_is_op(ps->t, ":")) {
        struct jnode *index = jp_expression(ps);
        if (!jp_is_op(ps->t, ":"))
            return index;
        n->a = index;
    }
    jp_expect_op(ps, ":");
    if (!jp_is_op(ps->t, ":") && !jp_is_op(ps->t, "]") && !jp_is_op(ps->t, ","))
        n->b = jp_expression(ps);
    if (jp_skip_op(ps, ":") && !jp_is_op(ps->t, "]") && !jp_is_op(ps->t, ","))
        n->c = jp_expression(ps);
    return jp_done(ps, n);
}

static struct jnode *parse_item(struct parser *ps, struct jnode *of)
{
    struct jnode *n = jp_node(ps, JN_ITEM);
    n->a = of;
    jp_expect_op(ps, "[");
    struct jnode *tuple = jp_node(ps, JN_TUPLE), **tail = &tuple->list;
    int count = 0;
    for (; !jp_is_op(ps->t, "]"); count++) {
        if (count)
            jp_expect_op(ps, ",");
        *tail = parse_subscribed(ps);
        if ((*tail)->kind == JN_SLICE && (count || jp_is_op(ps->t, ",")))
            jinja_raise(ps->j, "a slice inside a tuple is not supported");
        tail = &(*tail)->next;
    }
    jp_expect_op(ps, "]");
    n->b = count == 1 ? tuple->list : jp_done(ps, tuple);
    return jp_done(ps, n);
}

static struct jnode *parse_attribute(struct parser *ps, struct jnode *of)
{
    jp_expect_op(ps, ".");
    struct jtoken *t = ps->t;
    bool number = t->kind == JT_NUMBER && t->value.type == JV_INT;
    if (t->kind != JT_NAME && !number)
        jp_unexpected(ps, "name or number");
    struct jnode *n = jp_node(ps, number ? JN_ITEM : JN_ATTR);
    ps->t++;
    n->a = of;
    if (number) {
        n->b = jp_node(ps, JN_CONST);
        n->b->value = t->value;
    } else {
        n->value = jv_str(ps->j, t->p, t->n);
    }
    return jp_done(ps, n);
}

static struct jnode *parse_postfix(struct parser *ps, struct jnode *n)
{
    for (;;) {
        if (jp_is_op(ps->t, "."))
            n = parse_attribute(ps, n);
        else if (jp_is_op(ps->t, "["))
            n = parse_item(ps, n);
        else if (jp_is_op(ps->t, "("))
            n = parse_call(ps, n);
        else
            return n;
    }
}

static struct jnode *parse_filters(struct parser *ps, struct jnode *n)
{
    for (;;) {
        if (jp_is_op(ps->t, "|"))
            n = jp_filter(ps, n, false);
        else if (jp_is_name(ps->t, "is"))
            n = parse_test(ps, n);
        else if (jp_is_op(ps->t, "("))
            n = parse_call(ps, n);
        else
            return n;
    }
}

/* --- literals and names */

/* Items up to `close`, as a list node's children; for dicts key and value in turn. */
static struct jnode *parse_items(struct parser *ps, enum jkind kind, const char *close)
{
    struct jnode *n = jp_node(ps, kind), **tail = &n->list;
    ps->t++;
    while (!jp_is_op(ps->t, close)) {
        if (n->list)
            jp_expect_op(ps, ",");
        if (jp_is_op(ps->t, close))
            break;
        *tail = jp_expression(ps);
        tail = &(*tail)->next;
        if (kind == JN_DICT) {
            jp_expect_op(ps, ":");
            *tail = jp_expression(ps);
            tail = &(*tail)->next;
        }
    }
    jp_expect_op(ps, close);
    return jp_done(ps, n);
}

static struct jnode *parse_name(struct parser *ps, bool with_ns)
{
    struct jtoken *t = ps->t++;
    bool is_true = jp_is_name(t, "true") || jp_is_name(t, "True");
    bool is_const = is_true || jp_is_name(t, "false") || jp_is_name(t, "False");
    struct jnode *n = jp_node(ps, JN_CONST);
    n->line = t->line;
    if (is_const) {
        n->value = jv_bool(is_true);
    } else if (jp_is_name(t, "none") || jp_is_name(t, "None")) {
        n->value = jv_none();
    } else if (with_ns && jp_skip_op(ps, ".")) {
        struct jtoken *attr = jp_expect_name(ps);
        n->kind = JN_NSREF;
        n->name = jp_name(ps, t->p, t->n);
        n->value = jv_str(ps->j, attr->p, attr->n);
    } else {
        n->kind = JN_NAME;
        n->name = jp_name(ps, t->p, t->n);
        ps->uses |= (jp_is_name(t, "caller") ? JUSE_CALLER : 0) |
                    (jp_is_name(t, "kwargs") ? JUSE_KWARGS : 0) |
                    (jp_is_name(t, "varargs") ? JUSE_VARARGS : 0);
    }
    return jp_done(ps, n);
}

static struct jnode *parse_parentheses(struct parser *ps)
{
    struct jnode *n;
    jp_expect_op(ps, "(");
    if (jp_is_op(ps->t, ")"))
        n = jp_done(ps, jp_node(ps, JN_TUPLE));
    else
        n = jp_tuple(ps, true, NULL);
    jp_expect_op(ps, ")");
    return n;
}

static struct jnode *parse_primary(struct parser *ps, bool with_ns)
{
    struct jnode *n;
    jinja_enter(ps->j);
    if (ps->t->kind == JT_NAME) {
        n = parse_name(ps, with_ns);
    } else if (ps->t->kind == JT_STRING || ps->t->kind == JT_NUMBER) {
        n = jp_node(ps, JN_CONST);
        n->value = ps->t->value;
        bool text = ps->t++->kind == JT_STRING;
        for (; text && ps->t->kind == JT_STRING; ps->t++)
            n->value = jv_join(ps->j, n->value, ps->t->value);
        jp_done(ps, n);
    } else if (jp_is_op(ps->t, "(")) {
        n = parse_parentheses(ps);
    } else if (jp_is_op(ps->t, "[")) {
        n = parse_items(ps, JN_LIST, "]");
    } else if (jp_is_op(ps->t, "{")) {
        n = parse_items(ps, JN_DICT, "}");
    } else {
        jp_unexpected(ps, NULL);
    }
    jinja_leave(ps->j);
    return n;
}

/* --- operators */

static struct jnode *parse_unary(struct parser *ps, bool with_filter)
{
    struct jnode *n;
    jinja_enter(ps->j);
    bool minus = jp_is_op(ps->t, "-");
    if (minus || jp_is_op(ps->t, "+")) {
        n = jp_node(ps, JN_UNARY);
        n->op = minus ? JOP_SUB : JOP_ADD;
        ps->t++;
        n->a = parse_unary(ps, false);
        jp_done(ps, n);
    } else {
        n = parse_primary(ps, false);
    }
    n = parse_postfix(ps, n);
    if (with_filter)
        n = parse_filters(ps, n);
    jinja_leave(ps->j);
    return n;
}

/* clang-format off */
static const struct operator { const char *text; uint8_t level, op; } operators[] = {
    {"+",  1, JOP_ADD}, {"-",  1, JOP_SUB},
    {"*",  2, JOP_MUL}, {"/",  2, JOP_DIV}, {"//", 2, JOP_FLOORDIV}, {"%", 2, JOP_MOD},
    {"**", 3, JOP_POW},
    {"==", 0, JOP_EQ},  {"!=", 0, JOP_NE},  {"<",  0, JOP_LT},
    {"<=", 0, JOP_LE},  {">",  0, JOP_GT},  {">=", 0, JOP_GE},
};
/* clang-format on */

/* The operator of this level at the current token, or -1. */
static int operator_at(const struct parser *ps, int level)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (operators[i].level == level && jp_is_op(ps->t, operators[i].text))
            return operators[i].op;
    return -1;
}

static struct jnode *parse_concat(struct parser *ps);

/* Left-associative binary operators: level 1 over ~, 2 over 3, 3 over unary. */
static struct jnode *parse_level(struct parser *ps, int level)
{
    struct jnode *left = NULL;
    for (int op = -1;;) {
        struct jnode *right = level == 1   ? parse_concat(ps)
                              : level == 2 ? parse_level(ps, 3)
                                           : parse_unary(ps, true);
        if (left) {
            left = binary(ps, JN_BINARY, left, right);
            left->op = (uint8_t)op;
        } else {
            left = right;
        }
        op = operator_at(ps, level);
        if (op < 0)
            return left;
        ps->t++;
    }
}

static struct jnode *parse_concat(struct parser *ps)
{
    struct jnode *first = parse_level(ps, 2);
    if (!jp_is_op(ps->t, "~"))
        return first;
    struct jnode *n = jp_node(ps, JN_CONCAT), **tail = &first->next;
    n->list = first;
    while (jp_skip_op(ps, "~")) {
        *tail = parse_level(ps, 2);
        tail = &(*tail)->next;
    }
    return jp_done(ps, n);
}

static int comparison_at(struct parser *ps)
{
    int op = operator_at(ps, 0);
    if (op < 0 && jp_is_name(ps->t, "in"))
        op = JOP_IN;
    if (op < 0 && jp_is_name(ps->t, "not") && jp_is_name(ps->t + 1, "in")) {
        op = JOP_NOT_IN;
        ps->t++;
    }
    return op;
}

static struct jnode *parse_compare(struct parser *ps)
{
    struct jnode *first = parse_level(ps, 1);
    int op = comparison_at(ps);
    if (op < 0)
        return first;
    struct jnode *n = jp_node(ps, JN_COMPARE), **tail = &n->list;
    n->a = first;
    for (; op >= 0; op = comparison_at(ps)) {
        ps->t++;
        struct jnode *operand = jp_node(ps, JN_OPERAND);
        operand->op = (uint8_t)op;
        operand->a = parse_level(ps, 1);
        *tail = jp_done(ps, operand);
        tail = &operand->next;
    }
    return jp_done(ps, n);
}

static struct jnode *parse_not(struct parser *ps)
{
    if (!jp_skip_name(ps, "not"))
        return parse_compare(ps);
    jinja_enter(ps->j);
    struct jnode *n = binary(ps, JN_NOT, parse_not(ps), NULL);
    jinja_leave(ps->j);
    return n;
}

static struct jnode *parse_and(struct parser *ps)
{
    struct jnode *n = parse_not(ps);
    while (jp_skip_name(ps, "and"))
        n = binary(ps, JN_AND, n, parse_not(ps));
    return n;
}

static struct jnode *parse_or(struct parser *ps)
{
    struct jnode *n = parse_and(ps);
    while (jp_skip_name(ps, "or"))
        n = binary(ps, JN_OR, n, parse_and(ps));
    return n;
}

struct jnode *jp_expression(struct parser *ps)
{
    jinja_enter(ps->j);
    bool soft = ps->soft;
    const struct jnode *unknown = ps->unknown;
    struct jnode *n = NULL, *then = parse_or(ps);
    while (jp_skip_name(ps, "if")) {
        ps->soft = true;
        ps->unknown = unknown; /* what stands before `if` is conditional too */
        n = jp_node(ps, JN_COND);
        n->b = then;
        n->a = parse_or(ps);
        if (jp_skip_name(ps, "else"))
            n->c = jp_expression(ps);
        then = jp_done(ps, n);
    }
    ps->soft = soft;
    jinja_leave(ps->j);
    return then;
}

/* --- tuples and targets */

static bool tuple_ends(const struct parser *ps, const char *end_name)
{
    return ps->t->kind == JT_PRINT_END || ps->t->kind == JT_BLOCK_END || jp_is_op(ps->t, ")") ||
           (end_name && jp_is_name(ps->t, end_name));
}

/* One expression, or several between commas; `item` parses each. */
static struct jnode *tuple_of(struct parser *ps, struct jnode *(*item)(struct parser *),
                              const char *end_name)
{
    struct jnode *n = jp_node(ps, JN_TUPLE), **tail = &n->list;
    bool comma = false;
    while (!tuple_ends(ps, end_name)) {
        *tail = item(ps);
        tail = &(*tail)->next;
        if (!jp_is_op(ps->t, ","))
            break;
        ps->t++;
        comma = true;
    }
    if (!n->list)
        jp_unexpected(ps, "an expression");
    return comma ? jp_done(ps, n) : n->list;
}

static struct jnode *primary_ns(struct parser *ps)
{
    return parse_primary(ps, true);
}

static struct jnode *primary_name(struct parser *ps)
{
    return parse_primary(ps, false);
}

struct jnode *jp_tuple(struct parser *ps, bool with_cond, const char *end_name)
{
    return tuple_of(ps, with_cond ? jp_expression : parse_or, end_name);
}

static void check_target(struct parser *ps, const struct jnode *n)
{
    if (n->kind == JN_TUPLE)
        for (const struct jnode *c = n->list; c; c = c->next)
            check_target(ps, c);
    else if (n->kind != JN_NAME && n->kind != JN_NSREF)
        jinja_raise(ps->j, "can't assign to this expression");
    if (n->kind == JN_NAME && ps->loops && n->name.n == 4 && !memcmp(n->name.p, "loop", 4))
        jinja_raise(ps->j, "Can't assign to special loop variable in for-loop target");
}

struct jnode *jp_target(struct parser *ps, bool with_ns, const char *end_name)
{
    uint8_t uses = ps->uses; /* writing a name does not read it */
    struct jnode *n = tuple_of(ps, with_ns ? primary_ns : primary_name, end_name);
    ps->uses = uses;
    check_target(ps, n);
    return n;
}
