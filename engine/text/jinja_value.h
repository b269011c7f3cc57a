/* jinja_value.h - the values of the template language: Python's, as far as templates can see them.
 *
 * A value is 16 bytes, passed by value; what it points at lies in the run's arena and is immutable,
 * except namespaces, generators' positions, loops, cyclers and joiners. Strings are UTF-8 and know
 * their length in characters. Strings and lists made by concatenation own spare room behind them
 * and grow in place when nobody has grown them before, so that `ns.text = ns.text + x` in a loop is
 * linear. */
#ifndef ENGINE_TEXT_JINJA_VALUE_H
#define ENGINE_TEXT_JINJA_VALUE_H

#include "engine/text/jinja.h"
#include "kernels/base/json.h"

/* clang-format off */
enum jtype {
    JV_MISSING,   /* no value at all: an argument not given, a name not set; never seen by templates */
    JV_UNDEFINED, JV_NONE, JV_BOOL, JV_INT, JV_BIGINT, JV_FLOAT, JV_STR,
    JV_LIST, JV_TUPLE, JV_DICT, JV_RANGE,
    JV_VIEW,      /* dict.keys(), values(), items() */
    JV_GEN,       /* an iterator: what map, select, items, batch ... return; can be read once */
    JV_NAMESPACE, JV_MACRO, JV_METHOD, JV_FUNC, JV_LOOP, JV_CYCLER, JV_JOINER
};
/* clang-format on */
enum jview { JVIEW_KEYS, JVIEW_VALUES, JVIEW_ITEMS };

struct jval {
    uint8_t type;
    bool markup;   /* JV_STR: Python's Markup, made by `safe` and `escape`; infects + and % */
    uint8_t view;  /* JV_VIEW: enum jview */
    bool grouping; /* JV_TUPLE made by groupby: has .grouper and .list */
    union {
        bool b;
        int64_t i;
        double f;
        struct jstr *s; /* JV_STR, and the digits of JV_BIGINT */
        struct jlist *l;
        struct jdict *d; /* JV_DICT, JV_VIEW, JV_NAMESPACE */
        struct jrange *range;
        struct jgen *gen;
        struct jundef *undef;
        struct jmacro *macro;
        struct jmethod *method;
        const struct jfunc *func;
        struct jloop *loop;
        struct jcycler *cycler;
        struct jjoiner *joiner;
    };
};

struct jtail { /* the room behind a grown string or list */
    size_t used, cap;
};
struct jstr {
    const char *p; /* not NUL-terminated */
    size_t n, chars;
    struct jtail *tail;
};
struct jlist {
    struct jval *v;
    size_t n;
    struct jtail *tail;
};
struct jentry {
    struct jval key, value;
    uint64_t hash;
};
struct jdict { /* in order of insertion; `index` (open addressing, -1 free) from 9 entries on */
    struct jentry *e;
    size_t n, cap;
    int32_t *index;
    size_t n_index;
};
struct jrange {
    int64_t start, step, n;
};
/* An iterator over `items`, from `pos` on; or, while `next` is there, over what it makes of `state`
 * when asked: false when nothing is left. So a test that no item needs never runs. */
struct jgen {
    struct jlist *items;
    size_t pos;
    bool (*next)(struct jinja *j, void *state, struct jval *item);
    void *state;
};
struct jiter { /* reads anything iterable item by item; begins as {.over = it} */
    struct jval over;
    const struct jlist *items;
    size_t at;
};
struct jundef { /* message: the hint, or made from obj and name */
    const char *hint;
    struct jval obj, name; /* obj.type JV_MISSING: a plain name */
};
struct jkeyword {
    const char *name;
    size_t name_n;
    struct jval v;
};
struct jargs {
    struct jval *v;
    int n;
    struct jkeyword *kw;
    int n_kw;
};
/* A built-in filter, test, method or function. With `params` (names between spaces) the arguments
 * arrive bound: v[k] is parameter k or JV_MISSING. With NULL they arrive as they were written. */
struct jfunc {
    const char *name;
    struct jval (*fn)(struct jinja *j, struct jval self, const struct jargs *a);
    const char *params;
    int required;
};
struct jmethod {
    struct jval self;
    const struct jfunc *func;
};
struct jcycler {
    struct jlist *items;
    size_t pos;
};
struct jjoiner {
    struct jval sep;
    bool used;
};
struct jloop {
    struct jlist *items;    /* all, or those a loop condition let through so far */
    struct jsource *source; /* of a loop with a condition, else NULL */
    size_t at;              /* index0 */
    int depth;              /* 0: outermost */
    const void *node;       /* the `for` when recursive, else NULL */
    struct jscope *scope;   /* where a recursive loop's body lives */
    struct jval changed;    /* arguments of the last changed(), a tuple or JV_MISSING */
};

/* --- making */
struct jval jv_none(void);
struct jval jv_missing(void);
struct jval jv_bool(bool b);
struct jval jv_int(int64_t i);
struct jval jv_float(double f);
struct jval jv_str(struct jinja *j, const char *p, size_t n); /* copies */
struct jval jv_text(struct jinja *j, const char *s);          /* borrows a constant C string */
struct jval jv_borrow(struct jinja *j, const char *p, size_t n);
struct jval jv_char(struct jinja *j, const char *p, size_t n);      /* one character, borrowed */
struct jval jv_join(struct jinja *j, struct jval a, struct jval b); /* a + b of strings */
struct jval jv_undefined_name(struct jinja *j, const char *name, size_t n);
struct jval jv_undefined_attr(struct jinja *j, struct jval obj, struct jval name);
struct jval jv_undefined_hint(struct jinja *j, const char *hint);
struct jval jv_list(struct jinja *j, enum jtype type, size_t room); /* empty; LIST or TUPLE */
void jv_push(struct jinja *j, struct jval list, struct jval v);     /* while it is being made */
struct jval jv_list_join(struct jinja *j, struct jval a, struct jval b);
struct jval jv_pair(struct jinja *j, struct jval a, struct jval b);
struct jval jv_gen(struct jinja *j, struct jval list);
struct jval jv_lazy(struct jinja *j, bool (*next)(struct jinja *, void *, struct jval *),
                    void *state);
struct jval jv_dict(struct jinja *j, size_t room);
void jv_put(struct jinja *j, struct jdict *d, struct jval key, struct jval value);
struct jval jv_from_json(struct jinja *j, const struct json *v);
struct jval jv_int_text(struct jinja *j, const char *digits, size_t n); /* INT, or BIGINT */

/* --- asking */
const struct jval *jv_get(struct jinja *j, const struct jdict *d, struct jval key); /* or NULL */
const struct jval *jv_get_text(struct jinja *j, const struct jdict *d, const char *key, size_t n);
bool jv_truth(struct jinja *j, struct jval v);
bool jv_equal(struct jinja *j, struct jval a, struct jval b);
/* <0, 0, >0; raises when Python has no order for the two. `op` names the operator for the message.
 * With a NaN in play the answer is 2: unordered. */
int jv_compare(struct jinja *j, struct jval a, struct jval b, const char *op);
enum { JV_UNORDERED = 2 };
bool jv_is_number(struct jval v);  /* bool, int, float */
bool jv_is_integer(struct jval v); /* bool, int */
int64_t jv_as_int(struct jval v);  /* of a bool or int */
double jv_as_float(struct jval v); /* of a number */
bool jv_has_length(struct jval v);
int64_t jv_length(struct jinja *j, struct jval v); /* raises when it has none */
bool jv_is_iterable(struct jval v);
/* The items of any iterable, as a list; drains a generator. Raises for others. */
struct jlist *jv_items(struct jinja *j, struct jval v);
/* The next item, or false. */
bool jv_next(struct jinja *j, struct jiter *it, struct jval *item);
const char *jv_type_name(struct jval v); /* Python's: str, int, list ... */
const char *jv_undefined_message(struct jinja *j, struct jval v);
_Noreturn void jv_raise_undefined(struct jinja *j, struct jval v);
bool jv_is_text(struct jval v, const char *s);

#endif
